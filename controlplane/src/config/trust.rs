//! `[trust]`, `[[catalogue]]`, `[[key]]`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use afr_dataplane::config::{Catalogue, Claim, Key, Prefix6};
use afr_wire::{
    CatalogueSalt, CatalogueVersion, KeyId, Label32, MacAlgorithm, MasterKey, PolicyScope,
};
use hashbrown::HashMap;

use super::classes::Classes;
use super::document::Section;
use super::kind::{Kind, boolean, hex, hex_bytes, int, label, moment, name, one_of, prefix, text};
use super::problem::{Fault, listed};
use super::unique::Unique;

/// 9999-12-31T23:59:59Z.
const END_OF_TIME_S: u64 = 253_402_300_799;

/// What is believed.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) trusted_prefixes: Vec<Prefix6>,
    pub(crate) accept_unauthenticated: bool,
    pub(crate) catalogues: Vec<Catalogue>,
    pub(crate) keys: Vec<Key>,
}

impl Trust {
    /// The hashes of the labels named in a list, in each catalogue that has them.
    pub(crate) fn labels(
        &self,
        section: &Section<'_>,
        key: &'static str,
        names: Vec<(usize, String)>,
    ) -> Vec<Label32> {
        let mut labels = Vec::new();
        for (index, name) in names {
            let all = self.catalogues.iter().flat_map(|c| &c.labels);
            let before = labels.len();
            labels.extend(all.clone().filter(|l| l.0 == name).map(|l| l.1));
            if labels.len() == before {
                let known = listed(all.map(|(name, _)| name.as_str()));
                let what = "label";
                section.blame_item(key, index, Fault::UnknownName { what, known });
            }
        }
        labels
    }

    /// The key identifier of the key's value, if there is such an entry of the ring.
    pub(crate) fn key_id(&self, section: &Section<'_>, key: &'static str) -> Option<KeyId> {
        entry_of(&self.keys, section, key)
    }
}

/// Reads what is believed; `section` is `[trust]`. How long it is, is among the knobs of dispatch.
pub(crate) fn read(
    root: &Section<'_>,
    section: &Section<'_>,
    classes: &Classes,
    directory: &Path,
) -> Trust {
    let trusted = section.list("trusted_prefixes", &prefix());
    Trust {
        trusted_prefixes: trusted.into_iter().map(|(_, prefix)| prefix).collect(),
        accept_unauthenticated: section.or("accept_unauthenticated", &boolean(), false),
        catalogues: catalogues(root),
        keys: keys(root, classes, directory),
    }
}

fn catalogues(root: &Section<'_>) -> Vec<Catalogue> {
    let mut versions = Unique::new();
    let sections = root.sections("catalogue").into_iter();
    let catalogues = sections.filter_map(|section| {
        let version = section.required("version", &int(0..=u16::MAX));
        let version = version.filter(|v| versions.check(&section, "version", *v));
        let salt = section.required("salt", &hex());
        let labels = section.list("labels", &label());
        let salt = CatalogueSalt::new(salt?);
        let mut names = Unique::new();
        let mut catalogue = Catalogue {
            version: CatalogueVersion(version?),
            labels: Vec::with_capacity(labels.len()),
            by_hash: HashMap::new(),
        };
        if labels.len() > usize::from(u16::MAX) {
            let (count, limit) = (labels.len(), "the number of 16-bit hashes");
            let most = usize::from(u16::MAX);
            section.blame("labels", Fault::TooMany { count, limit, most });
            return None;
        }
        for (index, name) in labels {
            if !names.check_item(&section, "labels", index, name.clone()) {
                continue;
            }
            let hash = salt.label(&name);
            let at = catalogue.labels.len() as u16;
            if let Some(first) = catalogue.by_hash.insert(hash.short(), at) {
                let other = catalogue.labels[usize::from(first)].0.clone();
                section.blame_item("labels", index, Fault::LabelCollision { other });
            }
            catalogue.labels.push((name, hash));
        }
        Some(catalogue)
    });
    catalogues.collect()
}

fn keys(root: &Section<'_>, classes: &Classes, directory: &Path) -> Vec<Key> {
    let mut ids = Unique::new();
    let sections = root.sections("key");
    let keys = sections.iter().filter_map(|section| {
        let id = section.required("id", &int(1..=u16::MAX));
        let id = id.filter(|id| ids.check(section, "id", *id));
        let master = master(section, directory);
        let not_before_s = section.or("not_before", &moment(), 0);
        let not_after_s = section.or("not_after", &moment(), END_OF_TIME_S);
        if not_after_s <= not_before_s {
            let expected = "a moment after not_before".to_owned();
            section.blame("not_after", Fault::Expected { expected });
        }
        let may_claim = claim(section, "classes", &name(), |names| {
            classes.named(section, "classes", names)
        });
        Some(Key {
            algorithm: section.or("algorithm", &algorithm(), MacAlgorithm::AesCmac),
            classes: may_claim,
            policies: policies(section),
            not_before_s,
            not_after_s,
            source_prefix_len: section.or("source_prefix_len", &int(0..=128), 128),
            successor: section.optional("successor", &int(1..=u16::MAX)).map(KeyId),
            id: KeyId(id?),
            master: master?,
        })
    });
    let keys: Vec<Key> = keys.collect();
    for section in &sections {
        let successor = entry_of(&keys, section, "successor");
        if successor.is_some() && successor == section.optional("id", &int(1..=u16::MAX)).map(KeyId)
        {
            let expected = "another key than this one".to_owned();
            section.blame("successor", Fault::Expected { expected });
        }
    }
    keys
}

/// The identifier that is the value of `key`, if there is such an entry of the ring.
fn entry_of(ring: &[Key], section: &Section<'_>, key: &'static str) -> Option<KeyId> {
    let id = KeyId(section.optional(key, &int(1..=u16::MAX))?);
    if ring.iter().any(|entry| entry.id == id) {
        return Some(id);
    }
    let known: Vec<_> = ring.iter().map(|k| k.id.0.to_string()).collect();
    let known = listed(known.iter().map(String::as_str));
    section.blame(key, Fault::UnknownName { what: "key", known });
    None
}

fn algorithm() -> Kind<MacAlgorithm> {
    one_of(&[
        ("aes-cmac", MacAlgorithm::AesCmac),
        ("siphash", MacAlgorithm::SipHash24),
    ])
}

/// The key `policies` of a section: a list of policy scopes, or "any".
pub(crate) fn policies(section: &Section<'_>) -> Claim<PolicyScope> {
    claim(section, "policies", &int(0..=u16::MAX), |scopes| {
        scopes
            .into_iter()
            .map(|(_, scope)| PolicyScope(scope))
            .collect()
    })
}

/// A list of what may be claimed, or "any", which also is the default.
fn claim<T, I: Ord>(
    section: &Section<'_>,
    key: &'static str,
    item: &Kind<T>,
    resolve: impl FnOnce(Vec<(usize, T)>) -> Vec<I>,
) -> Claim<I> {
    if !section.has(key) || section.is_text(key, "any") {
        return Claim::Any;
    }
    let mut items = resolve(section.list(key, item));
    items.sort_unstable();
    items.dedup();
    Claim::Only(items)
}

fn master(section: &Section<'_>, directory: &Path) -> Option<MasterKey> {
    let inline = section.optional("secret", &hex());
    let file = section.optional("secret_file", &text());
    if section.has("secret") == section.has("secret_file") {
        let keys = "secret, secret_file";
        section.blame_all(Fault::ExactlyOne { keys });
        return None;
    }
    let secret = match file {
        Some(file) => match secret_in(&directory.join(file)) {
            Ok(secret) => Some(secret),
            Err(fault) => {
                section.blame("secret_file", fault);
                None
            }
        },
        None => inline,
    };
    secret.map(MasterKey::new)
}

/// The key in a file that only its owner may read.
fn secret_in(path: &Path) -> Result<[u8; 16], Fault> {
    let unreadable = |error: std::io::Error| Fault::Unreadable {
        path: PathBuf::from(path),
        reason: error.kind(),
    };
    let mode = fs::metadata(path).map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = PathBuf::from(path);
        return Err(Fault::Exposed { path, mode });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    hex_bytes(text.trim()).ok_or_else(|| Fault::Expected {
        expected: "a file that holds 16 bytes in hexadecimal".to_owned(),
    })
}

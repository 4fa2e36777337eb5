//! From option bytes to a request that may be acted on: MAC, key, claims, freshness, catalogue, labels.
//!
//! Exits: [`Usable`]; *no usable metadata*, by a note of its own (the packet is dispatched as one without); or a drop
//! ([`DropReason::MetadataMalformed`], [`DropReason::MacInvalid`], [`DropReason::ClaimClass`],
//! [`DropReason::ClaimPolicy`]).

use afr_wire::{
    Bloom, CatalogueVersion, ClassId, DomainId, KeyId, Label32, Object, Place, PolicyScope, Prefix,
    RequestContext, RequestFlags, RequestView, Role, SenderKey, masked_source,
};
use arrayvec::ArrayVec;

use crate::config::{Config, Key};
use crate::packet::parse::{Parsed, Upper};
use crate::path::Path;
use crate::verdict::{DropReason, MetadataNote};

/// A request that is believed.
#[derive(Debug, Clone)]
pub struct Usable {
    /// The class it names.
    pub class: ClassId,
    /// Its policy scope.
    pub policy: PolicyScope,
    /// Its flags.
    pub flags: RequestFlags,
    /// Prompt length in tokens, 0 unknown.
    pub prompt_tokens: u32,
    /// Session, opaque.
    pub session: u64,
    /// Catalogue of its labels and signatures.
    pub catalogue: CatalogueVersion,
    /// Domain of its signatures.
    pub domain: DomainId,
    /// Labels it needs, exactly. Empty under an in-band Bloom filter.
    pub labels: ArrayVec<Label32, 8>,
    /// The same as a filter.
    pub bloom: Bloom<4>,
    /// The filter came in band: no labels to check exactly.
    pub bloom_in_band: bool,
    /// Prefixes it carries, depth ascending.
    pub prefixes: ArrayVec<Prefix, 8>,
}

/// Why a request is not acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbelieved {
    /// For this reason; the packet is as one without.
    Unusable(MetadataNote),
    /// For this one, and the packet is to be dropped.
    Refused(DropReason),
}

use Unbelieved::{Refused, Unusable};

impl Path<'_> {
    /// Verifies the request object in `bytes` of the packet that `parsed` describes.
    ///
    /// # Errors
    ///
    /// Why it is not to be acted on.
    pub(crate) fn verify(&mut self, parsed: &Parsed, bytes: &[u8]) -> Result<Usable, Unbelieved> {
        let Ok(Object::Request(view)) = Object::parse(bytes, Place::InBand) else {
            return Err(Refused(DropReason::MetadataMalformed));
        };
        self.authenticate(parsed, &view)?;
        let age_s = self.now.unix_s().abs_diff(u64::from(view.issued_at()));
        if age_s > u64::from(self.config.dispatch.request_skew_s) {
            return Err(Unusable(MetadataNote::Stale));
        }
        read(self.config, &view)
    }

    /// Whether the request is its sender's, and the sender may say what it says.
    fn authenticate(&mut self, parsed: &Parsed, view: &RequestView<'_>) -> Result<(), Unbelieved> {
        if view.key_id() == KeyId::NONE {
            return if self.config.accept_unauthenticated {
                Ok(())
            } else {
                Err(Unusable(MetadataNote::Unauthenticated))
            };
        }
        let key = valid_key(self.config, view.key_id(), self.now.unix_s()).map_err(Unusable)?;
        let sender = masked_source(parsed.source.to_be_bytes(), key.source_prefix_len);
        let context = RequestContext {
            source: parsed.source.to_be_bytes(),
            destination: parsed.final_destination.to_be_bytes(),
            protocol: parsed.protocol,
            destination_port: match parsed.upper {
                Upper::Tcp { destination, .. } | Upper::Udp { destination, .. } => destination,
                _ => 0,
            },
        };
        let sender_key =
            self.own
                .keys
                .derived(self.config, key, Role::Request, u128::from_be_bytes(sender));
        if !sender_key.verify_request(&context, view) {
            return Err(Refused(DropReason::MacInvalid));
        }
        if !key.classes.allows(&view.class_id()) {
            return Err(Refused(DropReason::ClaimClass));
        }
        if !key.policies.allows(&view.policy()) {
            return Err(Refused(DropReason::ClaimPolicy));
        }
        self.note(MetadataNote::RequestVerified);
        Ok(())
    }
}

/// The key called `id`, if it is in force at `now_s`.
pub(crate) fn valid_key(config: &Config, id: KeyId, now_s: u64) -> Result<&Key, MetadataNote> {
    let key = config.key(id).ok_or(MetadataNote::UnknownKey)?;
    if (key.not_before_s..key.not_after_s).contains(&now_s) {
        Ok(key)
    } else {
        Err(MetadataNote::KeyExpired)
    }
}

/// Reads what the request asks for, once it is believed.
fn read(config: &Config, view: &RequestView<'_>) -> Result<Usable, Unbelieved> {
    let Some(catalogue) = config.catalogue(view.catalogue()) else {
        return Err(Unusable(MetadataNote::UnknownCatalogue));
    };
    let mut labels = ArrayVec::new();
    let mut bloom = Bloom::new();
    for hash in view.labels() {
        let label = catalogue
            .by_hash
            .get(&hash)
            .and_then(|at| catalogue.labels.get(usize::from(*at)));
        let Some((_, label)) = label else {
            return Err(Unusable(MetadataNote::UnknownLabel));
        };
        bloom.insert(*label);
        let _ = labels.try_push(*label);
    }
    if let Some(bytes) = view.bloom() {
        let allowed = config
            .class(view.class_id())
            .and_then(|ix| config.classes.get(usize::from(ix.0)))
            .is_some_and(|class| class.allow_bloom);
        if !allowed {
            return Err(Unusable(MetadataNote::BloomRefused));
        }
        bloom = Bloom::from_bytes(bytes);
    }
    Ok(Usable {
        class: view.class_id(),
        policy: view.policy(),
        flags: view.flags(),
        prompt_tokens: view.prompt_tokens(),
        session: view.session(),
        catalogue: view.catalogue(),
        domain: view.domain(),
        labels,
        bloom,
        bloom_in_band: view.bloom().is_some(),
        prefixes: view.prefixes().take(8).collect(),
    })
}

/// Ways of a set in the table of derived keys.
const WAYS: usize = 4;

/// Derived keys by (key id, role, sender), a bounded set-associative table. The oldest of a set gives way.
pub struct SenderKeys {
    entries: Vec<Option<Derived>>,
    mask: usize,
    revision: u64,
    clock: u32,
}

struct Derived {
    id: KeyId,
    role: Role,
    sender: u128,
    used: u32,
    key: SenderKey,
}

impl SenderKeys {
    /// A table for about `capacity` keys.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let sets = (capacity as usize).div_ceil(WAYS).next_power_of_two();
        Self {
            entries: (0..sets * WAYS).map(|_| None).collect(),
            mask: sets - 1,
            revision: 0,
            clock: 0,
        }
    }

    /// The key of `sender` under `key`, derived now unless it was before. A report's sender is its instance id.
    pub fn derived(&mut self, config: &Config, key: &Key, role: Role, sender: u128) -> &SenderKey {
        if self.revision != config.revision {
            // A key id may mean another master now.
            self.entries.fill_with(|| None);
            self.revision = config.revision;
        }
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let mixed = (sender as u64 ^ (sender >> 64) as u64 ^ u64::from(key.id.0) << 48)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = ((mixed >> 40) as usize & self.mask) * WAYS;
        let set = &mut self.entries[first..first + WAYS];
        let hit = set.iter().position(|entry| {
            entry
                .as_ref()
                .is_some_and(|e| e.sender == sender && e.id == key.id && e.role == role)
        });
        let at = hit.unwrap_or_else(|| {
            let age =
                |e: &Option<Derived>| e.as_ref().map_or(u32::MAX, |e| clock.wrapping_sub(e.used));
            (0..WAYS).max_by_key(|at| age(&set[*at])).unwrap_or(0)
        });
        if hit.is_none() {
            set[at] = None;
        }
        let entry = set[at].get_or_insert_with(|| {
            let bytes = sender.to_be_bytes();
            let name: &[u8] = match role {
                Role::Request => &bytes,
                Role::Report => &bytes[12..],
            };
            Derived {
                id: key.id,
                role,
                sender,
                used: clock,
                key: SenderKey::derive(key.algorithm, &key.master, role, config.cluster, name),
            }
        });
        entry.used = clock;
        &entry.key
    }
}

impl std::fmt::Debug for SenderKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderKeys").finish_non_exhaustive()
    }
}

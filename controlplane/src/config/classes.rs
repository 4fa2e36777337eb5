//! `[[class]]`.

use std::net::Ipv6Addr;

use afr_dataplane::config::{Class, Limits, OnDeath, PlainDispatch, PolicyKind, Saturation, Spill};
use afr_wire::ClassId;

use super::document::Section;
use super::kind::{Kind, address, boolean, int, name, one_of};
use super::network::Network;
use super::problem::{Fault, listed};
use super::unique::Unique;

/// The classes in the file's order.
#[derive(Debug)]
pub(crate) struct Classes {
    pub(crate) classes: Vec<Class>,
}

impl Classes {
    /// The classes named in a list, ascending, each once.
    pub(crate) fn named(
        &self,
        section: &Section<'_>,
        key: &'static str,
        names: Vec<(usize, String)>,
    ) -> Vec<ClassId> {
        let mut ids = Vec::new();
        for (index, name) in names {
            match self.classes.iter().find(|class| class.name == name) {
                Some(class) => ids.push(class.id),
                None => {
                    let what = "class";
                    let known = listed(self.classes.iter().map(|class| class.name.as_str()));
                    section.blame_item(key, index, Fault::UnknownName { what, known });
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// Reads the classes.
pub(crate) fn read(root: &Section<'_>, network: &Network, limits: &Limits) -> Classes {
    let sections = root.sections("class");
    let most = usize::from(limits.classes);
    if sections.len() > most {
        root.blame(
            "class",
            Fault::TooMany {
                count: sections.len(),
                limit: "limits.classes",
                most,
            },
        );
    }
    let mut read = Classes {
        classes: Vec::new(),
    };
    let (mut ids, mut names, mut addresses) = (Unique::new(), Unique::new(), Unique::new());
    for section in &sections {
        let id = section.required("id", &int(1..=u32::MAX)).map(ClassId);
        let name = section.required("name", &name());
        let is_new = [
            id.is_some_and(|id| ids.check(section, "id", id)),
            name.as_ref()
                .is_some_and(|name| names.check(section, "name", name.clone())),
        ];
        let class = read_one(
            section,
            network,
            id.unwrap_or_default(),
            name.unwrap_or_default(),
        );
        for (index, address) in class.addresses.iter().enumerate() {
            addresses.check_item(section, "addresses", index, *address);
            if is_taken(network, *address) {
                let expected =
                    "an address outside of the service prefixes and not one of the AFR's own";
                let expected = expected.to_owned();
                section.blame_item("addresses", index, Fault::Expected { expected });
            }
        }
        if is_new == [true; 2] {
            read.classes.push(class);
        }
    }
    read
}

fn is_taken(network: &Network, address: Ipv6Addr) -> bool {
    let own = network.router.as_ref().is_some_and(|(_, router)| {
        router.address == address
            || router.sids.contains(&address)
            || router.own_addresses.contains(&address)
    });
    own || network.is_service(address)
}

fn read_one(section: &Section<'_>, network: &Network, id: ClassId, name: String) -> Class {
    let tokens = int(1..=u32::MAX);
    let default_prompt_tokens = section.or("default_prompt_tokens", &tokens, 1_024);
    let max_prompt_tokens = section.or("max_prompt_tokens", &tokens, 131_072);
    if max_prompt_tokens < default_prompt_tokens {
        let expected = format!("at least default_prompt_tokens, {default_prompt_tokens}");
        section.blame("max_prompt_tokens", Fault::Expected { expected });
    }
    let spill = section.optional_section("spill").and_then(|spill| {
        let sid = spill.required("sid", &address());
        let next_hop = network.via(&spill, "via");
        Some(Spill {
            sid: sid?,
            next_hop: next_hop?,
        })
    });
    let addresses = section.list("addresses", &address());
    Class {
        id,
        name,
        policy: section.or("policy", &policy(), PolicyKind::Ttft),
        plain: section.or("plain", &plain(), PlainDispatch::Maglev),
        objective_us: section.optional("objective_us", &int(1..=u32::MAX)),
        saturation: section.or("saturation", &saturation(), Saturation::LeastBad),
        spill,
        on_death: section.or("on_death", &on_death(), OnDeath::Reset),
        default_prompt_tokens,
        max_prompt_tokens,
        allow_bloom: section.or("allow_bloom", &boolean(), false),
        addresses: addresses.into_iter().map(|(_, address)| address).collect(),
        admit_per_s: section.or("admit_per_s", &int(0..=u32::MAX), 0),
        admit_burst: section.or("admit_burst", &int(1..=u32::MAX), 256),
    }
}

/// The policies by their names.
pub(crate) const POLICIES: &[(&str, PolicyKind)] = &[
    ("ttft", PolicyKind::Ttft),
    ("weighted", PolicyKind::Weighted),
    ("least-load", PolicyKind::LeastLoad),
    ("two-choices", PolicyKind::TwoChoices),
    ("maglev", PolicyKind::Maglev),
    ("round-robin", PolicyKind::RoundRobin),
];

fn policy() -> Kind<PolicyKind> {
    one_of(POLICIES)
}

fn plain() -> Kind<PlainDispatch> {
    one_of(&[
        ("maglev", PlainDispatch::Maglev),
        ("load", PlainDispatch::Load),
    ])
}

fn saturation() -> Kind<Saturation> {
    one_of(&[
        ("least-bad", Saturation::LeastBad),
        ("reject", Saturation::Reject),
    ])
}

fn on_death() -> Kind<OnDeath> {
    one_of(&[
        ("reset", OnDeath::Reset),
        ("rehash", OnDeath::Rehash),
        ("drop", OnDeath::Drop),
    ])
}

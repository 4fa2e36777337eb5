//! `[[instance]]`.

use afr_dataplane::config::{EcnMode, Instance, Limits, NextHop, Path};
use afr_dataplane::id::Incarnation;
use afr_wire::InstanceId;

use super::Registered;
use super::classes::Classes;
use super::document::Section;
use super::kind::{Kind, address, boolean, int, label, name, one_of};
use super::network::{MIN_FABRIC_MTU, MIN_MTU, Network, ReadPort};
use super::problem::Fault;
use super::trust::{Trust, policies};
use super::unique::Unique;

/// Reads the instances.
pub(crate) fn read(
    root: &Section<'_>,
    network: &Network,
    ports: &[ReadPort],
    classes: &Classes,
    trust: &Trust,
    limits: &Limits,
) -> Vec<Registered> {
    let sections = root.sections("instance");
    let most = usize::from(limits.instances);
    if sections.len() > most {
        root.blame(
            "instance",
            Fault::TooMany {
                count: sections.len(),
                limit: "limits.instances",
                most,
            },
        );
    }
    let (mut ids, mut names) = (Unique::new(), Unique::new());
    let (mut sids, mut sources) = (Unique::new(), Unique::new());
    let instances = sections.iter().filter_map(|section| {
        let id = section.required("id", &int(1..=u32::MAX));
        let id = id.filter(|id| ids.check(section, "id", *id));
        let name = section.required("name", &name());
        let name = name.filter(|name| names.check(section, "name", name.clone()));
        let drain = section.or("drain", &boolean(), false);

        let class_names = section.list("classes", &self::name());
        let classes = classes.named(section, "classes", class_names);
        if !section.has("classes") {
            let expected = "a list of classes' names".to_owned();
            section.blame("classes", Fault::Missing { expected });
        }
        let label_names = section.list("labels", &label());
        let labels = trust.labels(section, "labels", label_names);

        let next_hop = network.via(section, "via");
        let way = way(section, next_hop);
        if let Some(Path::Encap { sid, .. }) = way {
            sids.check(section, "sid", sid);
        }
        let source = section.optional("tunnel_source", &address());
        let source = source.or_else(|| section.optional("via", &address()));
        let key = if section.has("tunnel_source") {
            "tunnel_source"
        } else {
            "via"
        };
        if let Some(source) = source {
            sources.check(section, key, source);
        }

        let instance = Instance {
            incarnation: Incarnation(0),
            mtu: mtu(section, way, next_hop, ports),
            ecn: section.or("ecn", &ecn(), EcnMode::Compatibility),
            classes,
            labels,
            policies: policies(section),
            weight: section.or("weight", &int(1..=u16::MAX), 1),
            prefill_rate_tokens_s: section.or("prefill_rate_tokens_s", &int(1..=u32::MAX), 8_000),
            max_running: section.or("max_running", &int(1..=u16::MAX), 256),
            report_key: trust.key_id(section, "report_key"),
            id: InstanceId(id?),
            name: name?,
            path: way?,
            tunnel_source: source?,
        };
        Some(Registered { instance, drain })
    });
    instances.collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Encap,
    L2,
}

fn way(section: &Section<'_>, next_hop: Option<NextHop>) -> Option<Path> {
    let kind = one_of(&[("encap", Way::Encap), ("l2", Way::L2)]);
    match section.or("path", &kind, Way::Encap) {
        Way::Encap => {
            let sid = section.required("sid", &address());
            Some(Path::Encap {
                sid: sid?,
                next_hop: next_hop?,
            })
        }
        Way::L2 => {
            if section.has("sid") {
                let expected = "no sid with path = \"l2\"".to_owned();
                section.blame("sid", Fault::Expected { expected });
            }
            Some(Path::L2 {
                next_hop: next_hop?,
            })
        }
    }
}

/// The path's MTU: that of the port if nothing else is said, and never more.
fn mtu(
    section: &Section<'_>,
    way: Option<Path>,
    next_hop: Option<NextHop>,
    ports: &[ReadPort],
) -> u16 {
    let port = next_hop.and_then(|hop| ports.get(usize::from(hop.port.0)));
    let most = port.map_or(u16::MAX, |port| port.port.mtu);
    let least = match way {
        Some(Path::L2 { .. }) => MIN_MTU,
        _ => MIN_FABRIC_MTU,
    };
    let mtu = section.or("mtu", &int(least..=most.max(least)), most);
    if mtu < least {
        // The port's, then: an encapsulating path leaves by an outside port with a small one.
        let expected = format!("a path by a port with an mtu of {least} or more");
        section.blame("via", Fault::Expected { expected });
    }
    mtu
}

fn ecn() -> Kind<EcnMode> {
    one_of(&[
        ("compatibility", EcnMode::Compatibility),
        ("normal", EcnMode::Normal),
    ])
}

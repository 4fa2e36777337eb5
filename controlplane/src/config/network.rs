//! `[router]`, `[[port]]`, `[[neighbour]]`, `[[route]]`, `[[service]]`.

use std::net::Ipv6Addr;

use afr_dataplane::config::{BoundaryAction, NextHop, Port, PortRole, Prefix6, Route, Router};
use afr_dataplane::counters::MAX_PORTS;
use afr_dataplane::id::PortIx;
use afr_wire::ClusterId;
use hashbrown::HashMap;

use super::document::Section;
use super::kind::{
    self, Kind, address, boolean, hex, int, mac, name, one_of, prefix, service_prefix,
};
use super::problem::{Fault, listed};
use super::process::{Device, DeviceKind, Mbufs, Workers};
use super::unique::Unique;

/// Smallest MTU towards instances: the IPv6 minimum and an encapsulation (RFC 2473 §7).
pub(crate) const MIN_FABRIC_MTU: u16 = 1_320;
/// Smallest MTU that IPv6 allows (RFC 8200 §5).
pub(crate) const MIN_MTU: u16 = 1_280;
/// Largest MTU that buffers of the largest size carry.
const MAX_MTU: u16 = 9_000;
/// Frame size of the ring that net_af_packet shares with the kernel, in bytes, and the buffer it wants for one.
const AF_PACKET_FRAME: u16 = 4_096;
const AF_PACKET_MBUF: u16 = AF_PACKET_FRAME + 96;

/// A port of the file: what workers know of it, and the device.
#[derive(Debug)]
pub(crate) struct ReadPort {
    pub(crate) port: Port,
    pub(crate) device: Device,
}

/// The network as the file has it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) router: Option<(ClusterId, Router)>,
    pub(crate) maglev_seed: Option<[u8; 16]>,
    pub(crate) neighbours: HashMap<Ipv6Addr, NextHop>,
    pub(crate) routes: Vec<Route>,
    pub(crate) services: Vec<Prefix6>,
}

impl Network {
    /// The next hop that the key's value, a neighbour's address, stands for.
    pub(crate) fn via(&self, section: &Section<'_>, key: &'static str) -> Option<NextHop> {
        let via = section.required(key, &neighbour())?;
        let found = self.neighbours.get(&via).copied();
        if found.is_none() {
            let mut known: Vec<_> = self.neighbours.keys().map(Ipv6Addr::to_string).collect();
            known.sort();
            let known = listed(known.iter().map(String::as_str));
            let what = "neighbour";
            section.blame(key, Fault::UnknownName { what, known });
        }
        found
    }

    /// Whether the address lies in a service prefix.
    pub(crate) fn is_service(&self, address: Ipv6Addr) -> bool {
        let address = u128::from(address);
        self.services.iter().any(|prefix| prefix.contains(address))
    }
}

fn neighbour() -> Kind<Ipv6Addr> {
    address()
}

/// Reads the ports.
pub(crate) fn ports(root: &Section<'_>, mbufs: &Mbufs, workers: &Workers) -> Vec<ReadPort> {
    let sections = root.sections("port");
    if sections.is_empty() {
        let expected = "at least one [[port]]".to_owned();
        root.blame("port", Fault::Missing { expected });
    }
    if sections.len() > MAX_PORTS {
        root.blame(
            "port",
            Fault::TooMany {
                count: sections.len(),
                limit: "the number of ports",
                most: MAX_PORTS,
            },
        );
    }
    let (mut names, mut devices) = (Unique::new(), Unique::new());
    let ports = sections.iter().enumerate();
    let ports = ports.map(|(index, section)| {
        let name = section.required("name", &name()).unwrap_or_default();
        if !name.is_empty() {
            names.check(section, "name", name.clone());
        }
        let kind = device(section, index, mbufs);
        if let Some((key, kind)) = &kind {
            devices.check(section, key, kind.clone());
        }
        let role = section
            .required("role", &role())
            .unwrap_or(PortRole::Outside);
        let mtu = section.or("mtu", &int(MIN_MTU..=MAX_MTU), 1_500);
        if role == PortRole::Inside && mtu < MIN_FABRIC_MTU {
            let expected = format!(
                "{MIN_FABRIC_MTU} to {MAX_MTU} inside: the IPv6 minimum and the encapsulation"
            );
            section.blame("mtu", Fault::Expected { expected });
        }
        ReadPort {
            port: Port {
                name,
                role,
                boundary: section.or("boundary", &boundary(), BoundaryAction::Strip),
                mac: [0; 6],
                mtu,
                vlan: section.optional("vlan", &int(1..=4_094)),
            },
            device: Device {
                kind: kind.map_or(DeviceKind::Virtual(String::new()), |(_, kind)| kind),
                promiscuous: section.or("promiscuous", &boolean(), false),
                descriptors: section.or("descriptors", &int(64..=4_096), 1_024),
                queues: queues(section, workers),
            },
        }
    });
    ports.collect()
}

/// Queues of a port: one a worker, fewer where workers hand each other what is theirs.
fn queues(section: &Section<'_>, workers: &Workers) -> u16 {
    let all = workers.lcores.len().max(1) as u16;
    let given = section.or("queues", &int(1..=64), all);
    let expected = if given > all {
        format!("at most {all}, one for each of workers.lcores")
    } else if given < all && workers.steering.is_none() {
        format!("{all}, one for each of workers.lcores, or workers.steering = \"flow\" with fewer")
    } else {
        return given;
    };
    section.blame("queues", Fault::Expected { expected });
    all
}

fn role() -> Kind<PortRole> {
    one_of(&[("inside", PortRole::Inside), ("outside", PortRole::Outside)])
}

fn boundary() -> Kind<BoundaryAction> {
    one_of(&[
        ("strip", BoundaryAction::Strip),
        ("ignore", BoundaryAction::Ignore),
        ("drop", BoundaryAction::Drop),
        ("accept", BoundaryAction::Accept),
    ])
}

/// The device behind a port, and the key that names it.
fn device(
    section: &Section<'_>,
    index: usize,
    mbufs: &Mbufs,
) -> Option<(&'static str, DeviceKind)> {
    let interface = section.optional("iface", &kind::interface());
    let device = section.optional("device", &kind::device());
    if section.has("iface") == section.has("device") {
        let keys = "iface, device";
        section.blame_all(Fault::ExactlyOne { keys });
        return None;
    }
    if interface.is_some() && mbufs.bytes < AF_PACKET_MBUF {
        let expected =
            format!("eal.mbuf_bytes of {AF_PACKET_MBUF} or more with a port of this kind");
        section.blame("iface", Fault::Expected { expected });
    }
    interface
        .map(|interface| ("iface", DeviceKind::Interface { index, interface }))
        .or(device.map(|device| ("device", device)))
}

/// Reads the rest of the network.
pub(crate) fn read(root: &Section<'_>, ports: &[ReadPort]) -> Network {
    let services = services(root);
    let router = root.section("router");
    let neighbours = neighbours(root, ports);
    let mut network = Network {
        router: None,
        maglev_seed: router.required("maglev_seed", &hex()),
        neighbours,
        routes: Vec::new(),
        services,
    };
    network.router = read_router(&router, ports, &network);
    network.routes = routes(root, &network);
    network
}

fn read_router(
    section: &Section<'_>,
    ports: &[ReadPort],
    network: &Network,
) -> Option<(ClusterId, Router)> {
    let mut own = Unique::new();
    let outside_services = |key, index: Option<usize>, address: Ipv6Addr| {
        if network.is_service(address) {
            let expected = "an address outside of the service prefixes".to_owned();
            let fault = Fault::Expected { expected };
            match index {
                Some(index) => section.blame_item(key, index, fault),
                None => section.blame(key, fault),
            }
        }
    };
    let cluster = section.required("cluster", &int(1..=u32::MAX));
    let main = section.required("address", &address());
    if let Some(main) = main {
        own.check(section, "address", main);
        outside_services("address", None, main);
    }
    let mut list = |key| {
        let listed = section.list(key, &address());
        for (index, address) in &listed {
            own.check_item(section, key, *index, *address);
            outside_services(key, Some(*index), *address);
        }
        listed.into_iter().map(|(_, address)| address).collect()
    };
    let sids = list("sids");
    let own_addresses = list("own_addresses");
    let punt_port = section.optional("punt_port", &name());
    let punt_port = punt_port.and_then(|name| port_called(section, "punt_port", &name, ports));
    let router = Router {
        sids,
        own_addresses,
        report_port: section.or("report_port", &int(1..=u16::MAX), afr_wire::UDP_PORT),
        option_type: section.or("option_type", &option_type(), afr_wire::OPTION_TYPE),
        srh_tlv_type: section.or("srh_tlv_type", &int(124..=126), afr_wire::SRH_TLV_TYPE),
        hop_limit: section.or("hop_limit", &int(1..=u8::MAX), 64),
        transit: section.or("transit", &boolean(), false),
        mss_clamp: section.optional("mss_clamp", &int(1_220..=u16::MAX)),
        punt_port,
        address: main?,
    };
    Some((ClusterId(cluster?), router))
}

/// An option that receivers skip if they do not know it, that stays as it is en route, and is not padding
/// (RFC 8200 §4.2).
fn option_type() -> Kind<u8> {
    int(2..=0x1F)
}

fn port_called(
    section: &Section<'_>,
    key: &'static str,
    name: &str,
    ports: &[ReadPort],
) -> Option<PortIx> {
    let at = ports.iter().position(|p| p.port.name == name);
    if at.is_none() {
        let known = listed(ports.iter().map(|p| p.port.name.as_str()));
        section.blame(
            key,
            Fault::UnknownName {
                what: "port",
                known,
            },
        );
    }
    at.map(|at| PortIx(at as u8))
}

fn neighbours(root: &Section<'_>, ports: &[ReadPort]) -> HashMap<Ipv6Addr, NextHop> {
    let mut addresses = Unique::new();
    let sections = root.sections("neighbour").into_iter();
    let neighbours = sections.filter_map(|section| {
        let address = section.required("address", &address());
        let port = section.required("port", &name());
        let port = port.and_then(|name| port_called(&section, "port", &name, ports));
        let mac = section.required("mac", &mac());
        let address = address.filter(|a| addresses.check(&section, "address", *a));
        Some((
            address?,
            NextHop {
                port: port?,
                mac: mac?,
            },
        ))
    });
    neighbours.collect()
}

/// The routes of the file and one to each neighbour, longest prefix first.
fn routes(root: &Section<'_>, network: &Network) -> Vec<Route> {
    let mut prefixes = Unique::new();
    let mut routes: Vec<Route> = Vec::new();
    for section in root.sections("route") {
        let prefix = section.required("prefix", &prefix());
        let next_hop = network.via(&section, "via");
        if let Some(prefix) = prefix {
            prefixes.check(&section, "prefix", prefix);
            routes.extend(next_hop.map(|next_hop| Route { prefix, next_hop }));
        }
    }
    for (address, next_hop) in &network.neighbours {
        let prefix = Prefix6::new(*address, 128);
        if !routes.iter().any(|route| route.prefix == prefix) {
            let next_hop = *next_hop;
            routes.push(Route { prefix, next_hop });
        }
    }
    routes.sort_by_key(|route| (128 - route.prefix.length(), route.prefix.address()));
    routes
}

fn services(root: &Section<'_>) -> Vec<Prefix6> {
    let mut prefixes = Unique::new();
    let sections = root.sections("service").into_iter();
    let services = sections.filter_map(|section| {
        let prefix = section.required("prefix", &service_prefix())?;
        prefixes.check(&section, "prefix", prefix).then_some(prefix)
    });
    services.collect()
}

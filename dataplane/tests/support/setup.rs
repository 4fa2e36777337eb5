//! The configuration of the little world, and whom it has in it.
//!
//! An edge port (a trusted edge: requests are acted on), a fabric port, and a port to the wild. Three classes: `CHAT` that
//! everyone serves, `CODE` of the first two instances, and `EMPTY` of none.

use std::net::Ipv6Addr;

use afr_dataplane::config::{
    Admit, BoundaryAction, Catalogue, Claim, Class, Config, Dispatch, EcnMode, Flows, Instance,
    Key, Limits, NextHop, OnDeath, Path, Peer, PlainDispatch, PolicyKind, Port, PortRole, Prefix6,
    Route, Router, Saturation,
};
use afr_dataplane::id::{ClassIx, Incarnation, PortIx};
use afr_wire::{
    CatalogueSalt, CatalogueVersion, ClassId, ClusterId, InstanceId, KeyId, Label32, MacAlgorithm,
    MasterKey, PolicyScope,
};

pub(crate) const EDGE: PortIx = PortIx(0);
pub(crate) const FABRIC: PortIx = PortIx(1);
pub(crate) const WILD: PortIx = PortIx(2);

pub(crate) const CHAT: ClassId = ClassId(0x101);
pub(crate) const CODE: ClassId = ClassId(0x102);
pub(crate) const EMPTY: ClassId = ClassId(0x103);
pub(crate) const CHAT_IX: ClassIx = ClassIx(0);
pub(crate) const CODE_IX: ClassIx = ClassIx(1);

pub(crate) const CLUSTER: ClusterId = ClusterId(0xAF);
/// AES-CMAC, may claim anything.
pub(crate) const KEY: KeyId = KeyId(7);
/// SipHash, `CHAT` and policy scope 1 only.
pub(crate) const NARROW_KEY: KeyId = KeyId(8);
/// Ended before the tests begin.
pub(crate) const OLD_KEY: KeyId = KeyId(9);
/// Of reports.
pub(crate) const REPORT_KEY: KeyId = KeyId(20);
/// Senders of a /64 share a derived key.
pub(crate) const PREFIX_KEY: KeyId = KeyId(11);

pub(crate) const CATALOGUE: CatalogueVersion = CatalogueVersion(3);
pub(crate) const SALT: CatalogueSalt = CatalogueSalt::new(*b"pepper!!");
/// Labels of the catalogue; instances carry the first two.
pub(crate) const LABELS: [&str; 5] = ["tool:search", "lang:de", "vision", "lang:fr", "long"];

/// Where the tests' clock begins.
pub(crate) const UNIX_S: u32 = 1_793_318_400;

pub(crate) const fn ip(text: &str) -> Ipv6Addr {
    // A tiny parser, so that addresses can be constants: eight groups, or fewer around one "::".
    let bytes = text.as_bytes();
    let (mut groups, mut count, mut gap) = ([0_u16; 8], 0, None);
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b':' {
            if at + 1 < bytes.len() && bytes[at + 1] == b':' {
                gap = Some(count);
                at += 1;
            }
            at += 1;
            continue;
        }
        while at < bytes.len() && bytes[at] != b':' {
            let digit = match bytes[at] {
                digit @ b'0'..=b'9' => digit - b'0',
                letter => letter - b'a' + 10,
            };
            groups[count] = groups[count] << 4 | digit as u16;
            at += 1;
        }
        count += 1;
    }
    let mut out = [0_u16; 8];
    let split = match gap {
        Some(split) => split,
        None => count,
    };
    let mut n = 0;
    while n < count {
        let to = if n < split { n } else { 8 - count + n };
        out[to] = groups[n];
        n += 1;
    }
    Ipv6Addr::new(
        out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7],
    )
}

pub(crate) const AFR: Ipv6Addr = ip("2001:db8:a::1");
pub(crate) const AFR_LINK_LOCAL: Ipv6Addr = ip("fe80::af");
pub(crate) const SID: Ipv6Addr = ip("2001:db8:a::100");
pub(crate) const OTHER_SID: Ipv6Addr = ip("2001:db8:a::101");
pub(crate) const SPILL_SID: Ipv6Addr = ip("2001:db8:b::100");
/// Another cluster's AFR.
pub(crate) const PEER: Ipv6Addr = ip("2001:db8:b::1");
pub(crate) const CLIENT: Ipv6Addr = ip("2001:db8:c::7");
pub(crate) const FRIEND: Ipv6Addr = ip("2001:db8:7:1::9");
pub(crate) const SERVICES: Ipv6Addr = ip("2001:db8:5e::");
pub(crate) const GENERIC: Ipv6Addr = SERVICES;
/// An exact address of `CODE`.
pub(crate) const CODE_EXACT: Ipv6Addr = ip("2001:db8:e::53");

pub(crate) const EDGE_ROUTER: [u8; 6] = [2, 0xED, 0, 0, 0, 1];
pub(crate) const WILD_ROUTER: [u8; 6] = [2, 0xED, 0, 0, 0, 2];
pub(crate) const SPILL_ROUTER: [u8; 6] = [2, 0x5B, 0, 0, 0, 1];

/// The AFR's address on a port.
pub(crate) const fn mac(port: PortIx) -> [u8; 6] {
    [2, 0xAF, 0, 0, 0, port.0]
}

/// The service address of a class.
pub(crate) fn service(class: ClassId) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(SERVICES) | u128::from(class.0))
}

/// What instance number `n` encapsulates from.
pub(crate) fn tunnel_source(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n)
}

/// The SID of instance number `n`.
pub(crate) fn sid(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, n, 0, 0, 0, 0x100)
}

pub(crate) fn instance_mac(n: u16) -> [u8; 6] {
    let [high, low] = n.to_be_bytes();
    [2, 0x11, 0, 0, high, low]
}

pub(crate) fn label(name: &str) -> Label32 {
    SALT.label(name)
}

/// A configuration and instances, to be changed before the world is made of them. Instance number n (from 1) has slot
/// n − 1.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) instances: Vec<Instance>,
    pub(crate) workers: usize,
    pub(crate) buffers: usize,
}

impl Setup {
    /// With instances 1 to `instances`.
    pub(crate) fn new(instances: u16) -> Self {
        Self {
            config: config(),
            instances: (1..=instances).map(instance).collect(),
            workers: 1,
            buffers: 512,
        }
    }

    pub(crate) fn class(&mut self, class: ClassId) -> &mut Class {
        let mut classes = self.config.classes.iter_mut();
        classes.find(|c| c.id == class).unwrap()
    }

    /// Instance number `n`.
    pub(crate) fn instance(&mut self, n: u16) -> &mut Instance {
        &mut self.instances[usize::from(n) - 1]
    }

    /// A policy for all classes.
    pub(crate) fn policy(mut self, policy: PolicyKind) -> Self {
        for class in self.config.classes.iter_mut() {
            class.policy = policy;
        }
        self
    }

    /// Changes the configuration.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }
}

fn port(name: &str, ix: PortIx, role: PortRole, boundary: BoundaryAction, mtu: u16) -> Port {
    Port {
        name: name.to_owned(),
        role,
        boundary,
        mac: mac(ix),
        mtu,
        vlan: None,
    }
}

pub(crate) fn class(id: ClassId, name: &str) -> Class {
    Class {
        id,
        name: name.to_owned(),
        policy: PolicyKind::Ttft,
        plain: PlainDispatch::Maglev,
        objective_us: None,
        saturation: Saturation::LeastBad,
        spill: None,
        on_death: OnDeath::Reset,
        default_prompt_tokens: 1_000,
        max_prompt_tokens: 100_000,
        allow_bloom: false,
        addresses: Vec::new(),
        admit_per_s: 0,
        admit_burst: 0,
    }
}

pub(crate) fn key(id: KeyId, algorithm: MacAlgorithm) -> Key {
    Key {
        id,
        algorithm,
        master: MasterKey::new([id.0 as u8; 16]),
        classes: Claim::Any,
        policies: Claim::Any,
        not_before_s: 0,
        not_after_s: u64::MAX,
        source_prefix_len: 128,
        successor: None,
    }
}

pub(crate) fn catalogue(version: CatalogueVersion, names: &[String]) -> Catalogue {
    let labels: Vec<_> = names
        .iter()
        .map(|name| (name.clone(), SALT.label(name)))
        .collect();
    let by_hash = (0_u16..)
        .zip(&labels)
        .map(|(at, (_, label))| (label.short(), at))
        .collect();
    Catalogue {
        version,
        labels,
        by_hash,
    }
}

fn config() -> Config {
    let mut code = class(CODE, "code");
    code.addresses = vec![CODE_EXACT];
    let classes = [class(CHAT, "chat"), code, class(EMPTY, "empty")];
    let route = |prefix: &str, length, port, mac| Route {
        prefix: Prefix6::new(ip(prefix), length),
        next_hop: NextHop { port, mac },
    };
    let names = LABELS.map(str::to_owned);
    Config {
        revision: 1,
        cluster: CLUSTER,
        router: Router {
            address: AFR,
            sids: vec![SID, OTHER_SID],
            own_addresses: vec![AFR_LINK_LOCAL],
            report_port: afr_wire::UDP_PORT,
            option_type: afr_wire::OPTION_TYPE,
            srh_tlv_type: afr_wire::SRH_TLV_TYPE,
            hop_limit: 64,
            transit: false,
            mss_clamp: None,
            punt_port: None,
        },
        ports: vec![
            port(
                "edge",
                EDGE,
                PortRole::Outside,
                BoundaryAction::Accept,
                1_500,
            ),
            port(
                "fabric",
                FABRIC,
                PortRole::Inside,
                BoundaryAction::Accept,
                1_700,
            ),
            port(
                "wild",
                WILD,
                PortRole::Outside,
                BoundaryAction::Strip,
                1_500,
            ),
        ],
        trusted_prefixes: vec![Prefix6::new(ip("2001:db8:7::"), 48)],
        routes: vec![
            route("2001:db8:f::", 48, FABRIC, [2, 0xFA, 0, 0, 0, 1]),
            route("2001:db8:d::", 48, WILD, WILD_ROUTER),
            route("::", 0, EDGE, EDGE_ROUTER),
        ],
        peers: vec![Peer {
            name: "peer".to_owned(),
            address: PEER,
            cluster: CLUSTER,
        }],
        catalogues: vec![catalogue(CATALOGUE, &names)],
        keys: vec![
            key(KEY, MacAlgorithm::AesCmac),
            Key {
                classes: Claim::Only(vec![CHAT]),
                policies: Claim::Only(vec![PolicyScope(1)]),
                ..key(NARROW_KEY, MacAlgorithm::SipHash24)
            },
            Key {
                not_after_s: u64::from(UNIX_S) - 1,
                ..key(OLD_KEY, MacAlgorithm::AesCmac)
            },
            Key {
                source_prefix_len: 64,
                ..key(PREFIX_KEY, MacAlgorithm::AesCmac)
            },
            key(REPORT_KEY, MacAlgorithm::AesCmac),
        ],
        accept_unauthenticated: false,
        classes: classes.into_iter().collect(),
        services: vec![Prefix6::new(SERVICES, 96)],
        dispatch: Dispatch {
            near_tie_us: 0,
            thrift_per_s: 0,
            recent_per_mille: 0,
            pressure_full_us: 200_000,
            pressure_from: 230,
            replay_limit: u16::MAX,
            ..Dispatch::default()
        },
        flows: Flows {
            capacity: 1_024,
            ..Flows::default()
        },
        admit: Admit::default(),
        limits: Limits {
            instances: 130,
            classes: 8,
            signatures: 4_096,
            overlay_signatures: 512,
            ring: 256,
            sender_keys: 64,
            sessions: 256,
            maglev: 1_009,
        },
        maglev_seed: *b"the shared seed!",
    }
}

/// Instance number `n`: 10,000 tokens a second, the first two labels of the catalogue.
pub(crate) fn instance(n: u16) -> Instance {
    let classes = if n <= 2 { vec![CHAT, CODE] } else { vec![CHAT] };
    Instance {
        id: InstanceId(u32::from(n)),
        name: format!("i{n}"),
        incarnation: Incarnation(n),
        path: Path::Encap {
            sid: sid(n),
            next_hop: NextHop {
                port: FABRIC,
                mac: instance_mac(n),
            },
        },
        mtu: 1_700,
        ecn: EcnMode::Compatibility,
        tunnel_source: tunnel_source(n),
        classes,
        labels: LABELS[..2].iter().map(|name| label(name)).collect(),
        policies: Claim::Any,
        weight: 1,
        prefill_rate_tokens_s: 10_000,
        max_running: 64,
        report_key: Some(REPORT_KEY),
    }
}

//! The stages that can be called by themselves.

use std::hint::black_box;

use afr_dataplane::config::{self, EcnMode};
use afr_dataplane::flow::{FlowEntry, FlowKey, FlowTable, Pin};
use afr_dataplane::id::{Incarnation, Slot};
use afr_dataplane::packet::PacketBuf;
use afr_dataplane::packet::encap::{self, EthernetOut, HeaderTemplate, Outer};
use afr_dataplane::packet::parse::{self, Parsed};
use afr_dataplane::packet::strip;
use afr_dataplane::request::admit::Admit;
use afr_dataplane::request::replay_guard::ReplayGuard;
use afr_dataplane::request::verify::{Name, SenderKeys};
use afr_wire::{KeyId, MAX_CHECKS, Object, Place, Request, RequestContext, Role, verify_requests};

use super::buffer::{Frame, Pool};
use super::frames::{self, TYPES};
use super::site;
use super::{Case, ROUND};
use crate::support::metadata::signed;
use crate::support::setup::{
    AFR, CHAT, CHAT_IX, CLIENT, FABRIC, KEY, NARROW_KEY, Setup, instance_mac, mac, service, sid,
};
use crate::support::world::syn;

/// The monotonic clock, in microseconds.
const NOW_US: u64 = 100_000_000;

/// A packet with a Destination Options header.
pub(crate) fn parse() -> Case {
    parsing(frames::asking(0))
}

/// A packet without extension headers.
pub(crate) fn parse_plain() -> Case {
    parsing(frames::plain())
}

fn parsing(frames: Vec<Vec<u8>>) -> Case {
    Case::new(
        (frames, Parsed::NOTHING),
        |_| {},
        |(frames, parsed), n| {
            let frame = black_box(frames[n].as_slice());
            if let Ok(l3) = parse::ethernet(frame, None) {
                let _ = black_box(parse::ipv6_into(frame, l3, TYPES, parsed));
            }
            black_box(parsed);
        },
    )
}

/// A flow that is there.
pub(crate) fn flow_hit() -> Case {
    let mut table = flow_table();
    for n in 0..ROUND {
        enter(&mut table, n);
    }
    looking_up(table, 0)
}

/// A flow that is not, in a table that has others.
pub(crate) fn flow_miss() -> Case {
    let mut table = flow_table();
    for n in 0..ROUND {
        enter(&mut table, n);
    }
    looking_up(table, ROUND)
}

fn looking_up(table: FlowTable, first: usize) -> Case {
    let keys: Vec<_> = (first..first + ROUND).map(flow_key).collect();
    Case::new(
        (table, keys),
        |_| {},
        |(table, keys), n| {
            let key = black_box(&keys[n]);
            black_box(table.lookup(table.hash(key), key));
        },
    )
}

/// A flow enters a table that has room.
pub(crate) fn flow_insert() -> Case {
    Case::new(
        flow_table(),
        |table| {
            for n in 0..ROUND {
                let key = flow_key(n);
                if let Some(flow) = table.lookup(table.hash(&key), &key) {
                    table.remove(flow);
                }
            }
        },
        enter,
    )
}

fn flow_table() -> FlowTable {
    let flows = config::Flows {
        capacity: 4_096,
        ..config::Flows::default()
    };
    FlowTable::new(&flows, 1)
}

pub(crate) fn flow_key(n: usize) -> FlowKey {
    FlowKey {
        src: CLIENT.octets(),
        dst: service(CHAT).octets(),
        sport: 1_024 + n as u16,
        dport: 8_000,
        proto: 6,
    }
}

fn enter(table: &mut FlowTable, n: usize) {
    let key = flow_key(n);
    let pin = Pin::Instance(Slot(0), Incarnation(1));
    let entry = FlowEntry::new(&key, pin, CHAT_IX, 0);
    black_box(table.insert(table.hash(&key), black_box(entry), 0));
}

/// A request under AES-CMAC: read, its key found, its tag checked.
pub(crate) fn verify_aes_cmac() -> Case {
    verifying(KEY)
}

/// The same under SipHash-2-4.
pub(crate) fn verify_siphash() -> Case {
    verifying(NARROW_KEY)
}

/// Eight tags under AES-CMAC at once, a request's share of it.
pub(crate) fn verify_together() -> Case {
    let packet = syn(1, service(CHAT));
    let objects: Vec<_> = (0..ROUND)
        .map(|n| signed(&site::task(n), &packet))
        .collect();
    let state = (Setup::new(0).config, SenderKeys::new(64), objects);
    Case::new(
        state,
        |_| {},
        move |(config, keys, objects), n| {
            if !n.is_multiple_of(MAX_CHECKS) {
                return;
            }
            let sender = u128::from(CLIENT);
            let key = config
                .key(KEY)
                .and_then(|key| keys.derived(config, key, name(config, sender)))
                .unwrap();
            let checks: [_; MAX_CHECKS] =
                std::array::from_fn(|at| (key, context(), objects[n + at].as_slice()));
            assert_eq!(verify_requests(black_box(&checks)), (1 << MAX_CHECKS) - 1);
        },
    )
}

/// A request without a tag: read.
pub(crate) fn verify_none() -> Case {
    verifying(KeyId::NONE)
}

fn verifying(key: KeyId) -> Case {
    let objects: Vec<_> = (0..ROUND)
        .map(|n| {
            let request = Request {
                key_id: key,
                ..site::task(n)
            };
            signed(&request, &syn(1, service(CHAT)))
        })
        .collect();
    let context = context();
    let state = (Setup::new(0).config, SenderKeys::new(64), objects, context);
    Case::new(
        state,
        |_| {},
        move |(config, keys, objects, context), n| {
            let object = Object::parse(black_box(&objects[n]), Place::InBand);
            let Ok(Object::Request(view)) = object else {
                panic!("no request: {object:?}");
            };
            let sender = u128::from_be_bytes(context.source);
            let authentic = config.key(view.key_id()).is_none_or(|key| {
                keys.derived(config, key, name(config, sender))
                    .is_some_and(|key| key.verify_request(black_box(context), &view))
            });
            assert!(authentic);
        },
    )
}

/// Whose key a request of `sender` is under.
fn name(config: &config::Config, sender: u128) -> Name {
    Name {
        role: Role::Request,
        cluster: config.cluster,
        sender,
    }
}

/// What a tag covers of its packet.
fn context() -> RequestContext {
    RequestContext {
        source: CLIENT.octets(),
        destination: service(CHAT).octets(),
        protocol: 6,
        destination_port: 8_000,
    }
}

/// A dispatch that source and class have tokens for.
pub(crate) fn admit() -> Case {
    let limits = config::Admit {
        per_source_per_s: 1_000_000_000,
        per_source_burst: 1_000,
        sources: 4_096,
        ..config::Admit::default()
    };
    let sources: Vec<_> = (0..ROUND)
        .map(|n| u128::from(CLIENT) + ((n as u128) << 64))
        .collect();
    Case::new(
        (Admit::new(&limits, 8, 1), sources, NOW_US),
        |(_, _, now_us)| *now_us += 1_000,
        |(admit, sources, now_us), n| {
            let source = black_box(sources[n]);
            black_box(admit.admit(*now_us, source, CHAT_IX, 1_000_000_000, 1_000));
        },
    )
}

/// A session that may have another charged dispatch.
pub(crate) fn replay_guard() -> Case {
    let limits = config::Limits {
        sessions: 4_096,
        ..config::Limits::default()
    };
    let dispatch = config::Dispatch {
        replay_limit: u16::MAX,
        ..config::Dispatch::default()
    };
    Case::new(
        (ReplayGuard::new(&limits, &dispatch, 1), NOW_US),
        |(_, now_us)| *now_us += 10_000,
        |(guard, now_us), n| {
            let sender = u128::from(CLIENT);
            black_box(guard.charge(*now_us / 1_000_000, sender, black_box(n as u64)));
        },
    )
}

/// An outer header before a packet, field by field.
pub(crate) fn encap() -> Case {
    let outer = Outer {
        source: AFR.octets(),
        destination: sid(1).octets(),
        hop_limit: 64,
        flow_label: 0x12345,
        ecn: EcnMode::Compatibility,
    };
    let ethernet = EthernetOut {
        destination: instance_mac(1),
        source: mac(FABRIC),
        vlan: None,
    };
    let frames = frames::asking(0);
    let ip_len = frames[0].len() - 14;
    rewriting(frames, move |frame, _| {
        let (ethernet, outer) = (black_box(&ethernet), black_box(&outer));
        black_box(encap::encapsulate(frame, 14, ip_len, ethernet, outer));
    })
}

/// An outer header before a packet, from a template.
pub(crate) fn encap_template() -> Case {
    let template = HeaderTemplate::new(
        instance_mac(1),
        mac(FABRIC),
        AFR.octets(),
        sid(1).octets(),
        64,
    );
    let frames = frames::asking(0);
    let ip_len = (frames[0].len() - 14) as u16;
    rewriting(frames, move |frame, _| {
        let (template, ecn) = (black_box(&template), EcnMode::Compatibility);
        black_box(template.encapsulate(frame, ip_len, black_box(0x12345), ecn));
    })
}

/// The one header with metadata goes out of a packet.
pub(crate) fn strip() -> Case {
    rewriting(frames::asking(0), |frame, parsed| {
        let found = parsed.request.unwrap();
        black_box(strip::strip(frame, black_box(parsed), &found));
    })
}

/// `one` on each of the frames, which are as they were before every round.
fn rewriting(frames: Vec<Vec<u8>>, one: impl Fn(&mut Frame, &Parsed) + 'static) -> Case {
    let parsed = parse::ipv6(&frames[0], 14, TYPES).unwrap();
    let state = (frames, Pool::new(ROUND), Vec::<Frame>::new());
    Case::new(
        state,
        |(frames, pool, received)| {
            received.clear();
            received.extend(frames.iter().map(|frame| pool.receive(frame)));
        },
        move |(_, _, received), n| {
            one(&mut received[n], &parsed);
            black_box(received[n].data().len());
        },
    )
}

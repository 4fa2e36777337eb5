//! The fast path against the whole one: two worlds that differ in nothing but that one has a fast path get the same bursts, and
//! the same happens in both. Every frame that leaves, every counter and every flow must be equal after every burst.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

#[path = "../support/mod.rs"]
mod support;

mod charged;
mod claims;
mod refusal;

use afr_dataplane::config::Prefix6;
use afr_dataplane::counters::Figure;
use afr_dataplane::flow::FlowEntry;
use afr_dataplane::id::{PortIx, Slot};
use afr_dataplane::path::{BURST, Burst, Egress};
use afr_dataplane::verdict::{DropReason, MetadataNote, PuntReason};
use afr_wire::{Report, Request, RequestFlags, SRH_TLV_TYPE, carrier};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::corpus::corpus;
use support::hostile::{PORTS, world};
use support::metadata::{labels, prefix, report, request, with_prefixes};
use support::packet::Packet;
use support::pool::Buf;
use support::setup::{CHAT, CODE, CODE_EXACT, EDGE, FABRIC, Setup, WILD, ip, mac, service};
use support::world::{World, ack, data, datagram, syn, tunnelled_reply};

#[derive(Default)]
struct Exit(Vec<(PortIx, Vec<u8>)>);

impl Egress<Buf> for Exit {
    fn send(&mut self, port: PortIx, packet: Buf) {
        use afr_dataplane::packet::PacketBuf as _;
        self.0.push((port, packet.data().to_vec()));
    }
}

/// What came of a burst, and what is known afterwards.
#[derive(Debug, PartialEq, Eq)]
struct After {
    sent: Vec<(PortIx, Vec<u8>)>,
    counts: Vec<(String, u64)>,
    flows: Vec<String>,
    /// By instance.
    unanswered: Vec<u32>,
    charged: Vec<u64>,
}

fn counts(world: &World) -> Vec<(String, u64)> {
    let drops = DropReason::ALL.iter().map(|r| (r.name(), Figure::Drop(*r)));
    let punts = PuntReason::ALL.iter().map(|r| (r.name(), Figure::Punt(*r)));
    let notes = MetadataNote::ALL
        .iter()
        .map(|r| (r.name(), Figure::Note(*r)));
    let plain = [
        ("forwarded_request", Figure::ForwardedRequest),
        ("forwarded_reply", Figure::ForwardedReply),
        ("originated", Figure::Originated),
        ("prompt_tokens", Figure::PromptTokens),
        ("affinity_tokens", Figure::AffinityTokens),
        ("pushed", Figure::RingPushed),
    ];
    drops
        .chain(punts)
        .chain(notes)
        .chain(plain)
        .map(|(name, figure)| (name.to_owned(), world.figure(figure)))
        .filter(|(_, count)| *count != 0)
        .collect()
}

fn shown(flow: &FlowEntry) -> String {
    format!("{flow:?}")
}

fn burst(world: &mut World, port: PortIx, frames: &[Vec<u8>]) -> After {
    let mut packets: Burst<Buf> = frames.iter().map(|f| world.pool.receive(f)).collect();
    let mut exit = Exit::default();
    let now = world.now;
    world.workers[0].begin();
    world.workers[0].burst(now, port, &mut packets, &mut exit, &mut world.pool);
    world.workers[0].maintain(now, &mut exit, &mut world.pool);
    let mut flows: Vec<_> = world.flows().iter().map(shown).collect();
    flows.sort();
    After {
        sent: exit.0,
        counts: counts(world),
        flows,
        unanswered: (0..8)
            .map(|slot| world.shared.inflight.unanswered(Slot(slot)))
            .collect(),
        charged: (0..8)
            .map(|slot| world.shared.inflight.committed(Slot(slot)))
            .collect(),
    }
}

/// Frames of the kinds that the fast path is for, on few flows, so that they meet again.
fn frame(kind: u8, n: u16, seq: u32) -> (PortIx, Vec<u8>) {
    let (flow, other) = (n % 24, u64::from(n / 24 % 3));
    let source = ip(&format!("2001:db8:c::{:x}", flow % 5 + 1));
    let asking = Request {
        session: other,
        ..request()
    };
    let deep = Request {
        labels: labels(&["tool:search"]),
        session: 9,
        ..with_prefixes(&[prefix(2, n % 3), prefix(9, n % 5)])
    };
    let anew = Request {
        flags: RequestFlags::NEW_TASK,
        ..asking
    };
    let to = [service(CHAT), service(CODE), CODE_EXACT][usize::from(flow % 3)];
    let packet = match kind % 16 {
        0 => syn(flow, to).from(source),
        1 => syn(flow, to).from(source).asking(&asking),
        2 => ack(flow, to, seq).from(source),
        3 | 4 => data(flow, to, seq).from(source),
        5 | 6 => data(flow, to, seq).from(source).asking(&asking),
        7 => datagram(flow, to).from(source),
        8 => datagram(flow, to).from(source).asking(&asking),
        9 | 10 => datagram(flow, to).from(source).asking(&anew),
        11 => datagram(flow, to).from(source).asking(&deep),
        12 => data(flow, to, seq)
            .from(source)
            .class(0xBB)
            .hops((n % 3) as u8),
        13 => {
            let reply = tunnelled_reply(n % 4 + 1, flow, to);
            return (FABRIC, reply.frame());
        }
        _ => {
            let instance = n % 4 + 1;
            let reply = tunnelled_reply(instance, flow, to).reporting(&report(instance, seq % 4));
            // Most replies are no SYN.
            let frame = flagged(&reply, [0x10, 0x18, 0x12][usize::from(n % 3)]);
            return (FABRIC, carried(frame, kind, n));
        }
    };
    (EDGE, carried(packet.frame(), kind, n))
}

/// The frame, which may have a Destination Options header, with what that carries by one of the carriers.
fn carried(frame: Vec<u8>, kind: u8, n: u16) -> Vec<u8> {
    match kind >> 4 & 3 {
        0 => frame,
        1 => by_hops(frame),
        more => by_segments(&frame, usize::from(more) - 1, n),
    }
}

/// The frame with its Destination Options header, if it has one, as a Segment Routing Header of so many segments; without one with
/// an SRH without TLVs. Seldom there is a segment left, and seldom something else than padding before the object.
fn by_segments(frame: &[u8], segments: usize, n: u16) -> Vec<u8> {
    let (head, rest) = frame.split_at(54);
    let has_options = head[20] == 60;
    let (next, tlvs, upper) = if has_options {
        let (options, upper) = rest.split_at((usize::from(rest[1]) + 1) * 8);
        let object = &options[4..4 + usize::from(options[3])];
        let mut tlvs = [0; 264];
        let len = carrier::emit_srh_tlv(SRH_TLV_TYPE, object, &mut tlvs).unwrap();
        if n % 16 == 14 {
            tlvs[0] = SRH_TLV_TYPE;
        }
        (options[0], tlvs[..len].to_vec(), upper)
    } else {
        (head[20], Vec::new(), rest)
    };
    let units = 2 * segments + tlvs.len() / 8;
    let left = u8::from(n % 16 == 15);
    let mut header = vec![
        next,
        units as u8,
        4,
        left,
        segments as u8 - 1,
        0,
        0,
        n as u8,
    ];
    header.extend(head[38..54].repeat(segments));
    header.extend(tlvs);
    let payload = (header.len() + upper.len()) as u16;
    let mut frame = [head, &header, upper].concat();
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    frame[20] = 43;
    frame
}

/// The frame with its Destination Options header, if it has one, as a Hop-by-Hop header.
fn by_hops(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[20] == 60 {
        frame[20] = 0;
    }
    frame
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A frame, and a byte of it that is changed.
    Frame(u8, u16, u32, Option<(u16, u8)>),
    /// One of the corpus.
    Sample(u16, Option<(u16, u8)>),
    /// The burst ends here.
    End,
    /// Instances come, go and change.
    Upheaval(u8),
    /// What was said so far is in the next generation.
    Settle,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let change = prop_oneof![
        6 => Just(None),
        1 => (0_u16..190, any::<u8>()).prop_map(Some),
    ];
    let event = prop_oneof![
        30 => (any::<u8>(), any::<u16>(), 0_u32..6, change.clone())
            .prop_map(|(kind, n, seq, change)| Event::Frame(kind, n, seq, change)),
        3 => (any::<u16>(), change).prop_map(|(n, change)| Event::Sample(n, change)),
        2 => Just(Event::End),
        1 => any::<u8>().prop_map(Event::Upheaval),
        1 => Just(Event::Settle),
    ];
    prop::collection::vec(event, 1..400)
}

fn both(variant: u8, events: &[Event]) -> u64 {
    let (mut fast, mut whole) = (world(variant), world(variant));
    whole.workers[0].forgo_fast_path();
    let samples = corpus();
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    let mut at = EDGE;
    let flush = |worlds: [&mut World; 2], port, waiting: &mut Vec<Vec<u8>>| {
        let [fast, whole] = worlds;
        let (one, other) = (burst(fast, port, waiting), burst(whole, port, waiting));
        assert_eq!(one, other, "after {waiting:02x?}");
        waiting.clear();
    };
    for event in events {
        let (port, mut frame, change) = match event {
            Event::Frame(kind, n, seq, change) => {
                let (port, frame) = frame(*kind, *n, *seq);
                (port, frame, change)
            }
            Event::Sample(n, change) => {
                let sample = &samples[usize::from(*n) % samples.len()];
                let port = PORTS[usize::from(n / 256) % PORTS.len()];
                (port, sample.packet.frame(), change)
            }
            Event::End => {
                flush([&mut fast, &mut whole], at, &mut waiting);
                continue;
            }
            Event::Upheaval(what) => {
                flush([&mut fast, &mut whole], at, &mut waiting);
                fast.upheaval(*what);
                whole.upheaval(*what);
                continue;
            }
            Event::Settle => {
                flush([&mut fast, &mut whole], at, &mut waiting);
                fast.settle();
                whole.settle();
                continue;
            }
        };
        if let Some((offset, value)) = change
            && let Some(byte) = frame.get_mut(usize::from(*offset))
        {
            *byte ^= value;
        }
        if port != at || waiting.len() == BURST {
            flush([&mut fast, &mut whole], at, &mut waiting);
            at = port;
        }
        waiting.push(frame);
    }
    flush([&mut fast, &mut whole], at, &mut waiting);
    fast.figure(Figure::FastPath)
}

#[test]
fn the_fast_path_decides_as_the_whole_path_does() {
    let config = Config {
        cases: 320,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases in every run: what fails stays to be seen.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let taken = std::cell::Cell::new(0);
    TestRunner::new_with_rng(config, rng)
        .run(&(0_u8..8, events()), |(variant, events)| {
            taken.set(taken.get() + both(variant, &events));
            Ok(())
        })
        .unwrap();
    assert!(
        taken.get() > 4_000,
        "hardly a packet took it: {}",
        taken.get()
    );
}

#[test]
fn an_untagged_broadcast_at_a_tagged_port_is_nobodys() {
    // The fabric port of this variant is tagged, and the edge port that the reply would leave by is not.
    let (mut fast, mut whole) = (world(4), world(4));
    whole.workers[0].forgo_fast_path();
    let mut frame = answer(1, None);
    frame[..6].fill(0xFF);
    // As it came without its tag.
    if frame[12..14] == [0x81, 0] {
        frame.drain(12..16);
    }
    let frames = [frame];
    let one = burst(&mut fast, FABRIC, &frames);
    assert_eq!(one, burst(&mut whole, FABRIC, &frames));
    assert!(one.sent.is_empty(), "{one:?}");
}

/// Whatever carries the metadata, what is known goes the fast way, there and back.
#[test]
fn no_carrier_is_a_detour() {
    let asking = datagram(1, service(CHAT)).asking(&request()).frame();
    // One label leaves four bytes of a header as long as that of three, which fill it.
    let labelled = |port, many: usize| {
        let request = Request {
            labels: labels(&["tool:search"].repeat(many)),
            ..request()
        };
        datagram(port, service(CHAT)).asking(&request).frame()
    };
    let (padded, full) = (labelled(3, 1), labelled(4, 3));
    let plain = datagram(2, service(CHAT)).frame();
    let (reply, told) = (answer(1, None), answer(1, Some(&report(1, 3))));
    for kind in [0, 16, 32, 48] {
        let (mut fast, mut whole) = (world(0), world(0));
        whole.workers[0].forgo_fast_path();
        let requests =
            [&asking, &padded, &full, &plain].map(|frame| carried(frame.clone(), kind, 0));
        let replies = [&reply, &told, &told, &reply].map(|frame| carried(frame.clone(), kind, 0));
        for round in 0..3 {
            let before = fast.figure(Figure::FastPath);
            for (port, frames) in [(EDGE, &requests), (FABRIC, &replies)] {
                let one = burst(&mut fast, port, frames);
                assert_eq!(one, burst(&mut whole, port, frames));
                assert_eq!(one.sent.len(), 4, "carrier {kind}");
            }
            let taken = fast.figure(Figure::FastPath) - before;
            assert!(round == 0 || taken == 8, "{taken} of 8, carrier {kind}");
        }
    }
}

/// An SRH is known up to the most bytes that extension headers may have: 60 segments and 56 bytes of TLVs are as many.
#[test]
fn a_list_of_segments_may_be_long_but_not_too_long() {
    for (segments, is_sent) in [(60, true), (61, false)] {
        let (mut fast, mut whole) = (world(0), world(0));
        whole.workers[0].forgo_fast_path();
        let asking = datagram(1, service(CHAT)).asking(&request()).frame();
        let frames = [by_segments(&asking, segments, 0)];
        for _ in 0..2 {
            let one = burst(&mut fast, EDGE, &frames);
            assert_eq!(one, burst(&mut whole, EDGE, &frames));
            assert_eq!(!one.sent.is_empty(), is_sent, "{segments} segments");
        }
        let taken = fast.figure(Figure::FastPath);
        assert_eq!(taken, u64::from(is_sent), "{segments} segments");
    }
}

/// A reply, with this report if there is one, that is no SYN.
fn answer(n: u16, told: Option<&Report>) -> Vec<u8> {
    let reply = tunnelled_reply(n, 1, service(CHAT));
    let reply = match told {
        Some(told) => reply.reporting(told),
        None => reply,
    };
    flagged(&reply, 0x10)
}

/// The reply with these flags in the TCP header that ends the frame, eight bytes of options behind it.
fn flagged(reply: &Packet, flags: u8) -> Vec<u8> {
    let mut frame = reply.frame();
    let at = frame.len() - 28 + 13;
    frame[at] = flags;
    frame
}

/// Who reported in a burst before is not taken for who replies in this one.
#[test]
fn the_tunnel_of_an_instance_that_has_gone_is_nobodys() {
    let (mut fast, mut whole) = (world(0), world(0));
    whole.workers[0].forgo_fast_path();
    let told = |n, seq| answer(n, Some(&report(n, seq)));
    let both = [told(1, 3), told(1, 4)];
    let one = burst(&mut fast, FABRIC, &both);
    assert_eq!(one, burst(&mut whole, FABRIC, &both));
    assert_eq!(one.sent.len(), 2);
    for world in [&mut fast, &mut whole] {
        world.core.remove(Slot(0));
        world.settle();
    }
    // One without a report, one with the last report of all, and one beside news of another's.
    let (plain, last) = (answer(1, None), told(1, 4));
    for (frames, sent) in [
        (vec![plain.clone()], 0),
        (vec![last], 0),
        (vec![told(2, 3), plain], 1),
    ] {
        let one = burst(&mut fast, FABRIC, &frames);
        assert_eq!(one, burst(&mut whole, FABRIC, &frames));
        assert_eq!(one.sent.len(), sent);
    }
    assert_eq!(fast.figure(Figure::Drop(DropReason::DecapSource)), 3);
}

/// A flow's place may be another's by the time its packet's turn comes, in the same burst and with the same metadata.
#[test]
fn a_flow_that_gave_way_in_the_burst_is_not_taken_for_who_came() {
    let small = || World::new(Setup::new(4).config(|config| config.flows.capacity = 1));
    let (mut fast, mut whole) = (small(), small());
    whole.workers[0].forgo_fast_path();
    let of = |port| datagram(port, service(CHAT)).asking(&request()).frame();
    for frames in [vec![of(1)], vec![of(2), of(1)], vec![of(1), of(2), of(1)]] {
        let one = burst(&mut fast, EDGE, &frames);
        assert_eq!(one, burst(&mut whole, EDGE, &frames));
        assert_eq!(one.flows.len(), 1);
    }
    let evicted = |(name, count): &(String, u64)| name.contains("flow_evicted").then_some(*count);
    assert_eq!(counts(&fast).iter().find_map(evicted), Some(4));
}

/// What the last packet looked like is kept from burst to burst, but not from one configuration to the next.
#[test]
fn another_configuration_is_heeded_by_packets_that_look_like_those_before() {
    let mut world = World::new(Setup::new(4));
    let frames = vec![datagram(1, service(CHAT)).frame(); 2];
    for _ in 0..2 {
        assert_eq!(burst(&mut world, EDGE, &frames).sent.len(), 2);
    }
    assert!(world.figure(Figure::FastPath) >= 2, "not by the fast path");
    world.reload(|setup| setup.config.ports[usize::from(EDGE.0)].mac[5] ^= 1);
    assert_eq!(burst(&mut world, EDGE, &frames).sent.len(), 0);
    assert_eq!(world.figure(Figure::Drop(DropReason::MacForeign)), 2);
}

#[test]
fn replies_go_where_another_configuration_says() {
    let mut world = World::new(Setup::new(4));
    let frames = vec![answer(1, None); 2];
    let neighbours = |world: &mut World| {
        let sent = burst(world, FABRIC, &frames).sent;
        sent.iter().map(|(_, frame)| frame[5]).collect::<Vec<_>>()
    };
    let before = neighbours(&mut world);
    assert_eq!(neighbours(&mut world), before);
    assert_eq!(world.figure(Figure::FastPath), 4);
    world.reload(|setup| {
        for route in &mut setup.config.routes {
            route.next_hop.mac[5] ^= 1;
        }
    });
    assert_eq!(neighbours(&mut world), vec![before[0] ^ 1; 2]);
}

/// Most packets of a burst look like the one before, and what that one was is taken for what they are. So for each bit of the
/// headers: the packet between two that are otherwise alike.
#[test]
fn a_packet_unlike_the_one_before_in_any_bit_is_looked_at_for_itself() {
    let longer = Request {
        labels: labels(&["tool:search"]),
        ..request()
    };
    let anew = Request {
        flags: RequestFlags::NEW_TASK,
        ..request()
    };
    let asking = |request: &Request| datagram(1, service(CHAT)).asking(request).frame();
    let reply = answer(1, Some(&report(1, 1)));
    // By a port whose requests are not believed.
    let mut outside = asking(&request());
    outside[..6].copy_from_slice(&mac(WILD));
    let kinds = [
        (EDGE, datagram(1, service(CHAT)).frame()),
        (EDGE, data(2, service(CHAT), 1).frame()),
        (EDGE, asking(&request())),
        (EDGE, asking(&longer)),
        (EDGE, asking(&anew)),
        (EDGE, data(2, service(CHAT), 1).asking(&request()).frame()),
        (EDGE, data(2, service(CHAT), 1).asking(&anew).frame()),
        (EDGE, by_hops(asking(&longer))),
        (FABRIC, reply),
        (WILD, outside),
    ];
    // Of the two requests one fills its header, and one leaves four bytes of padding.
    let padded = |frame: &[u8]| frame[55] as usize * 8 + 8 != frame[57] as usize + 4;
    assert_ne!(padded(&kinds[2].1), padded(&kinds[3].1));
    for (port, frame) in &kinds {
        let (mut fast, mut whole) = (world(0), world(0));
        whole.workers[0].forgo_fast_path();
        let headers = frame.len().min(160);
        for bit in 0..headers * 8 {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let frames = [frame.clone(), other, frame.clone()];
            let one = burst(&mut fast, *port, &frames);
            assert_eq!(one, burst(&mut whole, *port, &frames), "bit {bit}");
        }
        // What is not believed is stripped: that is the whole path's.
        assert!(fast.figure(Figure::FastPath) > 0 || *port == WILD);
    }
}

/// Where one client's replies go is taken for where its link's go, unless that may be wrong.
#[test]
fn a_reply_goes_its_own_way_whoever_was_answered_before() {
    let clients = [
        "2001:db8:c::1",
        "2001:db8:c::2",
        "2001:db8:d::1",
        "2001:db8:d:1::1",
        "2001:db8:f::1",
        // On a link with the AFR.
        "2001:db8:a::2",
        "fe80::1",
        "ff02::1",
        "::1",
        "::2",
        "::",
    ]
    .map(ip);
    for exact in [false, true] {
        let world = || {
            World::new(Setup::new(4).config(|config| {
                if exact {
                    let mut route = config.routes[0];
                    route.prefix = Prefix6::new(ip("2001:db8:c::2"), 128);
                    config.routes.insert(0, route);
                }
            }))
        };
        let (mut fast, mut whole) = (world(), world());
        whole.workers[0].forgo_fast_path();
        let own = [service(CHAT), fast.config().router.address];
        let all: Vec<_> = clients.into_iter().chain(own).collect();
        for one in &all {
            for other in &all {
                let frames = [one, other, one, other].map(|client| {
                    let mut frame = answer(1, None);
                    frame[78..94].copy_from_slice(&client.octets());
                    frame
                });
                let after = burst(&mut fast, FABRIC, &frames);
                assert_eq!(after, burst(&mut whole, FABRIC, &frames), "{one} {other}");
                // RFC 4291 §2.5.2, §2.5.3: these are no destinations.
                let nowhere =
                    |(_, frame): &(PortIx, Vec<u8>)| frame[38..53] == [0; 15] && frame[53] < 2;
                assert!(!after.sent.iter().any(nowhere), "{one} {other}");
            }
        }
        let taken = fast.figure(Figure::FastPath);
        assert!(taken > 200, "hardly a reply took it: {taken}");
    }
}

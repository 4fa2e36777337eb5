//! What would open a flow under a wrong MAC is refused without the whole path, and nothing else is.

use afr_dataplane::counters::Figure;
use afr_dataplane::path::BURST;
use afr_dataplane::verdict::DropReason;
use afr_wire::{ClassId, Request, RequestFlags};

use super::burst;
use super::support::metadata::{labels, request};
use super::support::packet::{ACK, FIN, Packet, RST, SYN};
use super::support::setup::{CHAT, CODE_EXACT, EDGE, Setup, ip, service};
use super::support::world::{World, data, datagram, syn};

/// The packet's frame, a bit of its object's MAC turned over.
pub(super) fn forged(packet: &Packet) -> Vec<u8> {
    let mut frame = packet.frame();
    let mac_end = 58 + usize::from(frame[57]);
    frame[mac_end - 1] ^= 1;
    frame
}

/// The frame with another byte in its object.
fn with_byte(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[58 + at] = byte;
    frame
}

/// A forged request on a segment of these flags, its TCP header changed so.
fn segment(port: u16, flags: u8, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let packet = syn(port, service(CHAT)).tcp(|tcp| *tcp.flags = flags);
    let mut frame = forged(&packet.asking(&request()));
    let tcp_at = 58 + usize::from(frame[57]);
    change(&mut frame[tcp_at..]);
    frame
}

fn worlds() -> [World; 2] {
    let (fast, mut whole) = (World::new(Setup::new(4)), World::new(Setup::new(4)));
    whole.workers[0].forgo_fast_path();
    [fast, whole]
}

/// Frames on flows of their own, by ports from `port` on.
fn kinds(port: u16) -> Vec<Vec<u8>> {
    let asking = |request: &Request| datagram(port, service(CHAT)).asking(request);
    let anew = Request {
        flags: RequestFlags::NEW_TASK,
        ..request()
    };
    let labelled = Request {
        labels: labels(&["tool:search"]),
        ..request()
    };
    let from = |source: &str| forged(&asking(&request()).from(ip(source)));
    vec![
        forged(&asking(&request())),
        asking(&request()).frame(),
        forged(&datagram(port + 1, CODE_EXACT).asking(&labelled)),
        forged(&asking(&anew)),
        forged(&asking(&request()).hops(1)),
        forged(&asking(&request()).hops(0)),
        from("ff02::1"),
        from("fe80::1"),
        from("::1"),
        from("::"),
        forged(&datagram(port, service(ClassId(0x9999))).asking(&request())),
        forged(&data(port, service(CHAT), 1).asking(&request())),
        forged(&syn(port, service(CHAT)).asking(&request())),
        // Of segments only those that would be a flow's first: SYN alone, whatever else there is but ACK, RST and FIN.
        segment(port, SYN | 0xC0, |_| {}),
        segment(port, SYN | ACK, |_| {}),
        segment(port, SYN | RST, |_| {}),
        segment(port, SYN | FIN, |_| {}),
        segment(port, ACK, |_| {}),
        segment(port, 0, |_| {}),
        segment(port, SYN, |tcp| tcp[12] = 0x4F),
        segment(port, SYN, |tcp| tcp[12] = 0xF0),
        segment(port, SYN, |tcp| tcp[12] = 0x50),
        // Labels, prefixes and a filter that there is no room for; another key.
        with_byte(forged(&asking(&request())), 26, 200),
        with_byte(forged(&asking(&request())), 27, 1),
        with_byte(forged(&asking(&request())), 3, RequestFlags::BLOOM.0),
        with_byte(forged(&asking(&request())), 5, 0x77),
        datagram(port, service(CHAT)).frame(),
        datagram(port + 2, service(CHAT)).frame(),
    ]
}

/// Every kind after every other, and between two that are refused: some of them open the flow that others are of.
#[test]
fn what_is_refused_is_what_the_whole_path_refuses() {
    let [mut fast, mut whole] = worlds();
    let count = kinds(0).len();
    let mut port = 1_000;
    for one in 0..count {
        for other in 0..count {
            port += 8;
            let of = |at: usize| kinds(port)[at].clone();
            let frames = [of(0), of(one), of(other), of(0), of(one)];
            let after = burst(&mut fast, EDGE, &frames);
            assert_eq!(after, burst(&mut whole, EDGE, &frames), "{one}, {other}");
        }
    }
    let refused = fast.figure(Figure::Drop(DropReason::MacInvalid));
    let taken = fast.figure(Figure::FastPath);
    assert!(refused > 300 && taken > 300, "{refused} {taken}");
}

/// What was found out of a forgery is not taken for what is found out of another burst's packet in its place.
#[test]
fn a_packet_for_the_whole_path_is_not_refused_for_one_before_it() {
    let [mut fast, mut whole] = worlds();
    let forgery = |port| forged(&datagram(port, service(CHAT)).asking(&request()));
    // Behind an Ethernet frame's packet there may be padding; the fast path is not for those.
    let mut padded = datagram(2_000, service(CHAT)).asking(&request()).frame();
    padded.extend([0; 4]);
    let bursts = [
        [1_000, 1_001, 1_002].map(forgery),
        [forgery(1_003), padded.clone(), padded],
    ];
    let [_, sent] = bursts.map(|frames| {
        let after = burst(&mut fast, EDGE, &frames);
        assert_eq!(after, burst(&mut whole, EDGE, &frames));
        after.sent.len()
    });
    assert_eq!(sent, 2);
}

/// A burst of nothing else goes nowhere, counted packet by packet.
#[test]
fn a_burst_of_forgeries_leaves_nothing() {
    let [mut fast, _] = worlds();
    let packet = |port: u16| match port % 2 {
        0 => datagram(port, service(CHAT)),
        _ => syn(port, service(CHAT)),
    };
    let frames: Vec<_> = (0..BURST as u16)
        .map(|port| forged(&packet(port).asking(&request())))
        .collect();
    let after = burst(&mut fast, EDGE, &frames);
    assert!(after.sent.is_empty() && after.flows.is_empty());
    for figure in [Figure::Drop(DropReason::MacInvalid), Figure::FastPath] {
        assert_eq!(fast.figure(figure), BURST as u64, "{figure:?}");
    }
}

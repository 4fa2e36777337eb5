//! Every bound of the parser: the reason, the byte at fault, and what the sender is told.

use afr_dataplane::packet::parse::{
    self, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, ParseError, Types, Upper as Parsed,
};
use afr_dataplane::verdict::DropReason;

use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{AFR, CHAT, EDGE, EDGE_ROUTER, FABRIC, Setup, ip, mac, service};
use crate::support::world::{World, datagram, syn};

const TYPES: Types = Types {
    option: 0x1E,
    tlv: 124,
};

fn world() -> World {
    World::new(Setup::new(2))
}

fn to_chat() -> Packet {
    syn(1, service(CHAT))
}

fn error(packet: &Packet) -> ParseError {
    parse::ipv6(&packet.frame(), 14, TYPES).unwrap_err()
}

/// An options header of one option of `len` bytes in all, a multiple of 8.
fn big(len: usize) -> Ext {
    // Options of an unknown type that says to skip it, each at most 255 bytes of data.
    let mut options = Vec::new();
    let mut left = len - 2;
    while left > 0 {
        let take = left.min(257);
        let take = if left - take == 1 { take - 1 } else { take };
        options.extend([0x1D, (take - 2) as u8]);
        options.extend(vec![0; take - 2]);
        left -= take;
    }
    Ext::destination(&options)
}

#[test]
fn frames_that_end_before_their_headers() {
    let mut world = world();
    let frame = to_chat().frame();
    for len in 0..54 {
        let outcome = world.raw(EDGE, &frame[..len]);
        outcome.dropped(DropReason::FrameTruncated);
    }
    world
        .raw(EDGE, &frame[..54])
        .dropped(DropReason::Ipv6Length);
    let mut tagged = to_chat();
    tagged.vlan = Some(0);
    for len in 12..18 {
        let outcome = world.raw(EDGE, &tagged.frame()[..len]);
        outcome.dropped(DropReason::FrameTruncated);
    }
}

#[test]
fn frames_that_are_not_for_the_port() {
    let mut world = world();
    let mut stranger = to_chat();
    stranger.to_mac = [2, 0xAF, 0, 0, 0, 9];
    world.send(EDGE, &stranger).dropped(DropReason::MacForeign);
    // Everybody's frame, but one host's packet: every router on the link would forward it.
    for group in [[0xFF; 6], [0x33, 0x33, 0, 0, 0, 1]] {
        stranger.to_mac = group;
        world.send(EDGE, &stranger).dropped(DropReason::MacForeign);
    }
    for ethertype in [0x0800_u16, 0x0806, 0x8847, 40] {
        let mut frame = to_chat().frame();
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        let outcome = world.raw(EDGE, &frame);
        outcome.dropped(DropReason::EtherTypeUnsupported);
    }
}

#[test]
fn vlans() {
    let mut packet = to_chat();
    let mut plain = world();
    packet.vlan = Some(7);
    plain.send(EDGE, &packet).dropped(DropReason::VlanForeign);
    // A priority tag is no VLAN.
    packet.vlan = Some(5 << 13);
    assert_eq!(plain.send(EDGE, &packet).forwarded().ethernet().vlan, None);

    let mut tagged = World::new(Setup::new(2).config(|config| {
        config.ports[0].vlan = Some(7);
        config.ports[1].vlan = Some(9);
    }));
    for vlan in [None, Some(0), Some(8)] {
        packet.vlan = vlan;
        tagged.send(EDGE, &packet).dropped(DropReason::VlanForeign);
    }
    packet.vlan = Some(5 << 13 | 7);
    let outcome = tagged.send(EDGE, &packet);
    let sent = outcome.forwarded().ethernet();
    assert_eq!((sent.vlan, sent.source), (Some(9), mac(FABRIC)));
    // What the AFR says itself is tagged as well.
    let outcome = tagged.send(EDGE, &packet.hops(1));
    let told = outcome.refused(DropReason::HopLimit).ethernet();
    assert_eq!((told.vlan, told.destination), (Some(7), EDGE_ROUTER));
}

#[test]
fn ipv6_headers() {
    let mut world = world();
    let mut frame = to_chat().frame();
    frame[14] = 0x45;
    world.raw(EDGE, &frame).dropped(DropReason::Ipv6Version);
    let mut frame = to_chat().frame();
    frame[19] += 1;
    world.raw(EDGE, &frame).dropped(DropReason::Ipv6Length);
    assert_eq!(parse::ipv6(&frame, 14, TYPES).unwrap_err().offset, 4);
    // Bytes behind the packet belong to the frame alone.
    let mut frame = to_chat().frame();
    frame.extend([0xEE; 9]);
    let outcome = world.raw(EDGE, &frame);
    assert_eq!(outcome.forwarded().ip().inner().protocol, 6);
}

#[test]
fn addresses_that_are_nobodys() {
    let mut world = world();
    for source in ["ff02::1", "::1", "::", "fe80::7"] {
        let outcome = world.send(EDGE, &to_chat().from(ip(source)));
        outcome.dropped(DropReason::SourceInvalid);
    }
    for destination in ["::1", "::"] {
        let mut packet = to_chat().by(FABRIC);
        packet.destination = ip(destination);
        let outcome = world.send(FABRIC, &packet);
        outcome.dropped(DropReason::DestinationInvalid);
    }
    let mut packet = to_chat().by(FABRIC);
    packet.destination = ip("fe80::1234");
    let outcome = world.send(FABRIC, &packet);
    outcome.dropped(DropReason::DestinationInvalid);
    let outcome = world.send(FABRIC, &packet.from(ip("fe80::7")));
    outcome.dropped(DropReason::SourceInvalid);
}

#[test]
fn extension_headers_are_counted() {
    let mut world = world();
    let mut packet = to_chat();
    for _ in 0..MAX_EXTENSIONS {
        packet = packet.with(Ext::destination(&[]));
    }
    assert_eq!(
        world.send(EDGE, &packet).forwarded().ip().inner().chain(),
        [60; MAX_EXTENSIONS]
    );
    let packet = packet.with(Ext::destination(&[]));
    let outcome = world.send(EDGE, &packet);
    outcome.dropped(DropReason::ExtensionsTooMany);
    assert_eq!(error(&packet).offset as usize, 40 + 8 * MAX_EXTENSIONS);
}

#[test]
fn extension_headers_are_measured() {
    let mut world = world();
    let fits = to_chat().with(big(MAX_EXTENSION_BYTES));
    world.send(EDGE, &fits).forwarded();
    let over = to_chat()
        .with(Ext::destination(&[]))
        .with(big(MAX_EXTENSION_BYTES));
    let outcome = world.send(EDGE, &over);
    outcome.dropped(DropReason::ExtensionsTooLong);
    assert_eq!(error(&over).offset, 48, "the header that exceeds");
}

#[test]
fn extension_headers_that_end_beyond_the_packet() {
    let mut world = world();
    let headers = [
        Ext::destination(&[]),
        Ext::hop_by_hop(&[]),
        Ext::Srh(0, vec![AFR], vec![]),
        Ext::Ah,
        Ext::Raw(135, vec![0; 7]),
        Ext::Raw(139, vec![0; 7]),
        Ext::Raw(140, vec![0; 7]),
    ];
    for header in headers {
        let mut frame = to_chat().with(header.clone()).frame();
        frame[55] = 0xFF;
        let outcome = world.raw(EDGE, &frame);
        outcome.dropped(DropReason::ExtensionTruncated);
        let error = parse::ipv6(&frame, 14, TYPES).unwrap_err();
        assert_eq!(error.offset, 41, "{header:?}");
    }
    for protocol in [0, 43, 44, 51, 60] {
        let mut packet = to_chat();
        packet.upper = Upper::Raw(protocol, vec![0; 7]);
        let outcome = world.send(EDGE, &packet);
        outcome.dropped(DropReason::ExtensionTruncated);
        assert_eq!(error(&packet).offset, 40);
    }
}

#[test]
fn hop_by_hop_comes_first() {
    let mut world = world();
    let packet = to_chat()
        .with(Ext::destination(&[]))
        .with(Ext::hop_by_hop(&[]));
    let outcome = world.send(EDGE, &packet);
    let told = outcome.refused(DropReason::HopByHopMisplaced);
    assert_eq!(
        (told.port, told.ethernet().destination),
        (EDGE, EDGE_ROUTER)
    );
    let told = told.ip();
    assert_eq!((told.source, told.destination), (AFR, packet.source));
    assert_eq!(told.hop_limit, 255);
    let icmp = told.icmp();
    // RFC 8200 §4.1: unrecognized next header, pointing at the byte that announced it.
    assert_eq!((icmp.kind, icmp.code, icmp.parameter), (4, 1, 40));
    assert_eq!(icmp.body, packet.ip_bytes());
}

#[test]
fn options_are_bounded() {
    let mut world = world();
    let nine: Vec<u8> = [0x1D, 0].repeat(9);
    let cases: [(&[u8], DropReason, u16); 4] = [
        (&nine, DropReason::OptionsTooMany, 42 + 16),
        (&[0x1D, 7], DropReason::OptionMalformed, 43),
        (
            &[1, 7, 0, 0, 0, 0, 0, 0, 0],
            DropReason::OptionMalformed,
            42,
        ),
        (&[1, 1, 9], DropReason::OptionMalformed, 44),
    ];
    for (options, reason, offset) in cases {
        for header in [Ext::destination(options), Ext::hop_by_hop(options)] {
            let packet = to_chat().with(header);
            world.send(EDGE, &packet).dropped(reason);
            let error = error(&packet);
            assert!(
                error.offset.abs_diff(offset) <= 9 && error.offset >= 42,
                "{options:02x?}: {error:?}"
            );
        }
    }
    let eight: Vec<u8> = [0x1D, 0].repeat(8);
    world
        .send(EDGE, &to_chat().with(Ext::destination(&eight)))
        .forwarded();
}

#[test]
fn unrecognized_options() {
    let mut world = world();
    let option = |kind| [5, 2, 0, 0, kind, 2, 0xAB, 0xCD];
    for kind in [0x1D, 0x5D, 0x9D, 0xDD] {
        // In a Destination Options header it is the destination's affair.
        let header = Ext::destination(&option(kind));
        world.send(EDGE, &to_chat().with(header)).forwarded();
    }
    let hop = |kind| to_chat().with(Ext::hop_by_hop(&option(kind)));
    world.send(EDGE, &hop(0x1D)).forwarded();
    let outcome = world.send(EDGE, &hop(0x5D));
    outcome.dropped(DropReason::OptionUnrecognized);
    for kind in [0x9D, 0xDD] {
        let packet = hop(kind);
        let outcome = world.send(EDGE, &packet);
        let icmp = outcome.refused(DropReason::OptionUnrecognized).ip().icmp();
        assert_eq!((icmp.kind, icmp.code, icmp.parameter), (4, 2, 46));
        assert_eq!(icmp.body, packet.ip_bytes());
    }
    // To a group only the one that says so is reported (RFC 8200 §4.2).
    let group = |kind| {
        let mut packet = hop(kind);
        (packet.destination, packet.to_mac) = (ip("ff02::1"), [0x33, 0x33, 0, 0, 0, 1]);
        packet
    };
    let outcome = world.send(EDGE, &group(0x9D));
    outcome.refused(DropReason::OptionUnrecognized);
    let outcome = world.send(EDGE, &group(0xDD));
    outcome.dropped(DropReason::OptionUnrecognized);
}

#[test]
fn routing_headers_that_contradict_themselves() {
    let mut world = world();
    let packet = to_chat().with(Ext::Srh(1, vec![AFR, AFR], vec![]));
    world.send(EDGE, &packet).forwarded();
    for (at, value) in [(3, 4), (4, 2), (4, 255)] {
        let mut frame = packet.frame();
        frame[54 + at] = value;
        let outcome = world.raw(EDGE, &frame);
        let icmp = outcome.refused(DropReason::RoutingHeader).ip().icmp();
        assert_eq!((icmp.kind, icmp.code, icmp.parameter), (4, 0, 43));
    }
    // A reduced list has one segment more left than entries (RFC 8754 §4.1.1).
    let reduced = to_chat().with(Ext::Srh(3, vec![AFR, AFR], vec![]));
    assert_eq!(error(&reduced).reason, DropReason::RoutingHeader);
    let reduced = to_chat().with(Ext::Srh(2, vec![AFR, AFR], vec![]));
    assert!(parse::ipv6(&reduced.frame(), 14, TYPES).is_ok());
}

#[test]
fn upper_layers_that_are_cut_short() {
    let mut world = world();
    let chat = service(CHAT);
    for (protocol, most) in [(6, 19), (17, 7), (58, 7)] {
        for len in 0..=most {
            let mut packet = to_chat();
            packet.upper = Upper::Raw(protocol, vec![0x50; len]);
            let outcome = world.send(EDGE, &packet);
            outcome.dropped(DropReason::L4Truncated);
            assert_eq!(error(&packet).offset, 40);
        }
    }
    // A TCP header that says it is shorter than it can be, or longer than the packet.
    for offset in [0x40, 0x80] {
        let mut frame = syn(1, chat).frame();
        frame[54 + 12] = offset;
        world.raw(EDGE, &frame).dropped(DropReason::L4Truncated);
    }
}

#[test]
fn fragments_have_no_ports() {
    let mut world = world();
    let chat = service(CHAT);
    for (offset, more) in [(0, true), (1, true), (185, false)] {
        for packet in [syn(1, chat), datagram(1, chat)] {
            let packet = packet.with(Ext::Fragment(offset, more));
            let parsed = parse::ipv6(&packet.frame(), 14, TYPES).unwrap();
            assert_eq!(parsed.upper, Parsed::Fragment);
            let outcome = world.send(EDGE, &packet);
            outcome.dropped(DropReason::FragmentUnmatched);
        }
    }
    // What stands behind a later fragment's header may look like anything: it is not read.
    let mut packet = to_chat().with(Ext::Fragment(8, true));
    packet.upper = Upper::Raw(60, vec![0xFF]);
    let outcome = world.send(EDGE, &packet);
    outcome.dropped(DropReason::FragmentUnmatched);
    // An atomic one is as good as none (RFC 6946).
    let atomic = to_chat().with(Ext::Fragment(0, false));
    let outcome = world.send(EDGE, &atomic);
    assert_eq!(outcome.forwarded().ip().inner().chain(), [44]);
}

#[test]
fn an_error_is_told_to_one_host_only() {
    let mut world = world();
    let packet = to_chat()
        .with(Ext::destination(&[]))
        .with(Ext::hop_by_hop(&[]));
    for source in ["ff05::1", "::"] {
        let outcome = world.send(EDGE, &packet.clone().from(ip(source)));
        outcome.dropped(DropReason::HopByHopMisplaced);
    }
    let mut group = packet;
    group.destination = ip("ff05::1:3");
    let outcome = world.send(EDGE, &group);
    outcome.dropped(DropReason::HopByHopMisplaced);
}

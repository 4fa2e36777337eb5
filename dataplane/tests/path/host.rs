//! What the AFR answers for itself: neighbours, pings, and errors about what it sent or passed on.

use std::net::Ipv6Addr;

use afr_dataplane::id::PortIx;
use afr_dataplane::verdict::{DropReason, MetadataNote, PuntReason};

use crate::support::metadata::{request, signed};
use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{
    AFR, AFR_LINK_LOCAL, CHAT, CLIENT, EDGE, EDGE_ROUTER, FABRIC, SID, Setup, WILD, instance_mac,
    ip, mac, service, sid, tunnel_source,
};
use crate::support::world::{Outcome, World, reply, report_datagram, syn, tunnelled_reply};

fn world() -> World {
    World::new(Setup::new(2))
}

/// A solicitation for `target` from `source`, to its group or to itself.
fn solicitation(target: Ipv6Addr, source: Ipv6Addr, to: Ipv6Addr) -> Packet {
    let mut body = vec![0; 4];
    body.extend(target.octets());
    if !source.is_unspecified() {
        body.extend([1, 1]);
        body.extend(instance_mac(1));
    }
    let mut packet = Packet {
        source,
        destination: to,
        hop_limit: 255,
        upper: Upper::Icmp(135, 0, body),
        ..report_datagram(1, &[])
    };
    if to.octets()[0] == 0xFF {
        let [.., a, b, c, d] = to.octets();
        packet.to_mac = [0x33, 0x33, a, b, c, d];
    }
    packet
}

fn group_of(target: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(target) & 0xFF_FFFF;
    Ipv6Addr::from(u128::from(ip("ff02::1:ff00:0")) | low)
}

#[test]
fn neighbours_are_answered() {
    let mut world = world();
    let asker = ip("fe80::1234");
    for target in [AFR, AFR_LINK_LOCAL, SID] {
        for to in [group_of(target), target] {
            let outcome = world.send(FABRIC, &solicitation(target, asker, to));
            let sent = outcome.punted(PuntReason::Neighbor).only();
            let ethernet = sent.ethernet();
            assert_eq!((sent.port, ethernet.source), (FABRIC, mac(FABRIC)));
            assert_eq!(ethernet.destination, instance_mac(1));
            let told = ethernet.ip;
            assert_eq!((told.source, told.destination), (target, asker));
            assert_eq!(told.hop_limit, 255);
            let icmp = told.icmp();
            // Router, Solicited, Override.
            assert_eq!(
                (icmp.kind, icmp.code, icmp.parameter),
                (136, 0, 0xE000_0000)
            );
            let mut want = target.octets().to_vec();
            want.extend([2, 1]);
            want.extend(mac(FABRIC));
            assert_eq!(icmp.body, want);
        }
    }
}

#[test]
fn who_looks_for_duplicates_finds_one() {
    let mut world = world();
    let packet = solicitation(AFR, Ipv6Addr::UNSPECIFIED, group_of(AFR));
    let outcome = world.send(FABRIC, &packet);
    let ethernet = outcome.punted(PuntReason::Neighbor).only().ethernet();
    assert_eq!(ethernet.destination, [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(ethernet.ip.destination, ip("ff02::1"));
    assert_eq!(ethernet.ip.icmp().parameter, 0xA000_0000, "not Solicited");
}

#[test]
fn solicitations_that_are_not_valid() {
    let mut world = world();
    let asker = ip("fe80::1234");
    let good = solicitation(AFR, asker, group_of(AFR));
    let mut code = good.clone();
    let mut option = good.clone();
    if let (Upper::Icmp(_, code, _), Upper::Icmp(_, _, body)) = (&mut code.upper, &mut option.upper)
    {
        *code = 1;
        body[21] = 0;
    }
    let routed = good.clone().hops(254);
    let other = solicitation(ip("2001:db8:a::77"), asker, group_of(AFR));
    let for_service = solicitation(service(CHAT), asker, group_of(service(CHAT)));
    for packet in [code, option, routed, other, for_service] {
        let outcome = world.send(FABRIC, &packet);
        outcome.dropped(DropReason::GroupUnattended);
    }
    let mut frame = good.frame();
    *frame.last_mut().unwrap() ^= 1;
    let outcome = world.raw(FABRIC, &frame);
    outcome.dropped(DropReason::GroupUnattended);
    // Straight at a service it is not the service's.
    let direct = solicitation(service(CHAT), asker, service(CHAT));
    let outcome = world.send(FABRIC, &direct);
    outcome.dropped(DropReason::PuntUnavailable);
}

/// Destination Options with one of this type behind a PadN; its type is byte 6 of the header.
fn odd(kind: u8) -> Ext {
    Ext::destination(&[1, 2, 0, 0, kind, 2, 0xAB, 0xCD])
}

#[test]
fn options_that_the_afr_does_not_know() {
    type Way = (PortIx, Packet, fn(&Outcome));
    let ways: [Way; 2] = [
        (EDGE, ping(AFR), |outcome| {
            outcome.punted(PuntReason::Echo);
        }),
        (FABRIC, tunnelled_reply(1, 9, service(CHAT)), |outcome| {
            outcome.forwarded();
        }),
    ];
    for (port, packet, is_taken) in ways {
        let mut world = world();
        is_taken(&world.send(port, &packet.clone().with(odd(0x1D))));
        let outcome = world.send(port, &packet.clone().with(odd(0x5D)));
        outcome.dropped(DropReason::OptionUnrecognized);
        for kind in [0x9D, 0xDD] {
            let packet = packet.clone().with(odd(kind));
            let outcome = world.send(port, &packet);
            let sent = outcome.refused(DropReason::OptionUnrecognized);
            let told = sent.ip();
            assert_eq!((sent.port, told.destination), (port, packet.source));
            let icmp = told.icmp();
            assert_eq!((icmp.kind, icmp.code, icmp.parameter), (4, 2, 46));
            assert_eq!(icmp.body, packet.ip_bytes());
        }
    }
    // Nobody outside learns of a SID.
    let mut world = world();
    let outside = tunnelled_reply(1, 9, service(CHAT))
        .by(EDGE)
        .with(odd(0x9D));
    world.send(EDGE, &outside).dropped(DropReason::DecapOutside);
    // Inside of what is decapsulated it is the next destination's affair, unless that is the AFR as well.
    let inner = reply(9, service(CHAT)).with(odd(0xDD));
    let outcome = world.send(FABRIC, &inner.tunnelled(tunnel_source(1), SID));
    outcome.forwarded();
    // Groups are others' too: what the AFR makes nothing of is not its affair.
    let group = solicitation(AFR, ip("fe80::1234"), group_of(AFR)).with(odd(0x9D));
    let outcome = world.send(FABRIC, &group);
    outcome.dropped(DropReason::GroupUnattended);
}

#[test]
fn options_before_and_behind_a_routing_header() {
    let mut world = world();
    let segments = Ext::Srh(1, vec![CLIENT, SID], vec![]);
    let to_sid = |headers: &[Ext]| {
        let mut packet = reply(9, service(CHAT));
        packet.destination = SID;
        headers.iter().cloned().fold(packet, Packet::with)
    };
    // Those before are for every destination on the way, those behind for the last.
    let behind = to_sid(&[segments.clone(), odd(0xDD)]);
    world.send(FABRIC, &behind).forwarded();
    let before = to_sid(&[odd(0xDD), segments]);
    let outcome = world.send(FABRIC, &before);
    outcome.refused(DropReason::OptionUnrecognized);
}

fn ping(to: Ipv6Addr) -> Packet {
    Packet {
        upper: Upper::Icmp(128, 0, vec![0x12, 0x34, 0, 7, 1, 2, 3, 4, 5]),
        ..syn(0, to)
    }
}

#[test]
fn pings() {
    let mut world = world();
    for to in [AFR, SID, service(CHAT)] {
        let packet = ping(to).with(crate::support::packet::Ext::destination(&[]));
        let outcome = world.send(EDGE, &packet);
        let sent = outcome.punted(PuntReason::Echo).only();
        let ethernet = sent.ethernet();
        assert_eq!((sent.port, ethernet.destination), (EDGE, EDGE_ROUTER));
        let told = ethernet.ip;
        assert_eq!((told.source, told.destination), (to, CLIENT));
        assert!(told.headers.is_empty());
        let icmp = told.icmp();
        assert_eq!(
            (icmp.kind, icmp.code, icmp.parameter),
            (129, 0, 0x1234_0007)
        );
        assert_eq!(icmp.body, [1, 2, 3, 4, 5]);
    }
    // What was harmed on the way there comes back harmed.
    let mut frame = ping(AFR).frame();
    *frame.last_mut().unwrap() ^= 0x10;
    let outcome = world.raw(EDGE, &frame);
    assert!(!outcome.only().ip().checksum_is_right());
}

#[test]
fn pings_are_rate_limited() {
    let mut world = World::new(Setup::new(1).config(|config| config.admit.errors_per_s = 50));
    let mut answered = 0;
    for _ in 0..30 {
        let outcome = world.send(EDGE, &ping(AFR));
        answered += outcome.punted(PuntReason::Echo).sent.len();
    }
    assert_eq!(answered, 10);
}

/// An ICMPv6 error about a packet.
fn about(kind: u8, parameter: u32, quoted: &[u8], source: Ipv6Addr, to: Ipv6Addr) -> Packet {
    let mut body = parameter.to_be_bytes().to_vec();
    body.extend(quoted);
    Packet {
        source,
        upper: Upper::Icmp(kind, 0, body),
        ..syn(0, to)
    }
}

fn encapsulated() -> Vec<u8> {
    syn(9, service(CHAT)).tunnelled(AFR, sid(1)).ip_bytes()
}

#[test]
fn an_error_about_the_tunnel_is_about_the_packet_inside() {
    let mut world = world();
    let cases = [
        (2, 1_600, (2, 0, 1_560)),
        (2, 1_200, (2, 0, 1_280)),
        (2, 0x0001_0000, (2, 0, 0xFFD8)),
        (3, 0, (1, 3, 0)),
        (1, 0, (1, 3, 0)),
        (4, 40, (1, 3, 0)),
    ];
    for (kind, parameter, want) in cases {
        let packet = about(kind, parameter, &encapsulated(), sid(1), AFR).by(FABRIC);
        let outcome = world.send(FABRIC, &packet);
        let sent = outcome.punted(PuntReason::TunnelError).only();
        assert_eq!(outcome.noted(MetadataNote::IcmpSent), 1);
        let ethernet = sent.ethernet();
        assert_eq!((sent.port, ethernet.destination), (EDGE, EDGE_ROUTER));
        assert_eq!((ethernet.ip.source, ethernet.ip.destination), (AFR, CLIENT));
        let icmp = ethernet.ip.icmp();
        assert_eq!((icmp.kind, icmp.code, icmp.parameter), want);
        assert_eq!(icmp.body, syn(9, service(CHAT)).ip_bytes());
    }
}

#[test]
fn nobody_has_the_afr_tell_lies() {
    let mut world = world();
    let error = |quoted: &[u8]| about(2, 1_300, quoted, sid(1), AFR);
    // From outside.
    for port in [EDGE, WILD] {
        let outcome = world.send(port, &error(&encapsulated()).by(port));
        outcome.dropped(DropReason::IcmpUnmatched);
    }
    // About what the AFR did not encapsulate.
    let others = syn(9, service(CHAT)).tunnelled(tunnel_source(1), sid(1));
    let outcome = world.send(FABRIC, &error(&others.ip_bytes()).by(FABRIC));
    outcome.dropped(DropReason::PuntUnavailable);
    let no_service = syn(9, ip("2001:db8:99::1")).tunnelled(AFR, sid(1));
    let outcome = world.send(FABRIC, &error(&no_service.ip_bytes()).by(FABRIC));
    outcome.dropped(DropReason::IcmpUnmatched);
    // About an error, or to nobody in particular.
    let inner = about(1, 0, &[0; 60], CLIENT, service(CHAT));
    let to_group = syn(9, service(CHAT)).from(ip("ff02::1"));
    for inner in [inner, to_group] {
        let quoted = inner.tunnelled(AFR, sid(1)).ip_bytes();
        let outcome = world.send(FABRIC, &error(&quoted).by(FABRIC));
        outcome.dropped(DropReason::IcmpUnmatched);
    }
    // Cut short before the packet inside says whose it is.
    for len in [0, 39, 40, 79] {
        let outcome = world.send(FABRIC, &error(&encapsulated()[..len]).by(FABRIC));
        assert!(outcome.sent.is_empty() && outcome.drops.len() == 1, "{len}");
    }
}

/// A router on the client's side says that a reply was too big.
fn about_reply(port: u16) -> Packet {
    let quoted = &reply(port, service(CHAT)).ip_bytes()[..60];
    about(2, 1_400, quoted, ip("2001:db8:99::1"), service(CHAT))
}

#[test]
fn an_error_about_a_reply_goes_to_who_sent_it() {
    let mut world = world();
    for port in 1..20 {
        let asked = world.send(EDGE, &syn(port, service(CHAT)));
        let n = asked.forwarded().instance();
        let packet = about_reply(port);
        let outcome = world.send(EDGE, &packet);
        let sent = outcome.forwarded();
        assert_eq!(sent.instance(), n);
        let mut same = packet;
        same.hop_limit -= 1;
        assert_eq!(sent.ip().upper, same.ip_bytes());
        assert_eq!(sent.ip().flow_label, asked.forwarded().ip().flow_label);
    }
    world
        .send(EDGE, &about_reply(99))
        .dropped(DropReason::IcmpUnmatched);
    world
        .send(EDGE, &about_reply(1).hops(1))
        .dropped(DropReason::HopLimit);
    assert_eq!(world.flows().len(), 19, "an error opens nothing");
}

#[test]
fn an_error_quotes_what_it_can() {
    let mut world = world();
    world.send(EDGE, &syn(1, service(CHAT))).forwarded();
    let quoted = |bytes: &[u8]| about(2, 1_400, bytes, ip("2001:db8:99::1"), service(CHAT));
    let plain = reply(1, service(CHAT)).ip_bytes();
    world.send(EDGE, &quoted(&plain[..44])).forwarded();
    for len in [0, 39, 40, 43] {
        let outcome = world.send(EDGE, &quoted(&plain[..len]));
        outcome.dropped(DropReason::IcmpUnmatched);
        // Nor does the frame's padding help.
        let mut frame = quoted(&plain[..len]).frame();
        frame.extend(&plain[len..]);
        world.raw(EDGE, &frame).dropped(DropReason::IcmpUnmatched);
    }
    let riding = reply(1, service(CHAT)).with(crate::support::packet::Ext::destination(&[]));
    world.send(EDGE, &quoted(&riding.ip_bytes())).forwarded();
}

#[test]
fn an_error_with_metadata_meets_the_boundary() {
    let mut world = world();
    world
        .send(WILD, &syn(1, service(CHAT)).by(WILD))
        .forwarded();
    let packet = about_reply(1).by(WILD);
    let object = signed(&request(), &packet);
    let carrying = packet.with(crate::support::metadata::dest_option(&object));
    let outcome = world.send(WILD, &carrying);
    let inner = outcome.forwarded().ip().inner();
    assert!(inner.headers.is_empty() && inner.checksum_is_right());
    assert_eq!(outcome.noted(MetadataNote::Stripped), 1);
}

#[test]
fn an_error_at_the_wrong_worker_is_handed_over() {
    let mut setup = Setup::new(2);
    setup.workers = 3;
    let mut world = World::new(setup);
    let asked = world.receive(1, EDGE, &[syn(1, service(CHAT)).frame()]);
    let outcome = world.receive(0, EDGE, &[about_reply(1).frame()]);
    outcome.dropped(DropReason::IcmpUnmatched);
    assert_eq!(
        world.pool.size() - world.pool.free(),
        2,
        "one copy for each"
    );
    let outcome = world.observe(World::maintain);
    assert_eq!(outcome.forwarded, 1);
    let sent = outcome.only();
    assert_eq!(sent.instance(), asked.forwarded().instance());
    // The third has not got it either, and hands nothing on.
    assert_eq!(outcome.drops, [(DropReason::IcmpUnmatched, 1)]);
    assert_eq!(world.pool.size(), world.pool.free());
    assert!(world.observe(World::maintain).sent.is_empty());
}

#[test]
fn handing_over_is_bounded() {
    let mut setup = Setup::new(2).config(|config| config.admit.errors_per_s = 100);
    setup.workers = 2;
    let mut world = World::new(setup);
    let mut suppressed = 0;
    for port in 0..200 {
        let outcome = world.receive(0, EDGE, &[about_reply(port).frame()]);
        suppressed += outcome.noted(MetadataNote::ErrorSuppressed);
    }
    assert_eq!(world.pool.size() - world.pool.free(), 10);
    assert_eq!(suppressed, 190);
    world.observe(World::maintain);
    assert_eq!(world.pool.size(), world.pool.free());
    // An error to the AFR itself needs no flow, so nobody else is asked.
    let outcome = world.receive(
        0,
        EDGE,
        &[about(2, 1_300, &encapsulated(), CLIENT, AFR).frame()],
    );
    outcome.dropped(DropReason::IcmpUnmatched);
    assert_eq!(world.pool.size(), world.pool.free());
}

#[test]
fn errors_are_rate_limited() {
    let mut world = World::new(Setup::new(1).config(|config| config.admit.errors_per_s = 20));
    let mut sent = 0;
    let mut suppressed = 0;
    for _ in 0..50 {
        let outcome = world.send(EDGE, &syn(1, service(CHAT)).hops(1));
        sent += outcome.sent.len();
        suppressed += outcome.noted(MetadataNote::ErrorSuppressed);
        assert_eq!(outcome.drops, [(DropReason::HopLimit, 1)]);
    }
    assert_eq!((sent, suppressed), (10, 40));
    world.skip(1_000);
    world
        .send(EDGE, &syn(1, service(CHAT)).hops(1))
        .refused(DropReason::HopLimit);
}

#[test]
fn the_rest_is_punted() {
    const TAP: PortIx = WILD;
    let mut world = World::new(Setup::new(1).config(|config| config.router.punt_port = Some(TAP)));
    let ssh = syn(9, AFR);
    let outcome = world.send(EDGE, &ssh);
    let sent = outcome.punted(PuntReason::Host).only();
    assert_eq!((sent.port, &sent.frame), (TAP, &ssh.frame()));
    // What comes from there does not go back.
    let outcome = world.send(TAP, &syn(9, AFR).by(TAP));
    outcome.dropped(DropReason::PuntUnavailable);
    let mut bare = self::world();
    bare.send(EDGE, &ssh).dropped(DropReason::PuntUnavailable);
}

//! The way back: tunnels, segments and passers-by; who may use them, what is read in them, and what leaves.

use afr_dataplane::config::Prefix6;
use afr_dataplane::verdict::{DropReason, MetadataNote};
use afr_wire::ReportFlags;

use crate::support::metadata::{dest_option, hop_option, report, request, srh, told};
use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{
    AFR, CHAT, CLIENT, EDGE, EDGE_ROUTER, FABRIC, OTHER_SID, SID, Setup, WILD, instance_mac, ip,
    mac, service, tunnel_source,
};
use crate::support::world::{
    Outcome, World, data, datagram, reply, report_datagram, syn, tunnelled_reply,
};
use afr_dataplane::verdict::PuntReason;

fn world() -> World {
    World::new(Setup::new(2))
}

fn transit() -> World {
    World::new(Setup::new(2).config(|config| config.router.transit = true))
}

fn tunnelled() -> Packet {
    tunnelled_reply(1, 9, service(CHAT))
}

/// The reply as the client's side should see it.
fn as_routed(mut packet: Packet) -> Vec<u8> {
    packet.to_mac = EDGE_ROUTER;
    packet.from_mac = mac(EDGE);
    packet.hop_limit -= 1;
    packet.frame()
}

fn applied(outcome: &Outcome) -> bool {
    outcome.noted(MetadataNote::ReportApplied) == 1
}

#[test]
fn a_tunnelled_reply() {
    let mut world = world();
    for to in [SID, OTHER_SID] {
        let mut packet = tunnelled();
        packet.destination = to;
        let outcome = world.send(FABRIC, &packet);
        let sent = outcome.forwarded();
        assert_eq!(sent.port, EDGE);
        assert_eq!(sent.frame, as_routed(reply(9, service(CHAT))));
    }
    // The frame's padding is nobody's.
    let mut frame = tunnelled().frame();
    frame.extend([0xEE; 6]);
    let outcome = world.raw(FABRIC, &frame);
    assert_eq!(
        outcome.forwarded().frame,
        as_routed(reply(9, service(CHAT)))
    );
}

#[test]
fn a_tunnel_is_no_open_door() {
    let mut world = world();
    world
        .send(EDGE, &tunnelled().by(EDGE))
        .dropped(DropReason::DecapOutside);
    world
        .send(WILD, &tunnelled().by(WILD))
        .dropped(DropReason::DecapOutside);
    for source in [tunnel_source(9), service(CHAT), CLIENT] {
        let outcome = world.send(FABRIC, &tunnelled().from(source));
        outcome.dropped(DropReason::DecapSource);
    }
    let forged = reply(9, CLIENT).tunnelled(tunnel_source(1), SID);
    world.send(FABRIC, &forged).dropped(DropReason::DecapInner);
    let forged = reply(9, AFR).tunnelled(tunnel_source(1), SID);
    world.send(FABRIC, &forged).dropped(DropReason::DecapInner);
    let mut bare = reply(9, tunnel_source(1));
    bare.destination = SID;
    world
        .send(FABRIC, &bare)
        .dropped(DropReason::DecapMalformed);
    let mut nested = reply(9, service(CHAT));
    nested.destination = OTHER_SID;
    let outcome = world.send(FABRIC, &nested.tunnelled(tunnel_source(1), SID));
    outcome.dropped(DropReason::DecapMalformed);
    world.core.remove(afr_dataplane::id::Slot(0));
    world.settle();
    world
        .send(FABRIC, &tunnelled())
        .dropped(DropReason::DecapSource);
}

#[test]
fn what_is_inside_must_be_whole() {
    let mut world = world();
    let frame = tunnelled().frame();
    for (at, value, reason) in [
        (54, 0x45, DropReason::Ipv6Version),
        (54 + 5, 0xFF, DropReason::Ipv6Length),
        (54 + 52, 0xF0, DropReason::L4Truncated),
    ] {
        let mut frame = frame.clone();
        frame[at] = value;
        world.raw(FABRIC, &frame).dropped(reason);
    }
    // The frame's padding does not make it so.
    let mut padded = frame;
    padded[54 + 5] += 6;
    padded.extend([0; 6]);
    world.raw(FABRIC, &padded).dropped(DropReason::Ipv6Length);
    let mut short = tunnelled();
    short.upper = Upper::Raw(41, reply(9, service(CHAT)).ip_bytes()[..39].to_vec());
    world
        .send(FABRIC, &short)
        .dropped(DropReason::DecapMalformed);
}

#[test]
fn congestion_marks_come_through() {
    let mut world = world();
    let marked = |inner: u8, outer: u8| {
        let packet = reply(9, service(CHAT)).class(0xA0 | inner);
        let mut packet = packet.tunnelled(tunnel_source(1), SID);
        packet.traffic_class = 0x44 | outer;
        packet
    };
    // RFC 6040, figure 4: rows inner Not-ECT, ECT(0), ECT(1), CE; columns outer in the same order.
    let table = [
        (0, [Some(0), Some(0), Some(0), None]),
        (2, [Some(2), Some(2), Some(1), Some(3)]),
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];
    for (inner, row) in table {
        for (outer, want) in [0, 2, 1, 3].into_iter().zip(row) {
            let outcome = world.send(FABRIC, &marked(inner, outer));
            match want {
                Some(ecn) => {
                    let ip = outcome.forwarded().ip();
                    assert_eq!(ip.traffic_class, 0xA0 | ecn, "{inner} in {outer}");
                    assert!(ip.checksum_is_right());
                }
                None => outcome.dropped(DropReason::DecapCongestion),
            }
        }
    }
}

#[test]
fn a_report_on_the_tunnel_is_read_and_goes_with_it() {
    let mut world = world();
    let packet = tunnelled().reporting(&report(1, 1));
    let outcome = world.send(FABRIC, &packet);
    assert!(applied(&outcome));
    assert_eq!(
        outcome.forwarded().frame,
        as_routed(reply(9, service(CHAT)))
    );
    world.settle();
    assert_eq!(world.aft().order[0].seq(), 1);
    // A stranger's is not even looked at.
    let packet = tunnelled().from(tunnel_source(9)).reporting(&report(2, 1));
    let outcome = world.send(FABRIC, &packet);
    assert_eq!(outcome.notes, []);
    // And a bad one does not keep the reply.
    let mut object = told(&report(2, 2));
    *object.last_mut().unwrap() ^= 1;
    let outcome = world.send(FABRIC, &tunnelled().with(dest_option(&object)));
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::ReportMacInvalid), 1);
    let outcome = world.send(FABRIC, &tunnelled().with(dest_option(&object[..50])));
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::ReportMalformed), 1);
}

#[test]
fn a_report_in_the_reply_itself() {
    let riding = |seq| reply(9, service(CHAT)).reporting(&report(1, seq));
    // Off unless configured; but it does not leave the domain.
    let mut world = world();
    let outcome = world.send(FABRIC, &riding(1));
    assert_eq!(
        outcome.forwarded().frame,
        as_routed(reply(9, service(CHAT)))
    );
    assert_eq!(outcome.notes, [(MetadataNote::ReportStripped, 1)]);
    let mut world = transit();
    for (seq, packet) in [
        (1, riding(1)),
        (2, riding(2).tunnelled(tunnel_source(1), SID)),
        (
            3,
            reply(9, service(CHAT)).with(hop_option(&told(&report(1, 3)))),
        ),
    ] {
        let outcome = world.send(FABRIC, &packet);
        assert!(applied(&outcome), "{seq}: {outcome:?}");
        assert_eq!(outcome.noted(MetadataNote::ReportStripped), 1);
        assert_eq!(
            outcome.forwarded().frame,
            as_routed(reply(9, service(CHAT)))
        );
    }
    // Not from another source than a service, nor from outside.
    let mut packet = riding(4);
    packet.source = tunnel_source(1);
    let outcome = world.send(FABRIC, &packet);
    assert_eq!(outcome.noted(MetadataNote::ReportOutside), 1);
    let outcome = world.send(WILD, &riding(5).by(WILD));
    outcome.dropped(DropReason::TransitOutside);
    assert_eq!(outcome.notes, []);
}

#[test]
fn what_stays_inside_keeps_what_it_carries() {
    let mut world = world();
    let mut packet = reply(9, service(CHAT)).reporting(&report(1, 1));
    packet.destination = tunnel_source(2);
    let outcome = world.send(FABRIC, &packet);
    assert_eq!(outcome.forwarded().port, FABRIC);
    assert_eq!(outcome.forwarded().ip().chain(), [60]);
}

#[test]
fn under_ah_a_report_is_read_and_left() {
    let mut world = transit();
    let packet = reply(9, service(CHAT))
        .reporting(&report(1, 1))
        .with(Ext::Ah);
    let outcome = world.send(FABRIC, &packet);
    assert!(applied(&outcome));
    assert_eq!(outcome.forwarded().frame, as_routed(packet));
}

/// A reply that names the AFR as a segment before the client, its news in the SRH.
fn by_segment(seq: u32) -> Packet {
    let mut packet = reply(9, service(CHAT)).with(srh(1, &[CLIENT, SID], &told(&report(1, seq))));
    packet.destination = SID;
    packet
}

#[test]
fn the_last_segment_takes_the_srh_with_it() {
    let mut world = world();
    let outcome = world.send(FABRIC, &by_segment(1));
    assert!(applied(&outcome));
    assert_eq!(
        outcome.forwarded().frame,
        as_routed(reply(9, service(CHAT)))
    );
}

#[test]
fn a_segment_before_the_last_leaves_the_srh() {
    let mut world = world();
    let next = ip("2001:db8:99::1");
    let news = told(&report(1, 1));
    let list = [CLIENT, next, SID];
    let mut packet = reply(9, service(CHAT)).with(srh(2, &list, &news));
    packet.destination = SID;
    let outcome = world.send(FABRIC, &packet);
    assert!(applied(&outcome));
    let sent = outcome.forwarded().ip();
    assert_eq!((sent.destination, sent.chain()), (next, vec![43]));
    assert_eq!(sent.headers[0].1[3], 1, "one left");
    assert!(sent.checksum_is_right(), "over the final destination");
    let bytes = &sent.headers[0].1;
    assert!(!bytes.windows(news.len()).any(|window| window == news));
}

#[test]
fn segments_are_for_instances() {
    let mut world = world();
    let outcome = world.send(FABRIC, &by_segment(1).from(ip("2001:db8:99::2")));
    outcome.dropped(DropReason::RoutingHeader);
    assert_eq!(outcome.notes, []);
    let outcome = world.send(EDGE, &by_segment(1).by(EDGE));
    outcome.dropped(DropReason::DecapOutside);
    let outcome = world.send(FABRIC, &by_segment(1).with(Ext::Ah));
    outcome.dropped(DropReason::RoutingHeader);
    let mut other = reply(9, service(CHAT)).with(Ext::Raw(43, {
        let mut old = vec![2, 0, 1, 0, 0, 0, 0];
        old.extend(CLIENT.octets());
        old
    }));
    other.destination = SID;
    world
        .send(FABRIC, &other)
        .dropped(DropReason::RoutingHeader);
    // Round in circles.
    let mut circle = reply(9, service(CHAT)).with(Ext::Srh(1, vec![OTHER_SID, SID], vec![]));
    circle.destination = SID;
    world
        .send(FABRIC, &circle)
        .dropped(DropReason::DecapMalformed);
}

#[test]
fn hop_limits_on_the_way_back() {
    let mut world = world();
    for packet in [
        reply(9, service(CHAT)).hops(1),
        reply(9, service(CHAT))
            .hops(1)
            .tunnelled(tunnel_source(1), SID),
    ] {
        let outcome = world.send(FABRIC, &packet);
        let sent = outcome.refused(DropReason::HopLimit);
        let ethernet = sent.ethernet();
        assert_eq!((sent.port, ethernet.destination), (FABRIC, instance_mac(1)));
        assert_eq!(ethernet.ip.destination, service(CHAT));
        let icmp = ethernet.ip.icmp();
        assert_eq!((icmp.kind, icmp.code), (3, 0));
        assert_eq!(icmp.body, reply(9, service(CHAT)).hops(1).ip_bytes());
    }
}

#[test]
fn no_route() {
    let mut world = World::new(Setup::new(2).config(|config| {
        config.routes.retain(|route| route.prefix.length() != 0);
    }));
    let outcome = world.send(FABRIC, &tunnelled());
    let icmp = outcome.refused(DropReason::NoRoute).ip().icmp();
    assert_eq!((icmp.kind, icmp.code), (1, 0));
}

#[test]
fn the_longest_route_wins() {
    let mut world = World::new(Setup::new(2).config(|config| {
        let mut host = config.routes[1];
        host.prefix = Prefix6::new(CLIENT, 128);
        config.routes.insert(0, host);
    }));
    let outcome = world.send(FABRIC, &tunnelled());
    assert_eq!(outcome.forwarded().port, WILD);
}

#[test]
fn a_reply_too_big_for_the_edge() {
    let mut world = world();
    let sized = |len: usize| {
        reply(9, service(CHAT)).tcp(|tcp| {
            tcp.options.clear();
            *tcp.payload = vec![1; len - 60];
        })
    };
    let fits = sized(1_500).tunnelled(tunnel_source(1), SID);
    world.send(FABRIC, &fits).forwarded();
    let packet = sized(1_501);
    let outcome = world.send(FABRIC, &packet.clone().tunnelled(tunnel_source(1), SID));
    let sent = outcome.refused(DropReason::PacketTooBig);
    assert_eq!(sent.ethernet().destination, instance_mac(1));
    let icmp = sent.ip().icmp();
    assert_eq!((icmp.kind, icmp.parameter), (2, 1_500));
    assert_eq!(icmp.body, packet.ip_bytes()[..1_232]);
    // It is the packet without its metadata that must fit.
    let riding = sized(1_500).reporting(&report(1, 1));
    world.send(FABRIC, &riding).forwarded();
}

#[test]
fn one_agent_calls_another() {
    let mut world = world();
    // In the clear, from a host of the fabric.
    let call = syn(9, service(CHAT)).by(FABRIC).from(tunnel_source(2));
    let outcome = world.send(FABRIC, &call.asking(&request()));
    assert_eq!(outcome.forwarded().ip().inner().chain(), [60]);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    // Through its tunnel, from its service address.
    let call = syn(10, service(CHAT)).by(FABRIC).from(service(CHAT));
    let outcome = world.send(FABRIC, &call.tunnelled(tunnel_source(2), SID));
    outcome.forwarded().instance();
    assert_eq!(outcome.noted(MetadataNote::FlowCreated), 1);
}

#[test]
fn an_instance_speaks_to_the_afr_through_its_tunnel() {
    let mut world = world();
    let mut object = report(1, 1);
    object.flags = ReportFlags::WARMING;
    let mut packet = report_datagram(1, &told(&object));
    packet.source = service(CHAT);
    let outcome = world.send(FABRIC, &packet.tunnelled(tunnel_source(1), SID));
    outcome.punted(PuntReason::Report);
    assert!(applied(&outcome));
}

#[test]
fn groups_are_not_routed() {
    let mut world = world();
    let mut packet = reply(9, service(CHAT));
    packet.destination = ip("ff0e::1");
    let outcome = world.send(FABRIC, &packet.tunnelled(tunnel_source(1), SID));
    outcome.dropped(DropReason::DestinationInvalid);
}

#[test]
fn replies_need_no_flow() {
    let mut world = world();
    for packet in [
        reply(1, service(CHAT)),
        data(1, CLIENT, 7).by(FABRIC).from(service(CHAT)),
        datagram(1, CLIENT).by(FABRIC).from(service(CHAT)),
    ] {
        world.send(FABRIC, &packet).forwarded();
    }
    assert!(world.flows().is_empty());
}

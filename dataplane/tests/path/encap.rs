//! Every byte of what leaves towards an instance, and what is said of what cannot leave.

use afr_dataplane::config::{EcnMode, NextHop, Path};
use afr_dataplane::verdict::{DropReason, MetadataNote};

use crate::support::metadata::request;
use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{
    AFR, CHAT, CLIENT, EDGE, EDGE_ROUTER, FABRIC, Setup, instance_mac, mac, service, sid,
};
use crate::support::walker::Tcp;
use crate::support::world::{World, data, datagram, reply, syn, tunnelled_reply};

fn world(change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = Setup::new(1);
    change(&mut setup);
    World::new(setup)
}

#[test]
fn every_byte_of_the_outer_headers() {
    let mut world = world(|_| {});
    let packet = syn(1, service(CHAT)).asking(&request());
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.forwarded();
    let label = sent.ip().flow_label;
    let mut inner = packet.ip_bytes();
    inner[7] -= 1;
    let mut want = instance_mac(1).to_vec();
    want.extend(mac(FABRIC));
    want.extend([0x86, 0xDD]);
    want.extend((6 << 28 | label).to_be_bytes());
    want.extend((inner.len() as u16).to_be_bytes());
    want.extend([41, 64]);
    want.extend(AFR.octets());
    want.extend(sid(1).octets());
    want.extend(inner);
    assert_eq!((sent.port, &sent.frame), (FABRIC, &want));
}

#[test]
fn dscp_and_ecn() {
    for (ecn, mode) in [(0, EcnMode::Compatibility), (0b11, EcnMode::Normal)] {
        let mut world = world(|setup| setup.instance(1).ecn = mode);
        for inner in 0..=255_u8 {
            let packet = syn(u16::from(inner), service(CHAT)).class(inner);
            let outcome = world.send(EDGE, &packet);
            let outer = outcome.forwarded().ip();
            assert_eq!(outer.traffic_class, inner & (0xFC | ecn), "{mode:?}");
            assert_eq!(outer.inner().traffic_class, inner);
            assert_eq!(outer.inner().flow_label, packet.flow_label);
        }
    }
}

#[test]
fn hop_limits() {
    let mut world = world(|setup| setup.config.router.hop_limit = 17);
    let outcome = world.send(EDGE, &syn(1, service(CHAT)).hops(2));
    let outer = outcome.forwarded().ip();
    assert_eq!((outer.hop_limit, outer.inner().hop_limit), (17, 1));
    for hops in [0, 1] {
        let packet = syn(1, service(CHAT)).hops(hops);
        let outcome = world.send(EDGE, &packet);
        let sent = outcome.refused(DropReason::HopLimit);
        let ethernet = sent.ethernet();
        assert_eq!((sent.port, ethernet.destination), (EDGE, EDGE_ROUTER));
        assert_eq!((ethernet.ip.source, ethernet.ip.destination), (AFR, CLIENT));
        let icmp = ethernet.ip.icmp();
        assert_eq!((icmp.kind, icmp.code, icmp.parameter), (3, 0, 0));
        assert_eq!(icmp.body, packet.ip_bytes());
    }
}

#[test]
fn too_big_for_the_path() {
    let mut world = world(|setup| setup.instance(1).mtu = 1_500);
    let sized = |len: usize| data(1, service(CHAT), 7).tcp(|t| *t.payload = vec![7; len - 60]);
    let outcome = world.send(EDGE, &sized(1_460));
    assert_eq!(outcome.forwarded().frame.len(), 14 + 1_500);
    let packet = sized(1_461);
    let outcome = world.send(EDGE, &packet);
    let told = outcome.refused(DropReason::PacketTooBig).ip();
    assert_eq!((told.source, told.destination), (AFR, CLIENT));
    let icmp = told.icmp();
    assert_eq!((icmp.kind, icmp.code, icmp.parameter), (2, 0, 1_460));
    // As much of the packet as fits into the smallest MTU.
    assert_eq!(told.upper.len(), 1_280 - 40);
    assert_eq!(icmp.body, packet.ip_bytes()[..1_280 - 48]);
}

#[test]
fn on_the_same_segment() {
    let station = [2, 0x52, 0, 0, 0, 1];
    let mut world = world(|setup| {
        let next_hop = NextHop {
            port: FABRIC,
            mac: station,
        };
        setup.instance(1).path = Path::L2 { next_hop };
        setup.instance(1).mtu = 1_500;
        setup.config.ports[1].vlan = Some(5);
    });
    let packet = syn(1, service(CHAT)).asking(&request());
    let outcome = world.send(EDGE, &packet);
    let ethernet = outcome.forwarded().ethernet();
    assert_eq!(
        (ethernet.destination, ethernet.source),
        (station, mac(FABRIC))
    );
    assert_eq!(ethernet.vlan, Some(5));
    let mut same = packet;
    (same.to_mac, same.from_mac, same.vlan) = (station, mac(FABRIC), Some(5));
    assert_eq!(outcome.forwarded().frame, same.hops(59).frame());
    // Nothing is added, so the whole MTU is the client's.
    let sized = |len: usize| {
        let mut packet = datagram(2, service(CHAT));
        if let Upper::Udp { payload, .. } = &mut packet.upper {
            *payload = vec![7; len - 48];
        }
        packet
    };
    world.send(EDGE, &sized(1_500)).forwarded();
    let packet = sized(1_501);
    let outcome = world.send(EDGE, &packet);
    let icmp = outcome.refused(DropReason::PacketTooBig).ip().icmp();
    assert_eq!(icmp.parameter, 1_500);
}

#[test]
fn room_for_the_outer_header() {
    let mut world = world(|_| {});
    let packet = syn(1, service(CHAT));
    world.cramped(EDGE, &packet, 40).forwarded();
    for room in [0, 39] {
        let outcome = world.cramped(EDGE, &packet, room);
        outcome.dropped(DropReason::NoHeadroom);
    }
}

fn mss(tcp: &Tcp) -> u16 {
    let at = tcp.options.windows(2).position(|w| w == [2, 4]).unwrap();
    u16::from_be_bytes([tcp.options[at + 2], tcp.options[at + 3]])
}

#[test]
fn the_mss_is_clamped_both_ways() {
    let mut world = world(|setup| setup.config.router.mss_clamp = Some(1_300));
    // `tcp()` checks the checksum.
    let outcome = world.send(EDGE, &syn(1, service(CHAT)));
    assert_eq!(mss(&outcome.forwarded().ip().inner().tcp()), 1_300);
    assert_eq!(outcome.noted(MetadataNote::MssClamped), 1);
    // At an odd place, between others, and where it is small enough.
    let odd =
        syn(2, service(CHAT)).tcp(|t| *t.options = vec![1, 3, 3, 7, 1, 2, 4, 5, 0xA0, 0, 0, 0]);
    let outcome = world.send(EDGE, &odd);
    let tcp = outcome.forwarded().ip().inner().tcp();
    assert_eq!(tcp.options, [1, 3, 3, 7, 1, 2, 4, 5, 0x14, 0, 0, 0]);
    let small = syn(3, service(CHAT)).tcp(|t| *t.options = vec![2, 4, 5, 0x14]);
    let outcome = world.send(EDGE, &small);
    assert_eq!(mss(&outcome.forwarded().ip().inner().tcp()), 1_300);
    assert_eq!(outcome.noted(MetadataNote::MssClamped), 0);
    // What the instance says goes through the tunnel to it.
    for packet in [
        tunnelled_reply(1, 1, service(CHAT)),
        reply(1, service(CHAT)),
    ] {
        let outcome = world.send(FABRIC, &packet);
        assert_eq!(mss(&outcome.forwarded().ip().tcp()), 1_300);
    }
}

#[test]
fn nothing_else_has_its_mss_clamped() {
    let mut world = world(|setup| setup.config.router.mss_clamp = Some(1_300));
    let under_ah = syn(1, service(CHAT)).with(Ext::Ah);
    let not_syn = data(2, service(CHAT), 7).tcp(|t| *t.options = vec![2, 4, 5, 0xA0]);
    let malformed = syn(3, service(CHAT)).tcp(|t| *t.options = vec![3, 0, 2, 4, 5, 0xA0, 0, 0]);
    let ended = syn(4, service(CHAT)).tcp(|t| *t.options = vec![0, 0, 2, 4, 5, 0xA0, 0, 0]);
    let cut = syn(5, service(CHAT)).tcp(|t| *t.options = vec![1, 1, 2, 4]);
    for packet in [under_ah, not_syn, malformed, ended, cut] {
        let outcome = world.send(EDGE, &packet);
        assert_eq!(outcome.noted(MetadataNote::MssClamped), 0);
        let mut same: Packet = packet;
        same.hop_limit -= 1;
        assert_eq!(outcome.forwarded().ip().upper, same.ip_bytes());
    }
}

#[test]
fn other_protocols_are_flows_too() {
    let mut world = world(|_| {});
    for protocol in [50, 132, 59, 41] {
        let mut packet = syn(1, service(CHAT));
        packet.upper = Upper::Raw(protocol, vec![0x60; 60]);
        let first = world.send(EDGE, &packet);
        let again = world.send(EDGE, &packet);
        assert_eq!(first.forwarded().frame, again.forwarded().frame);
    }
    assert_eq!(world.flows().len(), 4);
}

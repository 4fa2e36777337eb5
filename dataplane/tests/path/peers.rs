//! Two clusters: one spills to the other, which takes from its peer what is a request, and nothing else.

use std::net::Ipv6Addr;

use afr_dataplane::config::{Peer, Saturation, Spill};
use afr_dataplane::id::PortIx;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::{ClusterId, Report, Request, RequestFlags};

use crate::support::metadata::{report, request, told};
use crate::support::packet::Packet;
use crate::support::setup::{
    AFR, CHAT, CHAT_IX, CLIENT, CLUSTER, EDGE, FABRIC, PEER, SPILL_ROUTER, SPILL_SID, Setup,
    instance_mac, ip, service,
};
use crate::support::walker::Ethernet;
use crate::support::world::{Outcome, World, data, reply, report_datagram, syn};

/// The second cluster's AFR.
const SECOND: Ipv6Addr = PEER;
const SECOND_CLUSTER: ClusterId = ClusterId(0xB0);
/// A third cluster's SID.
const THIRD_SID: Ipv6Addr = ip("2001:db8:d::100");

fn spill(sid: Ipv6Addr, mac: [u8; 6]) -> Option<Spill> {
    let next_hop = afr_dataplane::config::NextHop { port: FABRIC, mac };
    Some(Spill { sid, next_hop })
}

/// Every instance has far more to do than the class's objective allows.
fn overload(world: &mut World, instances: u16) {
    for n in 1..=instances {
        let busy = Report {
            pending_prefill_tokens: 1_000_000,
            ..report(n, 1)
        };
        world.send(FABRIC, &report_datagram(n, &told(&busy)));
    }
    world.settle();
}

/// A cluster that has no room and spills to the second.
fn first() -> World {
    let mut setup = Setup::new(2);
    let class = setup.class(CHAT);
    class.objective_us = Some(1_000_000);
    class.spill = spill(SPILL_SID, SPILL_ROUTER);
    let mut world = World::new(setup);
    overload(&mut world, 2);
    world
}

/// The second cluster, with another number, whose peer is the first.
fn second(change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = Setup::new(3).config(|config| {
        config.cluster = SECOND_CLUSTER;
        config.router.address = SECOND;
        config.router.sids = vec![SPILL_SID];
        config.ports[usize::from(FABRIC.0)].mac = SPILL_ROUTER;
        config.peers = vec![Peer {
            name: "first".to_owned(),
            address: AFR,
            cluster: CLUSTER,
        }];
    });
    for instance in &mut setup.instances {
        instance.report_key = None;
    }
    change(&mut setup);
    World::new(setup)
}

fn may_spill() -> Request {
    Request {
        flags: RequestFlags::SPILL_OK,
        ..request()
    }
}

/// The frame that the first cluster sends to the second for a client's packet.
fn spilled(first: &mut World, packet: &Packet) -> Vec<u8> {
    let outcome = first.send(EDGE, packet);
    let sent = outcome.forwarded();
    assert_eq!(sent.ip().destination, SPILL_SID);
    sent.frame.clone()
}

#[test]
fn a_spilled_flow_is_served_by_the_other_cluster() {
    let (mut first, mut second) = (first(), second(|_| {}));
    let opening = syn(1, service(CHAT)).asking(&may_spill());
    let outcome = second.raw(FABRIC, &spilled(&mut first, &opening));
    // Its request is verified under the number of the cluster that it was signed for, and dispatched by.
    assert_eq!(outcome.noted(MetadataNote::FromPeer), 1);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    assert_eq!(second.dispatches(CHAT_IX, DispatchReason::Load), 1);
    let sent = outcome.forwarded();
    let chosen = sent.instance();
    assert_eq!(sent.ip().source, SECOND);
    // What arrives is what the client sent, two hops on.
    let mut same = opening;
    same.hop_limit -= 2;
    assert_eq!(sent.ip().upper, same.ip_bytes());

    let later = data(1, service(CHAT), 7);
    let outcome = second.raw(FABRIC, &spilled(&mut first, &later));
    assert_eq!(outcome.forwarded().instance(), chosen);
    assert_eq!(outcome.noted(MetadataNote::FlowCreated), 0);
    assert_eq!(outcome.noted(MetadataNote::FromPeer), 1);
    // The reply does not go back through the first.
    let mut answer =
        reply(1, service(CHAT)).tunnelled(crate::support::setup::tunnel_source(chosen), SPILL_SID);
    (answer.to_mac, answer.from_mac) = (SPILL_ROUTER, instance_mac(chosen));
    let outcome = second.send(FABRIC, &answer);
    let sent = outcome.forwarded();
    assert_eq!((sent.port, sent.ip().destination), (EDGE, CLIENT));
}

#[test]
fn what_was_spilled_is_not_spilled_again() {
    let mut first = first();
    let mut second = second(|setup| {
        let class = setup.class(CHAT);
        class.objective_us = Some(1_000_000);
        class.saturation = Saturation::Reject;
        class.spill = spill(THIRD_SID, SPILL_ROUTER);
    });
    for n in 1..=3 {
        let busy = Report {
            key_id: afr_wire::KeyId::NONE,
            pending_prefill_tokens: 1_000_000,
            ..report(n, 1)
        };
        let mut packet = report_datagram(n, &told(&busy));
        (packet.destination, packet.to_mac) = (SECOND, SPILL_ROUTER);
        let outcome = second.send(FABRIC, &packet);
        assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
    }
    second.settle();
    let opening = syn(1, service(CHAT)).asking(&may_spill());
    let outcome = second.raw(FABRIC, &spilled(&mut first, &opening));
    // The client hears of it, by way of the first.
    let sent = outcome.refused(DropReason::Saturated);
    assert_eq!((sent.port, sent.ip().destination), (FABRIC, CLIENT));
    assert_eq!(second.dispatches(CHAT_IX, DispatchReason::Spill), 0);
}

/// What the second makes of this inner packet in a tunnel.
fn tunnelled(port: PortIx, source: Ipv6Addr, inner: Packet) -> Outcome {
    let mut second = second(|_| {});
    let mut packet = inner.tunnelled(source, SPILL_SID);
    packet.to_mac = if port == FABRIC {
        SPILL_ROUTER
    } else {
        crate::support::setup::mac(port)
    };
    second.send(port, &packet)
}

#[test]
fn what_a_peer_may_not_send() {
    let chat = service(CHAT);
    let good = || syn(1, chat);
    tunnelled(FABRIC, AFR, good()).forwarded();
    // From outside, from elsewhere.
    tunnelled(EDGE, AFR, good()).dropped(DropReason::DecapOutside);
    let stranger = ip("2001:db8:a::2");
    tunnelled(FABRIC, stranger, good()).dropped(DropReason::DecapSource);
    // What is no request: for anybody else, for the AFR itself, or in a service's name.
    for to in [ip("2001:db8:99::1"), SECOND, SPILL_SID] {
        tunnelled(FABRIC, AFR, syn(1, to)).dropped(DropReason::DecapPeer);
    }
    tunnelled(FABRIC, AFR, good().from(service(CHAT))).dropped(DropReason::DecapPeer);
    tunnelled(FABRIC, AFR, reply(1, chat)).dropped(DropReason::DecapPeer);
    // What nobody may send.
    for source in ["ff02::1", "::", "::1"] {
        tunnelled(FABRIC, AFR, good().from(ip(source))).dropped(DropReason::SourceInvalid);
    }
    tunnelled(FABRIC, AFR, good().from(ip("fe80::1"))).dropped(DropReason::SourceInvalid);
    // Instances are still what they were.
    let instance = crate::support::setup::tunnel_source(1);
    tunnelled(FABRIC, instance, good()).dropped(DropReason::DecapInner);
}

#[test]
fn a_request_counts_for_the_cluster_that_it_was_signed_for() {
    // A client of the first comes to the second by itself: its signature is none here.
    let mut second = second(|_| {});
    let asking = syn(1, service(CHAT)).asking(&request());
    let outcome = second.send(EDGE, &asking);
    outcome.dropped(DropReason::MacInvalid);
    // By way of the peer it is, and the derived keys are not taken for each other.
    let mut by_peer = asking.clone().tunnelled(AFR, SPILL_SID);
    by_peer.to_mac = SPILL_ROUTER;
    let outcome = second.send(FABRIC, &by_peer);
    assert_eq!(outcome.noted(MetadataNote::RequestVerified), 1);
    let inner = Ethernet::of(&outcome.forwarded().frame).ip;
    assert_eq!(inner.source, SECOND);
    let mut again = syn(2, service(CHAT)).asking(&request());
    again.hop_limit = 9;
    second.send(EDGE, &again).dropped(DropReason::MacInvalid);
}

//! What clients hear when their instance dies.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::config::{OnDeath, PolicyKind};
use afr_dataplane::flow::FlowState;
use afr_dataplane::id::Slot;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};

use crate::support::metadata::request;
use crate::support::packet::{ACK, FIN, Packet, RST};
use crate::support::setup::{
    AFR, CHAT, CHAT_IX, CLIENT, EDGE, EDGE_ROUTER, Setup, WILD, WILD_ROUTER, ip, mac, service,
};
use crate::support::world::{Sent, World, ack, data, datagram, syn};

fn world(on_death: OnDeath) -> World {
    let mut setup = Setup::new(3).policy(PolicyKind::RoundRobin);
    setup.class(CHAT).on_death = on_death;
    World::new(setup)
}

/// Opens a flow to each of the instances, from ports 1, 2 and 3, that has acknowledged `acked` + port.
fn open(world: &mut World, acked: u32) {
    for port in 1..=3 {
        let asking = syn(port, service(CHAT)).asking(&request());
        let outcome = world.send(EDGE, &asking);
        assert_eq!(outcome.forwarded().instance(), port);
        world.send(EDGE, &ack(port, service(CHAT), 7)).forwarded();
        let acked = acked.wrapping_add(u32::from(port));
        world
            .send(EDGE, &data(port, service(CHAT), acked))
            .forwarded();
    }
}

#[track_caller]
fn is_reset(sent: &Sent, port: u16, seq: u32) {
    let ethernet = sent.ethernet();
    assert_eq!((sent.port, ethernet.source), (EDGE, mac(EDGE)));
    assert_eq!(ethernet.destination, EDGE_ROUTER);
    let ip = ethernet.ip;
    assert_eq!((ip.source, ip.destination), (service(CHAT), CLIENT));
    assert_eq!(
        (ip.headers.len(), ip.traffic_class, ip.hop_limit),
        (0, 0, 64)
    );
    let tcp = ip.tcp();
    assert_eq!((tcp.source, tcp.destination), (8_000, port));
    assert_eq!((tcp.flags, tcp.seq, tcp.ack), (RST, seq, 0));
    assert!(tcp.options.is_empty() && tcp.payload.is_empty());
}

#[test]
fn a_waiting_client_is_reset_at_once() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 0xFFFF_FFFD);
    world.mark(2, LiveState::Down);
    let outcome = world.pass(1);
    // With its last acknowledgement as sequence number, wrapped: it will accept that.
    is_reset(outcome.only(), 2, 0xFFFF_FFFF);
    assert_eq!(outcome.noted(MetadataNote::ResetSent), 1);
    // Once.
    assert!(world.pass(50).sent.is_empty());
    // What it still sends is answered with SEQ = SEG.ACK.
    let outcome = world.send(EDGE, &data(2, service(CHAT), 0x77));
    is_reset(outcome.refused(DropReason::InstanceDead), 2, 0x77);
    // But a reset is not.
    let reset = ack(2, service(CHAT), 5).tcp(|tcp| *tcp.flags = RST | ACK);
    world.send(EDGE, &reset).dropped(DropReason::InstanceDead);
    // The others go on.
    for port in [1, 3] {
        let outcome = world.send(EDGE, &data(port, service(CHAT), 9));
        assert_eq!(outcome.forwarded().instance(), port);
    }
    // And the client may come again.
    let outcome = world.send(EDGE, &syn(2, service(CHAT)).asking(&request()));
    assert_ne!(outcome.forwarded().instance(), 2);
    assert_eq!(outcome.noted(MetadataNote::FlowCreated), 1);
}

#[test]
fn a_segment_that_comes_before_the_reset() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 100);
    world.mark(1, LiveState::Down);
    let outcome = world.send(EDGE, &ack(1, service(CHAT), 0xABCD));
    is_reset(outcome.refused(DropReason::InstanceDead), 1, 0xABCD);
    assert!(world.pass(10).sent.is_empty(), "told already");
    let flows = world.flows();
    let flow = flows.iter().find(|flow| flow.death_told()).unwrap();
    assert_eq!(flow.state(), FlowState::Reset);
}

#[test]
fn a_client_that_has_sent_its_fin_still_waits() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 100);
    let fin = ack(3, service(CHAT), 200).tcp(|tcp| *tcp.flags = FIN | ACK);
    world.send(EDGE, &fin).forwarded();
    world.mark(3, LiveState::Down);
    is_reset(world.pass(1).only(), 3, 200);
}

#[test]
fn a_syn_that_was_never_answered_is_dispatched_anew() {
    for on_death in [OnDeath::Reset, OnDeath::Drop, OnDeath::Rehash] {
        let mut world = world(on_death);
        let asking = syn(1, service(CHAT)).asking(&request());
        assert_eq!(world.send(EDGE, &asking).forwarded().instance(), 1);
        assert_eq!(world.in_flight(1), 4_096);
        world.mark(1, LiveState::Down);
        // No reset that it would heed could be made: it has acknowledged nothing.
        assert!(world.pass(5).sent.is_empty());
        let outcome = world.send(EDGE, &asking);
        assert_eq!(outcome.forwarded().instance(), 2, "{on_death:?}");
        assert_eq!(world.in_flight(1), 0, "{on_death:?}");
        assert_eq!(world.in_flight(2), 4_096);
        assert_eq!(world.flows().len(), 1);
    }
}

#[test]
fn charges_die_with_the_instance() {
    for on_death in [OnDeath::Reset, OnDeath::Rehash] {
        let mut world = world(on_death);
        let chat = service(CHAT);
        for port in 1..=6 {
            world.send(EDGE, &syn(port, chat).asking(&request()));
            world.send(EDGE, &ack(port, chat, 7));
        }
        assert_eq!(world.in_flight(1), 2 * 4_096);
        world.mark(1, LiveState::Down);
        world.send(EDGE, &ack(1, chat, 8));
        world.pass(5);
        world.send(EDGE, &ack(4, chat, 8));
        // It comes back: nothing of what it was sent is held against it.
        world.mark(1, LiveState::Up);
        assert_eq!(world.shared.inflight.opening(Slot(0)), 0, "{on_death:?}");
        assert_eq!(world.shared.inflight.opening(Slot(1)), 2 * 4_096);
    }
}

#[test]
fn resets_are_rate_limited_and_all_come() {
    let mut setup = Setup::new(1).config(|config| config.admit.errors_per_s = 100);
    setup.class(CHAT).on_death = OnDeath::Reset;
    let mut world = World::new(setup);
    for port in 1..=40 {
        world.send(EDGE, &syn(port, service(CHAT))).forwarded();
        world.send(EDGE, &data(port, service(CHAT), 7)).forwarded();
    }
    world.mark(1, LiveState::Down);
    let at_once = world.pass(1).sent.len();
    assert_eq!(at_once, 10, "a burst");
    let mut told = world.pass(150).sent;
    assert!((14..=16).contains(&told.len()), "{}", told.len());
    told.extend(world.pass(400).sent);
    assert_eq!(told.len() + at_once, 40);
    assert!(world.pass(100).sent.is_empty());
}

#[test]
fn without_buffers_it_waits() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 100);
    let held: Vec<_> = (0..world.pool.size())
        .map(|_| world.pool.receive(&[]))
        .collect();
    world.mark(1, LiveState::Down);
    for worker in &mut world.workers {
        worker.begin();
    }
    world.now.mono_us += 1_000;
    world.maintain();
    drop(held);
    is_reset(world.pass(1).only(), 1, 101);
}

#[test]
fn rehash() {
    let mut world = world(OnDeath::Rehash);
    open(&mut world, 100);
    world.mark(2, LiveState::Down);
    assert!(world.pass(10).sent.is_empty());
    let outcome = world.send(EDGE, &data(2, service(CHAT), 9));
    let next = outcome.forwarded().instance();
    assert_ne!(next, 2);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::Rehash), 1);
    // There it stays, also when the former is back.
    world.mark(2, LiveState::Up);
    for _ in 0..3 {
        let outcome = world.send(EDGE, &data(2, service(CHAT), 9));
        assert_eq!(outcome.forwarded().instance(), next);
    }
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::Rehash), 1);
    for n in 1..=3 {
        world.mark(n, LiveState::Down);
    }
    let outcome = world.send(EDGE, &data(2, service(CHAT), 9));
    is_reset(outcome.refused(DropReason::NoCandidate), 2, 9);
}

#[test]
fn dropping() {
    let mut world = world(OnDeath::Drop);
    open(&mut world, 100);
    world.mark(2, LiveState::Down);
    assert!(world.pass(10).sent.is_empty());
    let outcome = world.send(EDGE, &data(2, service(CHAT), 9));
    outcome.dropped(DropReason::InstanceDead);
}

#[test]
fn datagrams_are_told_and_then_go_elsewhere() {
    let mut world = world(OnDeath::Reset);
    let packet = datagram(1, service(CHAT)).asking(&request());
    assert_eq!(world.send(EDGE, &packet).forwarded().instance(), 1);
    world.mark(1, LiveState::Down);
    let outcome = world.send(EDGE, &packet);
    let told = outcome.refused(DropReason::InstanceDead).ip();
    assert_eq!((told.source, told.destination), (AFR, CLIENT));
    let icmp = told.icmp();
    assert_eq!((icmp.kind, icmp.code), (1, 3));
    assert_eq!(icmp.body, packet.ip_bytes());
    assert_eq!(world.send(EDGE, &packet).forwarded().instance(), 2);
}

#[test]
fn a_removed_instance_is_a_dead_one() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 100);
    world.core.remove(Slot(0));
    // Told before the generation says so, and answered after.
    is_reset(world.pass(1).only(), 1, 101);
    world.settle();
    let outcome = world.send(EDGE, &data(1, service(CHAT), 0x42));
    is_reset(outcome.refused(DropReason::InstanceDead), 1, 0x42);
}

#[test]
fn draining_is_not_dying() {
    let mut world = world(OnDeath::Reset);
    open(&mut world, 100);
    world.mark(1, LiveState::Draining);
    assert!(world.pass(20).sent.is_empty());
    let outcome = world.send(EDGE, &data(1, service(CHAT), 9));
    assert_eq!(outcome.forwarded().instance(), 1);
}

#[test]
fn a_reset_goes_where_the_client_is() {
    let setup = Setup::new(1).config(|config| config.ports[2].vlan = Some(77));
    let mut world = World::new(setup);
    let client = ip("2001:db8:d::5");
    let away = |packet: Packet| {
        let mut packet = packet.by(WILD).from(client);
        packet.vlan = Some(77);
        packet
    };
    world.send(WILD, &away(syn(1, service(CHAT)))).forwarded();
    world
        .send(WILD, &away(data(1, service(CHAT), 88)))
        .forwarded();
    world.mark(1, LiveState::Down);
    let outcome = world.pass(1);
    let sent = outcome.only();
    let ethernet = sent.ethernet();
    assert_eq!((sent.port, ethernet.destination), (WILD, WILD_ROUTER));
    assert_eq!((ethernet.vlan, ethernet.source), (Some(77), mac(WILD)));
    assert_eq!(ethernet.ip.tcp().seq, 88);
}

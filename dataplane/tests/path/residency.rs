//! Who is known to hold what: by own dispatches at once, by reports, and for whom it counts.

use afr_dataplane::aft::SigKey;
use afr_dataplane::config::PolicyKind;
use afr_dataplane::counters::Figure;
use afr_dataplane::id::Slot;
use afr_dataplane::verdict::{DispatchReason, MetadataNote};
use afr_wire::{CatalogueVersion, DomainId, EventOp, KeyId, Prefix, Report, Request};

use crate::support::metadata::{events, prefix, report, told, with_prefixes};
use crate::support::packet::Packet;
use crate::support::setup::{
    CATALOGUE, CHAT, CHAT_IX, EDGE, FABRIC, LABELS, Setup, catalogue, service,
};
use crate::support::world::{World, report_datagram, syn};

const DEEP: [Prefix; 3] = [prefix(2, 1), prefix(6, 1), prefix(14, 1)];

fn world(workers: usize) -> World {
    let names = LABELS.map(str::to_owned);
    // By queue, store and prefix: a holder wins whatever it was just sent.
    let mut setup = Setup::new(4).policy(PolicyKind::Weighted).config(|config| {
        let next = CatalogueVersion(CATALOGUE.0 + 1);
        config.catalogues.push(catalogue(next, &names));
    });
    setup.workers = workers;
    World::new(setup)
}

fn asking(port: u16, prefixes: &[Prefix]) -> Packet {
    syn(port, service(CHAT)).asking(&with_prefixes(prefixes))
}

fn send(world: &mut World, worker: usize, packet: &Packet) -> u16 {
    let outcome = world.receive(worker, EDGE, &[packet.frame()]);
    outcome.forwarded().instance()
}

fn affinity(world: &World) -> u64 {
    world.dispatches(CHAT_IX, DispatchReason::Affinity)
}

/// Instance `n` reports these events, and the generation has them.
fn tells(world: &mut World, n: u16, seq: u32, all: &[(EventOp, Prefix)]) {
    let report = Report {
        events: events(all),
        ..report(n, seq)
    };
    let outcome = world.send(FABRIC, &report_datagram(n, &told(&report)));
    assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
}

fn depth(world: &World, n: u16, prefix: Prefix) -> bool {
    let key = SigKey::new(CATALOGUE, DomainId(0), prefix);
    world.aft().holders(key).contains(Slot(n - 1))
}

#[test]
fn an_own_dispatch_counts_on_the_very_next() {
    let mut world = world(1);
    let first = send(&mut world, 0, &asking(1, &DEEP));
    assert_eq!(affinity(&world), 0);
    assert_eq!(send(&mut world, 0, &asking(2, &DEEP)), first);
    assert_eq!(affinity(&world), 1);
    assert_eq!(world.figure(Figure::AffinityTokens), 14 * 256);
    assert_eq!(world.figure(Figure::PromptTokens), 2 * 4_096);
    // A shallower prompt as far as it is shared, another not at all.
    assert_eq!(send(&mut world, 0, &asking(3, &DEEP[..2])), first);
    assert_eq!(world.figure(Figure::AffinityTokens), (14 + 6) * 256);
    send(&mut world, 0, &asking(4, &[prefix(2, 9), prefix(6, 9)]));
    assert_eq!(affinity(&world), 2);
}

#[test]
fn all_shallower_ones_must_be_there_too() {
    let mut world = world(1);
    tells(&mut world, 3, 1, &[(EventOp::Stored, DEEP[2])]);
    world.settle();
    send(&mut world, 0, &asking(1, &DEEP));
    assert_eq!(affinity(&world), 0);
    let mut world = self::world(1);
    let held = DEEP.map(|prefix| (EventOp::Stored, prefix));
    tells(&mut world, 3, 1, &held[..1]);
    tells(&mut world, 3, 2, &held[1..]);
    assert_eq!(send(&mut world, 0, &asking(1, &DEEP)), 3);
    assert_eq!(world.figure(Figure::AffinityTokens), 14 * 256);
}

#[test]
fn the_generation_tells_the_other_workers() {
    let mut world = world(2);
    let first = send(&mut world, 0, &asking(1, &DEEP));
    send(&mut world, 1, &asking(2, &[prefix(9, 9)]));
    assert_eq!(affinity(&world), 0);
    world.settle();
    assert_eq!(send(&mut world, 1, &asking(3, &DEEP)), first);
    assert_eq!(affinity(&world), 1);
    assert!(depth(&world, first, DEEP[2]));
}

#[test]
fn reports_store_and_evict() {
    let mut world = world(1);
    tells(&mut world, 2, 1, &[(EventOp::Stored, DEEP[0])]);
    // Before any generation, and after.
    assert_eq!(send(&mut world, 0, &asking(1, &DEEP[..1])), 2);
    world.settle();
    assert!(depth(&world, 2, DEEP[0]));
    assert_eq!(send(&mut world, 0, &asking(2, &DEEP[..1])), 2);
    assert_eq!(affinity(&world), 2);
    world.settle();
    tells(&mut world, 2, 2, &[(EventOp::Evicted, DEEP[0])]);
    send(&mut world, 0, &asking(3, &DEEP[..1]));
    assert_eq!(affinity(&world), 2, "its own word counts at once");
    let mut world = self::world(1);
    tells(&mut world, 2, 1, &[(EventOp::Stored, DEEP[0])]);
    tells(&mut world, 2, 2, &[(EventOp::Evicted, DEEP[0])]);
    world.settle();
    assert!(!depth(&world, 2, DEEP[0]));
    send(&mut world, 0, &asking(4, &DEEP[..1]));
    assert_eq!(affinity(&world), 0);
}

#[test]
fn a_cleared_cache_is_forgotten() {
    let mut world = world(1);
    tells(&mut world, 2, 1, &[(EventOp::Stored, DEEP[0])]);
    world.settle();
    assert!(depth(&world, 2, DEEP[0]));
    let cleared = Report {
        cache_generation: 1,
        ..report(2, 2)
    };
    world.send(FABRIC, &report_datagram(2, &told(&cleared)));
    world.settle();
    assert!(!depth(&world, 2, DEEP[0]));
    send(&mut world, 0, &asking(1, &DEEP[..1]));
    assert_eq!(affinity(&world), 0);
}

#[test]
fn never_across_domains_or_catalogues() {
    let mut world = world(1);
    tells(&mut world, 2, 1, &[(EventOp::Stored, DEEP[0])]);
    world.settle();
    let own = with_prefixes(&DEEP[..1]);
    let others = [
        Request {
            domain: DomainId(1),
            ..own
        },
        Request {
            catalogue: CatalogueVersion(CATALOGUE.0 + 1),
            ..own
        },
        with_prefixes(&[Prefix {
            depth: DEEP[0].depth + 1,
            ..DEEP[0]
        }]),
    ];
    for (port, other) in (1..).zip(others) {
        world
            .send(EDGE, &syn(port, service(CHAT)).asking(&other))
            .forwarded();
    }
    assert_eq!(affinity(&world), 0);
    send(&mut world, 0, &asking(9, &DEEP[..1]));
    assert_eq!(affinity(&world), 1);
}

#[test]
fn provisional_residency_ends_sooner() {
    let mut world = world(1);
    let first = send(&mut world, 0, &asking(1, &DEEP[..1]));
    let other = prefix(3, 7);
    tells(&mut world, first, 1, &[(EventOp::Stored, other)]);
    world.settle();
    assert!(depth(&world, first, DEEP[0]) && depth(&world, first, other));
    world.skip(31_000);
    world.settle();
    assert!(!depth(&world, first, DEEP[0]) && depth(&world, first, other));
    world.skip(600_000);
    world.settle();
    assert!(!depth(&world, first, other));
}

#[test]
fn a_full_ring_loses_the_news_and_not_the_order() {
    let mut setup = Setup::new(3).config(|config| config.limits.ring = 2);
    setup.class(CHAT).policy = PolicyKind::Weighted;
    let mut world = World::new(setup);
    let mut lost = 0;
    for port in 1..=4 {
        let outcome = world.send(EDGE, &asking(port, &[prefix(4, port)]));
        lost += outcome.noted(MetadataNote::ReportRingFull);
    }
    assert_eq!(lost, 2);
    // This worker knows of the lost ones all the same, until the next message goes through.
    let before = affinity(&world);
    send(&mut world, 0, &asking(10, &[prefix(4, 4)]));
    assert_eq!(affinity(&world), before + 1);
    world.settle();
    send(&mut world, 0, &asking(11, &[prefix(4, 3)]));
    assert_eq!(affinity(&world), before + 2);
    world.settle();
    assert!(world.shared.rings[0].is_empty());
    assert!(!world.aft().residency.is_empty());
}

#[test]
fn a_request_that_is_not_believed_teaches_nothing() {
    let mut world = world(1);
    let bare = Request {
        key_id: KeyId::NONE,
        ..with_prefixes(&DEEP)
    };
    world
        .send(EDGE, &syn(1, service(CHAT)).asking(&bare))
        .forwarded();
    world.settle();
    assert!(world.aft().residency.is_empty());
}

//! Which class a new flow is for, who may serve it, and who is refused.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::config::{NextHop, PlainDispatch, PolicyKind, Saturation, Spill};
use afr_dataplane::counters::Figure;
use afr_dataplane::id::Slot;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote};
use afr_wire::{Bloom, ClassId, Request, RequestFlags};

use crate::support::metadata::{labels, prefix, refusing, report, request, told, with_prefixes};
use crate::support::packet::{ACK, Packet, RST, Upper};
use crate::support::setup::{
    AFR, CATALOGUE, CHAT, CHAT_IX, CLIENT, CODE, CODE_EXACT, CODE_IX, EDGE, EDGE_ROUTER, EMPTY,
    FABRIC, GENERIC, LABELS, SPILL_ROUTER, SPILL_SID, Setup, catalogue, label, mac, service,
};
use crate::support::world::{Sent, World, ack, data, datagram, report_datagram, syn};

fn asking(port: u16, class: ClassId) -> Packet {
    let asking = Request {
        class_id: class,
        ..request()
    };
    syn(port, service(class)).asking(&asking)
}

/// A world in which whoever may be chosen is.
fn in_turn(instances: u16) -> Setup {
    Setup::new(instances).policy(PolicyKind::RoundRobin)
}

/// Every instance that many flows reach.
fn reached(world: &mut World, packet: impl Fn(u16) -> Packet) -> Vec<u16> {
    let mut reached: Vec<_> = (1..80)
        .map(|port| world.send(EDGE, &packet(port)).forwarded().instance())
        .collect();
    reached.sort_unstable();
    reached.dedup();
    reached
}

/// Instance `n` says how many tokens wait there.
fn pending(world: &mut World, n: u16, tokens: u32) {
    let mut report = report(n, 1);
    report.pending_prefill_tokens = tokens;
    let outcome = world.send(FABRIC, &report_datagram(n, &told(&report)));
    assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
    world.settle();
}

/// The RST that answers `packet`.
#[track_caller]
fn reset(sent: &Sent, packet: &Packet) -> (u32, u32, u8) {
    let ethernet = sent.ethernet();
    assert_eq!(sent.port, EDGE);
    assert_eq!(
        (ethernet.destination, ethernet.source),
        (EDGE_ROUTER, mac(EDGE))
    );
    let ip = ethernet.ip;
    assert_eq!(
        (ip.source, ip.destination),
        (packet.destination, packet.source)
    );
    let tcp = ip.tcp();
    let Upper::Tcp {
        source,
        destination,
        ..
    } = packet.upper
    else {
        panic!("no TCP");
    };
    assert_eq!((tcp.source, tcp.destination), (destination, source));
    assert!(tcp.options.is_empty() && tcp.payload.is_empty());
    (tcp.seq, tcp.ack, tcp.flags)
}

#[test]
fn a_plain_clients_class_is_in_the_address() {
    let mut world = World::new(Setup::new(4));
    assert_eq!(reached(&mut world, |p| syn(p, service(CHAT))), [1, 2, 3, 4]);
    assert_eq!(reached(&mut world, |p| syn(p, service(CODE))), [1, 2]);
    assert_eq!(reached(&mut world, |p| syn(p, CODE_EXACT)), [1, 2]);
    assert_eq!(reached(&mut world, |p| datagram(p, service(CODE))), [1, 2]);
    let maglev = DispatchReason::FallbackMaglev;
    assert_eq!(world.dispatches(CHAT_IX, maglev), 79);
    assert_eq!(world.dispatches(CODE_IX, maglev), 3 * 79);
}

#[test]
fn a_class_without_instances_refuses() {
    let mut world = World::new(Setup::new(2));
    let packet = syn(1, service(EMPTY)).tcp(|tcp| *tcp.payload = b"early".to_vec());
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.refused(DropReason::NoCandidate);
    // RST|ACK, SEQ 0, ACK = SEG.SEQ + SEG.LEN, the SYN counting one.
    assert_eq!(reset(sent, &packet), (0, 1_000 + 1 + 5, RST | ACK));
    let packet = data(2, service(EMPTY), 0xFFFF_FFF0);
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.refused(DropReason::NoCandidate);
    assert_eq!(reset(sent, &packet), (0xFFFF_FFF0, 0, RST));
    let packet = ack(2, service(EMPTY), 5).tcp(|tcp| *tcp.flags = RST | ACK);
    world.send(EDGE, &packet).dropped(DropReason::NoCandidate);
    let packet = datagram(3, service(EMPTY));
    let outcome = world.send(EDGE, &packet);
    let told = outcome.refused(DropReason::NoCandidate).ip();
    assert_eq!((told.source, told.destination), (AFR, CLIENT));
    let icmp = told.icmp();
    assert_eq!((icmp.kind, icmp.code, icmp.parameter), (1, 3, 0));
    assert_eq!(icmp.body, packet.ip_bytes());
    assert!(world.flows().is_empty());
}

#[test]
fn an_address_of_no_class_refuses() {
    let mut world = World::new(Setup::new(2));
    let packet = syn(1, service(ClassId(0x999)));
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.refused(DropReason::ClassUnknown);
    assert_eq!(reset(sent, &packet), (0, 1_001, RST | ACK));
}

#[test]
fn the_generic_address_takes_its_class_from_the_request() {
    let mut world = World::new(in_turn(4));
    for (class, n) in [(CODE, vec![1, 2]), (CHAT, vec![1, 2, 3, 4])] {
        let asking = Request {
            class_id: class,
            ..request()
        };
        let base = class.0 as u16;
        let got = reached(&mut world, |p| syn(base * 100 + p, GENERIC).asking(&asking));
        assert_eq!(got, n);
    }
    for packet in [
        syn(1, GENERIC),
        syn(1, GENERIC).asking(&Request {
            class_id: ClassId(0x999),
            ..request()
        }),
    ] {
        let outcome = world.send(EDGE, &packet);
        outcome.refused(DropReason::ClassUnknown);
    }
    // A flow there goes on by itself.
    let asking = Request {
        class_id: CODE,
        ..request()
    };
    let first = world.send(EDGE, &syn(9, GENERIC).asking(&asking));
    let later = world.send(EDGE, &data(9, GENERIC, 7));
    assert_eq!(later.forwarded().instance(), first.forwarded().instance());
}

#[test]
fn a_class_that_contradicts_the_address() {
    let mut world = World::new(Setup::new(2));
    for destination in [service(CHAT), CODE_EXACT] {
        let other = if destination == CODE_EXACT {
            CHAT
        } else {
            CODE
        };
        let asking = Request {
            class_id: other,
            ..request()
        };
        let outcome = world.send(EDGE, &syn(1, destination).asking(&asking));
        outcome.dropped(DropReason::ClassContradicts);
    }
    assert!(world.flows().is_empty());
}

#[test]
fn labels_are_needed_all() {
    let mut setup = in_turn(4);
    setup.instance(2).labels.push(label("vision"));
    setup.instance(3).labels = vec![label("vision"), label("lang:fr")];
    let mut world = World::new(setup);
    let with = |names: &[&str]| Request {
        labels: labels(names),
        ..request()
    };
    let cases: [(&[&str], &[u16]); 5] = [
        (&[], &[1, 2, 3, 4]),
        (&["tool:search"], &[1, 2, 4]),
        (&["vision"], &[2, 3]),
        (&["vision", "lang:de"], &[2]),
        (&["vision", "lang:fr"], &[3]),
    ];
    for (base, (names, want)) in (0..).step_by(100).zip(cases) {
        let asking = with(names);
        let got = reached(&mut world, |p| syn(base + p, service(CHAT)).asking(&asking));
        assert_eq!(got, want, "{names:?}");
    }
    let asking = with(&["long"]);
    let outcome = world.send(EDGE, &syn(999, service(CHAT)).asking(&asking));
    outcome.refused(DropReason::NoCandidate);
}

/// A set of labels, and one beside them that its filter passes all the same.
fn false_positive() -> (Vec<String>, String) {
    let names: Vec<String> = (0..44).map(|n| format!("label-{n}")).collect();
    let filter: Bloom<4> = names.iter().map(|name| label(name)).collect();
    let lie = (0..10_000)
        .map(|n| format!("other-{n}"))
        .find(|name| filter.contains(label(name)))
        .unwrap();
    (names, lie)
}

#[test]
fn a_false_positive_of_the_filter_reaches_nobody_wrong() {
    let (names, lie) = false_positive();
    for policy in [
        PolicyKind::Ttft,
        PolicyKind::Weighted,
        PolicyKind::LeastLoad,
        PolicyKind::TwoChoices,
        PolicyKind::Maglev,
        PolicyKind::RoundRobin,
    ] {
        let mut all: Vec<String> = LABELS.map(str::to_owned).to_vec();
        all.extend(names.iter().cloned());
        all.push(lie.clone());
        let mut setup = Setup::new(4)
            .policy(policy)
            .config(|config| config.catalogues = vec![catalogue(CATALOGUE, &all)]);
        // Nobody is better placed than the first two, whose filters lie.
        for n in [1, 2] {
            setup.instance(n).labels = names.iter().map(|name| label(name)).collect();
            setup.instance(n).prefill_rate_tokens_s = 1_000_000;
        }
        setup.instance(3).labels.push(label(&lie));
        let mut world = World::new(setup);
        let asking = Request {
            labels: labels(&[&lie]),
            ..request()
        };
        let mut lied = 0;
        for port in 1..40 {
            let outcome = world.send(EDGE, &syn(port, service(CHAT)).asking(&asking));
            assert_eq!(outcome.forwarded().instance(), 3, "{policy:?}");
            lied += outcome.noted(MetadataNote::BloomFalsePositive);
        }
        assert!(lied > 0, "{policy:?}");
        world.mark(3, LiveState::Down);
        let outcome = world.send(EDGE, &syn(99, service(CHAT)).asking(&asking));
        outcome.refused(DropReason::NoCandidate);
        assert_eq!(outcome.noted(MetadataNote::BloomFalsePositive), 2);
    }
}

#[test]
fn the_dead_and_the_draining_take_nothing_new() {
    let mut world = World::new(in_turn(4));
    world.mark(1, LiveState::Down);
    world.mark(2, LiveState::Draining);
    assert_eq!(reached(&mut world, |p| asking(p, CHAT)), [3, 4]);
    assert_eq!(reached(&mut world, |p| syn(100 + p, service(CHAT))), [3, 4]);
    let mut refuses = report(3, 1);
    refuses.flags = afr_wire::ReportFlags::REFUSING;
    world.send(FABRIC, &report_datagram(3, &told(&refuses)));
    // On the very next dispatch, long before the next generation.
    assert_eq!(reached(&mut world, |p| asking(200 + p, CHAT)), [4]);
    assert_eq!(reached(&mut world, |p| syn(300 + p, service(CHAT))), [4]);
    world.settle();
    assert_eq!(reached(&mut world, |p| asking(400 + p, CHAT)), [4]);
    let better = report(3, 2);
    world.send(FABRIC, &report_datagram(3, &told(&better)));
    assert_eq!(reached(&mut world, |p| asking(500 + p, CHAT)), [3, 4]);
    world.mark(1, LiveState::Up);
    world.mark(4, LiveState::Down);
    assert_eq!(reached(&mut world, |p| asking(600 + p, CHAT)), [1, 3]);
}

#[test]
fn a_class_refused_by_an_instance_is_left_to_others_for_a_while() {
    let mut world = World::new(in_turn(2));
    world.send(FABRIC, &report_datagram(1, &told(&refusing(1, 1, CODE))));
    world.settle();
    assert_eq!(reached(&mut world, |p| asking(p, CODE)), [2]);
    assert_eq!(reached(&mut world, |p| syn(100 + p, service(CODE))), [2]);
    assert_eq!(reached(&mut world, |p| syn(200 + p, service(CHAT))), [1, 2]);
    world.skip(1_100);
    let later = |p| {
        let asking = Request {
            class_id: CODE,
            ..request()
        };
        syn(300 + p, service(CODE)).asking(&asking)
    };
    assert_eq!(reached(&mut world, later), [1, 2]);
}

#[test]
fn fallback_is_the_same_on_every_afr() {
    let chat = service(CHAT);
    let instances = 7;
    let mut one = World::new(Setup::new(instances));
    let mut other = {
        let mut setup = Setup::new(instances);
        setup.instances.reverse();
        World::new(setup)
    };
    let slot_of = |n: u16| Slot(instances - n);
    let agree = |one: &mut World, other: &mut World, ports: std::ops::Range<u16>| {
        let mut seen = Vec::new();
        for port in ports {
            let n = one.send(EDGE, &syn(port, chat)).forwarded().instance();
            let m = other.send(EDGE, &syn(port, chat)).forwarded().instance();
            assert_eq!(n, m, "port {port}");
            seen.push(n);
        }
        seen
    };
    let before = agree(&mut one, &mut other, 0..200);
    // One is unhealthy on both, and nobody else's flows move.
    one.mark(3, LiveState::Down);
    other.core.mark(slot_of(3), LiveState::Down);
    let after = agree(&mut one, &mut other, 1_000..1_200);
    assert!(!after.contains(&3));
    for port in 0..200 {
        let mut third = World::new(Setup::new(instances));
        third.mark(3, LiveState::Down);
        if port % 20 != 0 {
            continue;
        }
        let n = third.send(EDGE, &syn(port, chat)).forwarded().instance();
        let was = before[usize::from(port)];
        assert!(n == was || was == 3);
    }
    // A table is not rebuilt where instances differ in health alone.
    let tables = [&one, &other].map(|world| {
        let maglev: &Maglev = &world.aft().class(CHAT_IX).unwrap().maglev;
        let id = |slot: &Slot| world.aft().instance(*slot).map(|i| i.id);
        maglev.table().iter().map(id).collect::<Vec<_>>()
    });
    assert_eq!(tables[0], tables[1]);
}

#[test]
fn a_table_older_than_its_members_sends_nobody_astray() {
    let mut world = World::new(Setup::new(3));
    // Instance 2 leaves the class; its table is not rebuilt yet.
    let mut changed = crate::support::setup::instance(2);
    changed.classes = vec![CODE];
    world.push(afr_dataplane::aft::Op::Instance {
        slot: Slot(1),
        instance: changed.into(),
    });
    assert_eq!(reached(&mut world, |p| syn(p, service(CHAT))), [1, 3]);
}

#[test]
fn plain_clients_by_load() {
    let mut setup = Setup::new(3);
    setup.class(CHAT).plain = PlainDispatch::Load;
    let mut world = World::new(setup);
    pending(&mut world, 1, 50_000);
    pending(&mut world, 2, 500);
    pending(&mut world, 3, 90_000);
    let outcome = world.send(EDGE, &syn(1, service(CHAT)));
    assert_eq!(outcome.forwarded().instance(), 2);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::FallbackLoad), 1);
    assert_eq!(world.in_flight(2), 1_000, "the class's default is charged");
    // What is under way is not placed by load.
    let lost = world.send(EDGE, &data(2, service(CHAT), 7));
    lost.forwarded();
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::FallbackMaglev), 1);
}

/// Three instances over an objective of a second, the second the least.
fn saturated(change: impl FnOnce(&mut Setup)) -> World {
    let mut setup = Setup::new(3);
    setup.class(CHAT).objective_us = Some(1_000_000);
    change(&mut setup);
    let mut world = World::new(setup);
    pending(&mut world, 1, 50_000);
    pending(&mut world, 2, 20_000);
    pending(&mut world, 3, 90_000);
    world
}

fn spill() -> Spill {
    Spill {
        sid: SPILL_SID,
        next_hop: NextHop {
            port: FABRIC,
            mac: SPILL_ROUTER,
        },
    }
}

#[test]
fn saturation_least_bad() {
    let mut world = saturated(|_| {});
    let outcome = world.send(EDGE, &asking(1, CHAT));
    assert_eq!(outcome.forwarded().instance(), 2);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::LeastBad), 1);
}

#[test]
fn saturation_reject() {
    let mut world = saturated(|setup| {
        let class = setup.class(CHAT);
        (class.saturation, class.plain) = (Saturation::Reject, PlainDispatch::Load);
    });
    for packet in [asking(1, CHAT), syn(2, service(CHAT))] {
        let outcome = world.send(EDGE, &packet);
        let sent = outcome.refused(DropReason::Saturated);
        assert_eq!(reset(sent, &packet), (0, 1_001, RST | ACK));
    }
    let packet = datagram(3, service(CHAT)).asking(&request());
    let outcome = world.send(EDGE, &packet);
    let icmp = outcome.refused(DropReason::Saturated).ip().icmp();
    assert_eq!(
        (icmp.kind, icmp.code),
        (1, 1),
        "administratively prohibited"
    );
    assert!(world.flows().is_empty());
    assert_eq!(world.in_flight(2), 0);
}

#[test]
fn saturation_spill() {
    let mut world = saturated(|setup| {
        let class = setup.class(CHAT);
        (class.saturation, class.spill) = (Saturation::Reject, Some(spill()));
    });
    let outcome = world.send(EDGE, &asking(1, CHAT));
    outcome.refused(DropReason::Saturated);
    let allowed = Request {
        flags: RequestFlags::SPILL_OK,
        ..request()
    };
    let packet = syn(2, service(CHAT)).asking(&allowed);
    let outcome = world.send(EDGE, &packet);
    let ethernet = outcome.forwarded().ethernet();
    assert_eq!(ethernet.destination, SPILL_ROUTER);
    assert_eq!(
        (ethernet.ip.source, ethernet.ip.destination),
        (AFR, SPILL_SID)
    );
    let mut same = packet;
    same.hop_limit -= 1;
    assert_eq!(ethernet.ip.upper, same.ip_bytes());
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::Spill), 1);
    // The flow stays there, though there is room here again.
    for n in 1..=3 {
        let idle = report(n, 2);
        world.send(FABRIC, &report_datagram(n, &told(&idle)));
    }
    world.settle();
    let later = world.send(EDGE, &data(2, service(CHAT), 7));
    assert_eq!(later.forwarded().ip().destination, SPILL_SID);
    let outcome = world.send(EDGE, &asking(3, CHAT));
    assert_ne!(outcome.forwarded().ip().destination, SPILL_SID);
    // With nobody here to serve it at all, it is spilled as well.
    for n in 1..=3 {
        world.mark(n, LiveState::Down);
    }
    let outcome = world.send(EDGE, &syn(4, service(CHAT)).asking(&allowed));
    assert_eq!(outcome.forwarded().ip().destination, SPILL_SID);
    // And when there is no alternate cluster any more, its flows hear of it.
    world.reload(|_| {});
    let packet = data(2, service(CHAT), 0x77);
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.refused(DropReason::InstanceDead);
    assert_eq!(reset(sent, &packet), (0x77, 0, RST));
}

#[test]
fn an_objective_that_anybody_keeps_is_kept() {
    // Weighted prefers whoever holds the prompt; it is over the objective, another is not.
    let mut setup = Setup::new(3).policy(PolicyKind::Weighted);
    setup.class(CHAT).objective_us = Some(1_000_000);
    setup.class(CHAT).saturation = Saturation::Reject;
    let mut world = World::new(setup);
    let held = prefix(16, 1);
    let asking = with_prefixes(&[held]);
    let first = world.send(EDGE, &syn(1, service(CHAT)).asking(&asking));
    let holder = first.forwarded().instance();
    let again = world.send(EDGE, &syn(2, service(CHAT)).asking(&asking));
    assert_eq!(again.forwarded().instance(), holder);
    pending(&mut world, holder, 1_000_000);
    let kept = world.send(EDGE, &syn(3, service(CHAT)).asking(&asking));
    assert_ne!(kept.forwarded().instance(), holder);
    assert_eq!(world.dispatches(CHAT_IX, DispatchReason::LeastBad), 0);
}

#[test]
fn admission() {
    let mut setup = Setup::new(2).config(|config| {
        config.admit.per_source_per_s = 10;
        config.admit.per_source_burst = 3;
    });
    setup.class(CODE).admit_per_s = 1;
    setup.class(CODE).admit_burst = 1;
    let mut world = World::new(setup);
    for port in 1..=3 {
        world.send(EDGE, &asking(port, CHAT)).forwarded();
    }
    let packet = asking(4, CHAT);
    let outcome = world.send(EDGE, &packet);
    let sent = outcome.refused(DropReason::AdmitSource);
    assert_eq!(reset(sent, &packet), (0, 1_001, RST | ACK));
    let outcome = world.send(EDGE, &datagram(5, service(CHAT)));
    let icmp = outcome.refused(DropReason::AdmitSource).ip().icmp();
    assert_eq!((icmp.kind, icmp.code), (1, 1));
    // Established flows do not come by there.
    for _ in 0..20 {
        world.send(EDGE, &data(1, service(CHAT), 7)).forwarded();
    }
    let other = |port| syn(port, service(CODE)).from(crate::support::setup::ip("2001:db8:c:1::1"));
    world.send(EDGE, &other(1)).forwarded();
    let outcome = world.send(EDGE, &other(2));
    outcome.refused(DropReason::AdmitClass);
    world.skip(1_000);
    world.send(EDGE, &asking(6, CHAT)).forwarded();
    world.send(EDGE, &other(3)).forwarded();
}

#[test]
fn a_replayed_request_is_worth_little() {
    let mut world = World::new(Setup::new(3).config(|config| config.dispatch.replay_limit = 5));
    let captured = with_prefixes(&[prefix(4, 1)]);
    for port in 1..=5 {
        let outcome = world.send(EDGE, &syn(port, service(CHAT)).asking(&captured));
        assert_eq!(outcome.noted(MetadataNote::Replayed), 0);
    }
    world.settle();
    let charged: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    world.workers[0].copy_counters();
    let told = world.figure(Figure::RingPushed);
    assert_eq!(told, 5);
    for port in 6..=20 {
        let asking = syn(port, service(CHAT)).asking(&captured);
        let outcome = world.send(EDGE, &asking);
        outcome.forwarded();
        assert_eq!(outcome.noted(MetadataNote::Replayed), 1);
        // Nor do its later segments count for anything.
        let later = data(port, service(CHAT), 7).with(asking.headers[0].clone());
        let outcome = world.send(EDGE, &later);
        assert_eq!(outcome.notes, []);
    }
    assert_eq!(
        world.dispatches(CHAT_IX, DispatchReason::FallbackMaglev),
        15
    );
    let after: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    assert_eq!(after, charged, "uncharged");
    world.workers[0].copy_counters();
    assert_eq!(world.figure(Figure::RingPushed), told, "nothing learned");
    // Nor do other requests of the session, on a flow that is there.
    let before: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    let other = Request {
        prompt_tokens: 9_999,
        ..captured
    };
    let outcome = world.send(EDGE, &data(1, service(CHAT), 7).asking(&other));
    outcome.forwarded();
    assert_eq!(outcome.noted(MetadataNote::Replayed), 1);
    let after: u32 = (1..=3).map(|n| world.in_flight(n)).sum();
    assert_eq!(after, before);
    // Another session of the sender, or another sender, is not meant.
    let other = Request {
        session: 77,
        ..captured
    };
    let outcome = world.send(EDGE, &syn(30, service(CHAT)).asking(&other));
    assert_eq!(outcome.noted(MetadataNote::Replayed), 0);
    // A window later it counts again.
    world.skip(160_000);
    let fresh = Request {
        issued_at: world.now.unix_s() as u32,
        ..captured
    };
    let outcome = world.send(EDGE, &syn(31, service(CHAT)).asking(&fresh));
    assert_eq!(outcome.noted(MetadataNote::Replayed), 0);
}

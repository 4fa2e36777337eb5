//! Reports: whose are believed, in what order, and how soon they count.

use afr_dataplane::aft::ReportOrder;
use afr_dataplane::config::{Key, PolicyKind};
use afr_dataplane::id::{Incarnation, Slot};
use afr_dataplane::message::WorkerMsg;
use afr_dataplane::path::BURST;
use afr_dataplane::verdict::{DropReason, MetadataNote, PuntReason};
use afr_wire::{EventOp, InstanceId, KeyId, MacAlgorithm, Report};

use crate::support::metadata::{
    events, prefix, report, request, sampled_at, told, told_as, with_prefixes,
};
use crate::support::packet::{Ext, Packet, Upper};
use crate::support::setup::{
    CHAT, EDGE, FABRIC, KEY, OLD_KEY, REPORT_KEY, Setup, UNIX_S, WILD, instance, key, service,
    tunnel_source,
};
use crate::support::world::{Outcome, World, report_datagram, syn, tunnelled_reply};

fn world() -> World {
    World::new(Setup::new(3))
}

fn says(world: &mut World, report: &Report) -> Outcome {
    let n = report.instance_id.0 as u16;
    let outcome = world.send(FABRIC, &report_datagram(n, &told(report)));
    outcome.punted(PuntReason::Report);
    assert!(outcome.sent.is_empty());
    outcome
}

#[track_caller]
fn is(outcome: &Outcome, note: MetadataNote) {
    assert_eq!(outcome.notes, [(note, 1)]);
}

fn order(boot_epoch: u32, seq: u32) -> ReportOrder {
    ReportOrder::new(boot_epoch, seq)
}

#[test]
fn the_newest_counts_and_a_copy_costs_nothing() {
    let mut world = world();
    let first = report(1, 5);
    is(&says(&mut world, &first), MetadataNote::ReportApplied);
    is(&says(&mut world, &first), MetadataNote::ReportSame);
    world.settle();
    is(&says(&mut world, &first), MetadataNote::ReportSame);
    is(&says(&mut world, &report(1, 4)), MetadataNote::ReportStale);
    is(
        &says(&mut world, &report(1, 6)),
        MetadataNote::ReportApplied,
    );
    let restarted = Report {
        boot_epoch: UNIX_S,
        ..report(1, 1)
    };
    is(&says(&mut world, &restarted), MetadataNote::ReportApplied);
    is(&says(&mut world, &report(1, 7)), MetadataNote::ReportStale);
    world.settle();
    assert_eq!(world.aft().order[0], order(UNIX_S, 1));
    // One instance's order is nobody else's.
    is(
        &says(&mut world, &report(2, 1)),
        MetadataNote::ReportApplied,
    );
}

#[test]
fn another_worker_may_get_the_copy() {
    let mut setup = Setup::new(2);
    setup.workers = 2;
    let mut world = World::new(setup);
    let frame = report_datagram(1, &told(&report(1, 5))).frame();
    let outcome = world.receive(1, FABRIC, std::slice::from_ref(&frame));
    is(&outcome, MetadataNote::ReportApplied);
    // Until the generation tells it so, the other one takes it for news; the control core does not.
    let outcome = world.receive(0, FABRIC, std::slice::from_ref(&frame));
    is(&outcome, MetadataNote::ReportApplied);
    world.settle();
    for worker in [0, 1] {
        let outcome = world.receive(worker, FABRIC, std::slice::from_ref(&frame));
        is(&outcome, MetadataNote::ReportSame);
    }
    assert_eq!(world.aft().order[0].seq(), 5);
}

#[test]
fn who_is_believed() {
    let mut setup = Setup::new(3);
    setup.instance(3).report_key = None;
    let mut world = World::new(setup);
    let stranger = report(99, 1);
    is(
        &says(&mut world, &stranger),
        MetadataNote::ReportUnknownInstance,
    );
    // One instance does not speak for another.
    let object = told_as(&report(1, 1), InstanceId(2));
    let outcome = world.send(FABRIC, &report_datagram(1, &object));
    is(&outcome, MetadataNote::ReportMacInvalid);
    // Nor without its key.
    let bare = |n| Report {
        key_id: KeyId::NONE,
        ..report(n, 1)
    };
    is(&says(&mut world, &bare(1)), MetadataNote::ReportMacInvalid);
    // `KEY` is in force, and not its key.
    for key_id in [KeyId(99), OLD_KEY, KEY] {
        let other = Report {
            key_id,
            ..report(1, 1)
        };
        is(&says(&mut world, &other), MetadataNote::ReportMacInvalid);
    }
    // One that has none is believed without, and not under somebody's.
    is(
        &says(&mut world, &report(3, 1)),
        MetadataNote::ReportMacInvalid,
    );
    is(&says(&mut world, &bare(3)), MetadataNote::ReportApplied);
    // A request's key does not sign reports: the role is in the derivation.
    let mut object = told(&report(1, 1));
    let asking = crate::support::metadata::signed(
        &afr_wire::Request {
            key_id: KEY,
            ..request()
        },
        &syn(1, service(CHAT)),
    );
    let (at, from) = (object.len() - 16, asking.len() - 16);
    object[at..].copy_from_slice(&asking[from..]);
    let outcome = world.send(FABRIC, &report_datagram(1, &object));
    is(&outcome, MetadataNote::ReportMacInvalid);
    world.settle();
    assert_eq!(world.aft().order[0], ReportOrder::default());
}

#[test]
fn a_rotation_of_keys() {
    const NEXT: KeyId = KeyId(21);
    const AFTER_NEXT: KeyId = KeyId(22);
    let ring = |world: &mut World, end_of_own_s: u64, start_of_next_s: u64| {
        world.reload(|setup| {
            let keys = &mut setup.config.keys;
            let own = keys.iter_mut().find(|key| key.id == REPORT_KEY).unwrap();
            own.successor = Some(NEXT);
            own.not_after_s = end_of_own_s;
            keys.push(Key {
                not_before_s: start_of_next_s,
                successor: Some(AFTER_NEXT),
                ..key(NEXT, MacAlgorithm::AesCmac)
            });
            keys.push(key(AFTER_NEXT, MacAlgorithm::AesCmac));
        });
    };
    let under = |key_id, seq| Report {
        key_id,
        ..report(1, seq)
    };
    let (applied, invalid) = (MetadataNote::ReportApplied, MetadataNote::ReportMacInvalid);
    let now_s = u64::from(UNIX_S);
    let mut world = world();
    is(&says(&mut world, &under(NEXT, 1)), invalid);
    // Before the next one's time.
    ring(&mut world, u64::MAX, now_s + 1);
    is(&says(&mut world, &under(NEXT, 1)), invalid);
    is(&says(&mut world, &under(REPORT_KEY, 1)), applied);
    // Both are in force.
    ring(&mut world, u64::MAX, now_s);
    is(&says(&mut world, &under(NEXT, 2)), applied);
    is(&says(&mut world, &under(REPORT_KEY, 3)), applied);
    is(&says(&mut world, &under(AFTER_NEXT, 4)), invalid);
    // The former one's time is over.
    ring(&mut world, now_s, 0);
    is(&says(&mut world, &under(REPORT_KEY, 4)), invalid);
    is(&says(&mut world, &under(NEXT, 4)), applied);
}

#[test]
fn every_bit_is_covered() {
    let mut world = world();
    let object = told(&Report {
        events: events(&[(EventOp::Stored, prefix(3, 1))]),
        ..report(1, 1)
    });
    for at in 0..object.len() * 8 {
        let mut object = object.clone();
        object[at / 8] ^= 1 << (at % 8);
        let outcome = world.send(FABRIC, &report_datagram(1, &object));
        assert_eq!(outcome.noted(MetadataNote::ReportApplied), 0, "bit {at}");
    }
}

#[test]
fn dates() {
    for (after_ms, fresh) in [(0, true), (5_000, true), (5_001, false)] {
        let mut world = world();
        world.skip(after_ms);
        let outcome = says(&mut world, &report(1, 1));
        let note = if fresh {
            MetadataNote::ReportApplied
        } else {
            MetadataNote::ReportStale
        };
        is(&outcome, note);
        let mut ahead = World::new(Setup::new(1));
        let dated = Report {
            sampled_at_ms: sampled_at(after_ms),
            ..report(1, 1)
        };
        is(&says(&mut ahead, &dated), note);
    }
}

#[test]
fn datagrams_are_checked() {
    let mut world = world();
    let good = report_datagram(1, &told(&report(1, 1)));
    let mut zero = good.frame();
    zero[14 + 46..14 + 48].fill(0);
    let mut wrong = good.frame();
    wrong[14 + 46] ^= 1;
    for frame in [zero, wrong] {
        let outcome = world.raw(FABRIC, &frame);
        is(
            outcome.punted(PuntReason::Report),
            MetadataNote::ReportMalformed,
        );
    }
    // A length that is not the packet's, though the sum is right.
    let mut udp = vec![0x9C, 0x40, 0x12, 0x74, 0, 20, 0, 0];
    udp.extend(told(&report(1, 1)));
    let mut packet = report_datagram(1, &[]);
    packet.upper = Upper::Raw(17, udp);
    let mut pseudo = packet.source.octets().to_vec();
    pseudo.extend(packet.destination.octets());
    let Upper::Raw(_, udp) = &mut packet.upper else {
        unreachable!()
    };
    pseudo.extend((udp.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 17]);
    pseudo.extend(udp.iter());
    let sum = crate::support::walker::internet_checksum(&pseudo);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    is(&world.send(FABRIC, &packet), MetadataNote::ReportMalformed);
    // Cut, or something else.
    let object = told(&report(1, 1));
    for bytes in [&object[..40], &[], b"hello"] {
        let outcome = world.send(FABRIC, &report_datagram(1, bytes));
        is(&outcome, MetadataNote::ReportMalformed);
    }
    // Behind extension headers it is the same datagram.
    let outcome = world.send(FABRIC, &good.with(Ext::destination(&[])));
    is(&outcome, MetadataNote::ReportApplied);
}

#[test]
fn outside_nobody_reports() {
    let mut world = world();
    for port in [EDGE, WILD] {
        let packet = report_datagram(1, &told(&report(1, 1))).by(port);
        let outcome = world.send(port, &packet);
        outcome.dropped(DropReason::MetadataOutside);
        is(&outcome, MetadataNote::ReportOutside);
    }
}

#[test]
fn a_datagram_may_tell_many_events() {
    let mut world = world();
    let all: Vec<_> = (1..=176)
        .map(|depth| (EventOp::Stored, prefix(depth, 1)))
        .collect();
    let outcome = says(
        &mut world,
        &Report {
            events: events(&all),
            ..report(2, 1)
        },
    );
    is(&outcome, MetadataNote::ReportApplied);
    world.settle();
    // One in a hundred and fifty keys of the table's hash puts five into a bucket of four, which gives up the first of them.
    let residency = &world.aft().residency;
    assert_eq!(residency.len() as u64 + residency.evictions(), 176);
    let deep = prefix(176, 1);
    let asking = syn(1, service(CHAT)).asking(&with_prefixes(&[deep]));
    assert_eq!(world.send(EDGE, &asking).forwarded().instance(), 2);
    // In band it is too many.
    let mut tunnel = crate::support::world::tunnelled_reply(1, 9, service(CHAT));
    let many = Report {
        events: events(&all[..13]),
        ..report(1, 1)
    };
    tunnel = tunnel.reporting(&many);
    let outcome = world.send(FABRIC, &tunnel);
    outcome.forwarded();
    is(&outcome, MetadataNote::ReportMalformed);
}

#[test]
fn news_count_on_the_very_next_dispatch() {
    for policy in [
        PolicyKind::Ttft,
        PolicyKind::LeastLoad,
        PolicyKind::TwoChoices,
        PolicyKind::Weighted,
    ] {
        let mut world = World::new(Setup::new(2).policy(policy));
        let busy = |n, seq| Report {
            pending_prefill_tokens: 900_000,
            queue_depth: 90,
            kv_used: 200,
            ..report(n, seq)
        };
        says(&mut world, &busy(1, 1));
        for port in 1..4 {
            let outcome = world.send(EDGE, &syn(port, service(CHAT)).asking(&request()));
            assert_eq!(outcome.forwarded().instance(), 2, "{policy:?}");
        }
        // And the generation that includes it says the same; the next news again count at once.
        world.settle();
        let outcome = world.send(EDGE, &syn(4, service(CHAT)).asking(&request()));
        assert_eq!(outcome.forwarded().instance(), 2);
        says(&mut world, &report(1, 2));
        says(&mut world, &busy(2, 1));
        let outcome = world.send(EDGE, &syn(5, service(CHAT)).asking(&request()));
        assert_eq!(outcome.forwarded().instance(), 1, "{policy:?}");
    }
}

#[test]
fn the_newest_news_count_whoever_heard_them() {
    let busy = |n| Report {
        pending_prefill_tokens: 900_000,
        ..report(n, 1)
    };
    let hears = |world: &mut World, worker: usize, report: &Report| {
        let frame = report_datagram(report.instance_id.0 as u16, &told(report)).frame();
        let outcome = world.receive(worker, FABRIC, &[frame]);
        assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
        outcome.noted(MetadataNote::ReportRingFull)
    };
    // With a ring of one, the control core never hears the second.
    for ring in [8, 1] {
        let mut setup = Setup::new(2).config(|config| config.limits.ring = ring);
        setup.workers = 2;
        let mut world = World::new(setup);
        hears(&mut world, 0, &busy(2));
        let full = hears(&mut world, 0, &busy(1));
        assert_eq!(full, u64::from(ring == 1));
        hears(&mut world, 1, &report(1, 2));
        world.settle();
        let frame = syn(1, service(CHAT)).asking(&request()).frame();
        let outcome = world.receive(0, EDGE, &[frame]);
        assert_eq!(outcome.forwarded().instance(), 1);
    }
    // And the generation's where the worker has nothing newer.
    let mut setup = Setup::new(2);
    setup.workers = 2;
    let mut world = World::new(setup);
    hears(&mut world, 0, &report(1, 1));
    hears(&mut world, 0, &busy(2));
    world.settle();
    let worse = Report {
        pending_prefill_tokens: 990_000,
        ..report(1, 2)
    };
    hears(&mut world, 1, &worse);
    world.settle();
    let frame = syn(1, service(CHAT)).asking(&request()).frame();
    let outcome = world.receive(0, EDGE, &[frame]);
    assert_eq!(outcome.forwarded().instance(), 2);
}

/// The sequence numbers of the loads that the control core would be told now, 0 for anything else.
fn heard(world: &World) -> Vec<u32> {
    let ring = &world.shared.rings[0];
    std::iter::from_fn(|| ring.pop())
        .map(|message| match message {
            WorkerMsg::Load { load, .. } => load.order.seq(),
            _ => 0,
        })
        .collect()
}

/// Also where as many report between two bursts as are told between two bursts.
#[test]
fn however_many_report_each_load_is_told_once_a_moment() {
    const INSTANCES: u16 = 2 * BURST as u16;
    let mut world = World::new(Setup::new(INSTANCES));
    heard(&world);
    let mut told = vec![0; usize::from(INSTANCES)];
    for seq in 1..=150 {
        for first in (1..INSTANCES).step_by(BURST) {
            let frames: Vec<_> = (first..first + BURST as u16)
                .map(|n| {
                    let report = Report {
                        sampled_at_ms: report(n, 1).sampled_at_ms,
                        ..report(n, seq)
                    };
                    let reply = tunnelled_reply(n, n, service(CHAT)).reporting(&report);
                    reply.frame()
                })
                .collect();
            world.receive(0, FABRIC, &frames);
            world.maintain();
            world.now.mono_us += 10;
        }
        for message in std::iter::from_fn(|| world.shared.rings[0].pop()) {
            if let WorkerMsg::Load { slot, .. } = message {
                told[slot.index()] += 1;
            }
        }
    }
    // At once, and then after each of two milliseconds.
    assert!(told.iter().all(|times| (3..=4).contains(times)), "{told:?}");
}

#[test]
fn of_the_loads_of_a_moment_the_last_is_told() {
    let mut world = world();
    let hears = |world: &mut World, seq, change: fn(&mut Report)| {
        let mut report = report(1, seq);
        change(&mut report);
        is(&says(world, &report), MetadataNote::ReportApplied);
        heard(world)
    };
    let plain: fn(&mut Report) = |_| ();
    assert_eq!(hears(&mut world, 1, plain), [1]);
    assert_eq!(hears(&mut world, 2, plain), []);
    assert_eq!(hears(&mut world, 3, plain), []);
    world.now.mono_us += 1_000;
    world.maintain();
    assert_eq!(heard(&world), [3]);
    world.maintain();
    assert_eq!(heard(&world), []);
    // A millisecond later at the latest.
    assert_eq!(hears(&mut world, 4, plain), []);
    world.now.mono_us += 999;
    world.maintain();
    assert_eq!(heard(&world), []);
    world.now.mono_us += 1;
    world.maintain();
    assert_eq!(heard(&world), [4]);
    // What brings more than a load is told at once, and before what depends on it.
    let events: fn(&mut Report) = |report| {
        report.events = events(&[(EventOp::Stored, prefix(3, 1))]);
    };
    assert_eq!(hears(&mut world, 5, events), [5, 0]);
    let refuses: fn(&mut Report) = |report| report.refusals.push(CHAT).unwrap();
    assert_eq!(hears(&mut world, 6, refuses), [6]);
    let cleared: fn(&mut Report) = |report| report.cache_generation += 1;
    assert_eq!(hears(&mut world, 7, cleared), [7]);
    assert_eq!(hears(&mut world, 8, cleared), []);
    // Another instance is another matter, and a pause makes the next one the first.
    is(
        &says(&mut world, &report(2, 1)),
        MetadataNote::ReportApplied,
    );
    assert_eq!(heard(&world), [1]);
    world.now.mono_us += 1_000;
    assert_eq!(hears(&mut world, 9, cleared), [9]);
}

#[test]
fn of_who_is_gone_nothing_is_told() {
    let mut world = world();
    for seq in [1, 2] {
        says(&mut world, &report(1, seq));
        says(&mut world, &report(2, seq));
    }
    assert_eq!(heard(&world), [1, 1]);
    world.core.remove(Slot(0));
    world.publish();
    world.now.mono_us += 1_000;
    world.maintain();
    assert_eq!(heard(&world), [2], "the second instance's alone");
}

#[test]
fn the_next_tenant_of_a_slot_starts_afresh() {
    let mut world = world();
    let late = Report {
        boot_epoch: UNIX_S + 1_000,
        pending_prefill_tokens: 900_000,
        ..report(1, 9)
    };
    is(&says(&mut world, &late), MetadataNote::ReportApplied);
    world.core.remove(Slot(0));
    world.settle();
    is(
        &says(&mut world, &late),
        MetadataNote::ReportUnknownInstance,
    );
    let mut next = instance(1);
    next.incarnation = Incarnation(77);
    world.core.register(Slot(0), next);
    world.settle();
    // Its clock may be behind its predecessor's.
    is(
        &says(&mut world, &report(1, 1)),
        MetadataNote::ReportApplied,
    );
    let view = world.workers[0].generation();
    assert_eq!(view.order[0], ReportOrder::default());
    world.settle();
    assert_eq!(world.aft().pending_tokens[0], 0);
    assert_eq!(world.aft().order[0], order(UNIX_S - 100, 1));
}

#[test]
fn reports_for_nobody_are_no_datagrams_of_ours() {
    let mut world = world();
    let mut packet: Packet = report_datagram(1, &told(&report(1, 1)));
    let Upper::Udp { destination, .. } = &mut packet.upper else {
        unreachable!()
    };
    *destination += 1;
    packet.source = tunnel_source(1);
    let outcome = world.send(FABRIC, &packet);
    outcome.dropped(DropReason::PuntUnavailable);
}

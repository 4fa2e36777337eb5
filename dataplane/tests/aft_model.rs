//! Random operations on the AFT against a naive model, and the two copies against each other.
#![cfg(not(loom))]

mod aft_model {
    pub(crate) mod model;
    pub(crate) mod ops;
}

use afr_dataplane::aft::epoch::{Absorb, Publish, Publisher, Pushed, Reader};
use afr_dataplane::aft::inflight::{ClockMap, Inflight};
use afr_dataplane::aft::live::{Live, LiveState};
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::residency::{Overlay, Said};
use afr_dataplane::aft::reuse::Reuse;
use afr_dataplane::aft::{Aft, Op};
use afr_dataplane::config::Dispatch;
use afr_dataplane::id::{Incarnation, Now, Slot, WorkerId};
use afr_wire::{Bloom, CatalogueVersion, DomainId, PolicyScope, Prefix};
use aft_model::model::Model;
use aft_model::ops::{self, WORKERS};
use proptest::prelude::*;

/// Pushes until everything is in the current generation.
fn settle(publisher: &mut Publisher<Aft, Op>, reader: &mut Reader<Aft>) {
    while publisher.pending() > 0 {
        publisher.publish(0);
        reader.refresh();
    }
    reader.refresh();
    assert_eq!(reader.epoch(), publisher.epoch());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One table, compared after every operation.
    #[test]
    fn a_table_is_what_its_operations_say(ops in prop::collection::vec(ops::op(), 1..120)) {
        let config = ops::config(0, &[1, 2, 3], 0);
        let mut aft = Aft::new(config.clone(), WORKERS);
        let mut model = Model::new(config);
        for op in ops {
            let op = ops::dated(op, model.now_s);
            aft.absorb(&op);
            model.absorb(&op);
            model.check(&aft);
        }
    }

    /// Two copies, published in random batches while a reader comes by now and then.
    #[test]
    fn both_copies_are_equal(
        steps in prop::collection::vec((ops::op(), 0u8..4), 1..150),
    ) {
        let config = ops::config(0, &[1, 2, 3], 0);
        let make = || Aft::new(config.clone(), WORKERS);
        let (mut publisher, mut readers) = Publisher::new(make, 1, 1_000);
        let mut reader = readers.remove(0);
        let mut direct = make();
        let mut published = make();
        let mut pending = Vec::new();
        for (op, then) in steps {
            let op = ops::dated(op, direct.now_s);
            direct.absorb(&op);
            prop_assert_eq!(publisher.push(op.clone()), Pushed::Logged);
            pending.push(op);
            if then == 0 {
                reader.refresh();
            }
            if then <= 1 && matches!(publisher.publish(0), Publish::Swapped { .. }) {
                for op in pending.drain(..) {
                    published.absorb(&op);
                }
                prop_assert!(*publisher.current() == published);
            }
        }
        settle(&mut publisher, &mut reader);
        prop_assert!(*publisher.current() == direct);
        let first: *const Aft = publisher.current();
        // An operation that changes nothing makes the other copy current.
        publisher.push(Op::Consumed { worker: WorkerId(0), position: 0 });
        settle(&mut publisher, &mut reader);
        prop_assert!(!std::ptr::eq(first, publisher.current()));
        prop_assert!(*publisher.current() == direct);
    }

    /// While a reader is stuck the log leaves out what later operations make unnecessary, and nothing else.
    #[test]
    fn what_the_log_leaves_out_is_not_missed(ops in prop::collection::vec(ops::op(), 20..300)) {
        let config = ops::config(0, &[1, 2, 3], 0);
        let make = || Aft::new(config.clone(), WORKERS);
        let (mut publisher, mut readers) = Publisher::new(make, 1, 16);
        let mut reader = readers.remove(0);
        let mut model = Model::new(config.clone());
        let first = Op::Tick { now_s: 1 };
        model.absorb(&first);
        publisher.push(first);
        publisher.publish(0);
        let mut lost = 0;
        for op in ops {
            let op = ops::dated(op, model.now_s);
            match publisher.push(op.clone()) {
                Pushed::Logged => model.absorb(&op),
                Pushed::Dropped => {
                    let hint = matches!(op, Op::Stored { .. } | Op::Evicted { .. });
                    prop_assert!(hint, "dropped {op:?}");
                    lost += 1;
                }
                Pushed::Refused => lost += 1,
            }
            prop_assert_eq!(publisher.publish(0), Publish::Waiting);
            prop_assert!(publisher.pending() <= 32);
        }
        prop_assert_eq!(publisher.dropped(), lost);
        reader.refresh();
        settle(&mut publisher, &mut reader);
        model.check(publisher.current());
    }
}

/// Everything that a worker asks of a generation and of what stands beside it, once.
#[test]
fn a_worker_neither_allocates_nor_frees() {
    let slots = usize::from(ops::SLOTS);
    let mut aft = Aft::new(ops::config(0, &[1, 2, 3], 0), WORKERS);
    for slot in (0..ops::SLOTS).map(Slot) {
        aft.absorb(&Op::Instance {
            slot,
            instance: ops::instance_of(u32::from(slot.0)),
        });
        // The first prefix has more holders than an entry names, the others one or none.
        for key in [ops::key(0), ops::key(slot.0)] {
            let (provisional, now_s) = (slot.0 % 2 == 0, 0);
            aft.absorb(&Op::Stored {
                slot,
                key,
                provisional,
                now_s,
            });
        }
    }
    let members: Vec<_> = (0..ops::SLOTS)
        .map(|slot| (afr_wire::InstanceId(slot.into()), Slot(slot), 1))
        .collect();
    let maglev = Maglev::build(&[7; 16], 13, &members);
    let (live, inflight, clocks) = (Live::new(slots), Inflight::new(slots), ClockMap::new(slots));
    let (mut overlay, mut reuse) = (Overlay::new(64), Reuse::new(slots));
    let prefixes: Vec<Prefix> = (0..ops::KEYS)
        .map(|n| Prefix {
            depth: n + 1,
            signature: ops::key(n).signature,
        })
        .collect();
    let now = Now {
        mono_us: 5_000_000,
        unix_ms: 1,
    };
    let slot = Slot(3);
    inflight.reset(slot);
    live.set(slot, Incarnation(1), LiveState::Up);

    let cost = allocation_counter::measure(|| {
        overlay.insert(ops::key(1), Slot(0), Said::Stored, 1);
        let known = aft.known(WorkerId(0), &overlay);
        Reuse::prefetch(&known, CatalogueVersion(1), DomainId(1), &prefixes);
        reuse.compute(&known, CatalogueVersion(1), DomainId(1), &prefixes);
        assert_eq!(reuse.iter().count(), slots);
        assert_eq!((reuse.depth(Slot(0)), reuse.depth(Slot(1))), (2, 2));
        assert!(aft.holders(ops::key(0)).contains(slot));
        assert!(aft.policy_mask(PolicyScope(1)).is_none());
        assert!(aft.may_have(slot, &Bloom::new()) && aft.has_labels(slot, &[]));
        assert_eq!(aft.slot_of(afr_wire::InstanceId(3)), Some(slot));
        assert_eq!(aft.slot_by_tunnel_source(ops::tunnel_source(3)), Some(slot));
        let hash = Maglev::flow_hash(&[7; 16], &[1; 16], &[2; 16], 6, 1, 2);
        let alive = |slot| live.accepts_new(slot, Incarnation(1));
        assert_eq!(maglev.pick(hash, alive), Some(slot));
        inflight.open(slot, 7);
        inflight.commit(slot, 7);
        inflight.sample(now.mono_us);
        let sampled_us = clocks.observe(slot, 4_990, now, Dispatch::default().clock_trust());
        assert_eq!(inflight.committed_at(slot, sampled_us), 7);
    });
    assert_eq!((cost.count_total, cost.count_current), (0, 0), "{cost:?}");
}

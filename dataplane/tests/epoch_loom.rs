//! The epoch swap in every interleaving that loom tells apart, in a few seconds:
//! `RUSTFLAGS="--cfg loom" cargo test -p afr-dataplane --test epoch_loom --release`.
#![cfg(loom)]

use afr_dataplane::aft::epoch::{Absorb, Op, Publish, Publisher, Reader};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

struct Add(u64);

impl Op for Add {
    type Key = ();
}

/// A copy under loom's eyes. Readers read it relaxed, so that they order nothing themselves; the writer writes through
/// `with_mut`, of which loom demands that every read happened before or happens after.
struct Watched {
    sum: AtomicU64,
    ops: AtomicU64,
}

impl Watched {
    fn new() -> Self {
        Self {
            sum: AtomicU64::new(0),
            ops: AtomicU64::new(0),
        }
    }

    /// How many operations the copy has, their sum checked.
    fn check(&self) -> u64 {
        let ops = self.ops.load(Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed);
        assert_eq!(sum, ops * (ops + 1) / 2, "a generation half written");
        ops
    }
}

impl Absorb<Add> for Watched {
    fn absorb(&mut self, add: &Add) {
        self.sum.with_mut(|sum| *sum += add.0);
        self.ops.with_mut(|ops| *ops += 1);
    }
}

/// Passes `bursts` quiescent points and reads twice after each.
fn work(mut reader: Reader<Watched>, bursts: usize) -> Reader<Watched> {
    let (mut epoch, mut ops) = (reader.epoch(), reader.get().check());
    for _ in 0..bursts {
        let changed = reader.refresh();
        assert_eq!(changed, reader.epoch() > epoch);
        assert!(reader.epoch() >= epoch);
        let seen = reader.get().check();
        assert!(seen >= ops);
        assert_eq!(reader.get().check(), seen);
        (epoch, ops) = (reader.epoch(), seen);
    }
    reader
}

/// Publishes `ops` operations, one a generation as far as readers allow.
fn publish(publisher: &mut Publisher<Watched, Add>, ops: std::ops::RangeInclusive<u64>) {
    for op in ops {
        publisher.push(Add(op));
        if publisher.publish(0) == Publish::Waiting {
            thread::yield_now();
        }
        publisher.current().check();
    }
}

#[test]
fn one_reader_sees_whole_generations() {
    loom::model(|| {
        let (mut publisher, mut readers) = Publisher::new(Watched::new, 1, 8);
        let reader = readers.remove(0);
        let worker = thread::spawn(move || work(reader, 4));
        publish(&mut publisher, 1..=4);
        let mut reader = worker.join().unwrap();
        // With the reader at a quiescent point, at most two rounds bring everything to it.
        for _ in 0..2 {
            publisher.publish(0);
            reader.refresh();
        }
        assert_eq!(publisher.pending(), 0);
        assert_eq!(reader.get().check(), 4);
        // The other copy gets the same.
        publisher.push(Add(5));
        assert!(matches!(publisher.publish(0), Publish::Swapped { .. }));
        assert_eq!(publisher.current().check(), 5);
    });
}

#[test]
fn two_readers_at_different_paces() {
    loom::model(|| {
        let (mut publisher, mut readers) = Publisher::new(Watched::new, 2, 8);
        let (slow, fast) = (readers.remove(0), readers.remove(0));
        let slow = thread::spawn(move || work(slow, 2));
        let fast = thread::spawn(move || work(fast, 3));
        publish(&mut publisher, 1..=3);
        drop((slow.join().unwrap(), fast.join().unwrap()));
        publisher.publish(0);
        assert_eq!(publisher.current().check(), 3);
    });
}

#[test]
fn a_reader_may_leave_at_any_moment() {
    loom::model(|| {
        let (mut publisher, mut readers) = Publisher::new(Watched::new, 1, 8);
        let reader = readers.remove(0);
        let worker = thread::spawn(move || drop(work(reader, 2)));
        publish(&mut publisher, 1..=3);
        worker.join().unwrap();
        // Nobody is left to wait for.
        publisher.push(Add(4));
        assert!(matches!(publisher.publish(0), Publish::Swapped { .. }));
        assert_eq!(publisher.current().check(), 4);
        assert_eq!(publisher.add_reader().get().check(), 4);
    });
}

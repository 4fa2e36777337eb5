//! The epoch swap under load, and what it costs a reader.
#![cfg(not(loom))]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use afr_dataplane::aft::epoch::{Absorb, Op, Publish, Publisher, Pushed, Reader};
use allocation_counter::measure;

const WORDS: usize = 512;

/// Adds `value` to the word at `at`.
#[derive(Clone, Copy)]
struct Write {
    at: usize,
    value: u64,
}

impl Op for Write {
    type Key = ();
}

/// A big array that says of itself what it should contain.
struct Array {
    words: Box<[u64; WORDS]>,
    sum: u64,
    ops: u64,
    order: u64,
}

impl Array {
    fn new() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            sum: 0,
            ops: 0,
            order: 0,
        }
    }

    fn check(&self) {
        let sum = self
            .words
            .iter()
            .fold(0, |sum: u64, word| sum.wrapping_add(*word));
        assert_eq!(
            sum, self.sum,
            "a generation half written after {} operations",
            self.ops
        );
    }
}

impl Absorb<Write> for Array {
    fn absorb(&mut self, write: &Write) {
        self.words[write.at % WORDS] = self.words[write.at % WORDS].wrapping_add(write.value);
        self.sum = self.sum.wrapping_add(write.value);
        self.ops += 1;
        self.order = self.order.wrapping_mul(31).wrapping_add(write.value);
    }
}

fn write(n: u64) -> Write {
    Write {
        at: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 7,
        value: n * n + 1,
    }
}

/// Tells the readers to stop, also when the writer's checks fail: the test must end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads until told to stop; dwells on some generations.
fn read(mut reader: Reader<Array>, stop: &AtomicBool, generations: &AtomicU64, patience: u32) {
    let (mut epoch, mut ops) = (reader.epoch(), reader.get().ops);
    while !stop.load(Ordering::Relaxed) {
        let changed = reader.refresh();
        assert_eq!(changed, reader.epoch() != epoch);
        assert!(reader.epoch() >= epoch, "epochs go back");
        assert!(reader.get().ops >= ops, "operations are lost");
        (epoch, ops) = (reader.epoch(), reader.get().ops);
        generations.fetch_add(u64::from(changed), Ordering::Relaxed);
        for _ in 0..=patience {
            reader.get().check();
            assert_eq!(
                (reader.epoch(), reader.get().ops),
                (epoch, ops),
                "changed under the reader"
            );
        }
    }
}

#[test]
fn readers_see_whole_generations_and_both_copies_get_everything() {
    const OPS: u64 = 60_000;
    let (mut publisher, readers) = Publisher::new(Array::new, 3, OPS as usize);
    let (stop, generations, ready) = (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(4));
    let expected = std::thread::scope(|scope| {
        for (patience, reader) in readers.into_iter().enumerate() {
            let (stop, generations, ready) = (&stop, &generations, &ready);
            scope.spawn(move || {
                ready.wait();
                read(reader, stop, generations, 3 * patience as u32);
            });
        }
        let _stop = StopOnDrop(&stop);
        ready.wait();
        let mut expected = Array::new();
        let mut swaps = 0;
        for n in 0..OPS {
            assert_eq!(publisher.push(write(n)), Pushed::Logged);
            expected.absorb(&write(n));
            if n % 7 == 0 {
                swaps += u64::from(matches!(publisher.publish(n), Publish::Swapped { .. }));
                publisher.current().check();
            }
            // Readers come and go in the meantime.
            if n % 5_000 == 0 {
                let late = publisher.add_reader();
                assert_eq!(late.epoch(), publisher.epoch());
                late.get().check();
                let (stop, generations) = (&stop, &generations);
                if n % 10_000 == 0 {
                    scope.spawn(move || read(late, stop, generations, 1));
                }
            }
        }
        while publisher.pending() > 0 {
            swaps += u64::from(matches!(publisher.publish(OPS), Publish::Swapped { .. }));
            std::thread::yield_now();
        }
        assert_eq!(publisher.epoch(), swaps);
        // On to the next generation for the last time: that takes the other copy, and so shows it.
        assert_eq!(publisher.current().ops, OPS);
        assert_eq!(publisher.current().order, expected.order);
        publisher.push(write(OPS));
        expected.absorb(&write(OPS));
        while publisher.pending() > 0 {
            publisher.publish(OPS);
            std::thread::yield_now();
        }
        expected
    });
    let last = publisher.current();
    assert_eq!(
        (last.ops, last.order, last.sum),
        (expected.ops, expected.order, expected.sum)
    );
    assert_eq!(last.words, expected.words);
    assert_eq!(publisher.dropped(), 0);
    assert!(generations.into_inner() > 0);
}

#[test]
fn a_reader_neither_allocates_nor_frees() {
    let (mut publisher, mut readers) = Publisher::new(Array::new, 1, 16);
    let Some(mut reader) = readers.pop() else {
        unreachable!("one reader was asked for");
    };
    for n in 0..100 {
        publisher.push(write(n));
        assert!(matches!(publisher.publish(n), Publish::Swapped { .. }));
        // On this thread: each call drops the handle of the other copy.
        let cost = measure(|| {
            assert!(reader.refresh());
            assert!(!reader.refresh());
            assert_eq!(reader.get().ops, n + 1);
        });
        // `count_current` is what was allocated less what was freed.
        assert_eq!((cost.count_total, cost.count_current), (0, 0), "{cost:?}");
    }
}

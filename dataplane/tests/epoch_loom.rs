//! Every interleaving of the epoch swap, up to a bound of preemptions:
//! `RUSTFLAGS="--cfg loom" cargo test -p afr-dataplane --test epoch_loom --release`.
#![cfg(loom)]

use afr_dataplane::aft::epoch::{Absorb, Op, Publish, Publisher, Reader};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread;

struct Add(u64);

impl Op for Add {
    type Key = ();
}

/// A copy that lets loom see each read and write of it: loom fails the test when a write is concurrent with a read, or
/// is not ordered after it.
struct Watched {
    sum: UnsafeCell<u64>,
    ops: UnsafeCell<u64>,
}

impl Watched {
    fn new() -> Self {
        Self {
            sum: UnsafeCell::new(0),
            ops: UnsafeCell::new(0),
        }
    }

    /// The number of operations, after a check that their sum belongs to it.
    #[allow(
        unsafe_code,
        reason = "loom's cell has no safe access; loom itself checks that there is no race"
    )]
    fn read(&self) -> u64 {
        // SAFETY: loom panics if this access races with a write.
        let sum = self.sum.with(|sum| unsafe { *sum });
        // SAFETY: as above.
        let ops = self.ops.with(|ops| unsafe { *ops });
        assert_eq!(sum, ops * (ops + 1) / 2, "a generation seen half applied");
        ops
    }
}

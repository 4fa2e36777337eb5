//! Publishing the AFT: two copies, swapped by epochs, in safe Rust.
//!
//! There are two copies of the table, each in an [`Arc`]. At any time one is *current* (readers have it or are about to), the
//! other is *standby* (the writer changes it, when nobody reads it any more).
//!
//! # The writer ([`Publisher`], on the control core)
//!
//! keeps its own handle of both copies, a log of operations *pending* since the last swap, and the *lag*: the
//! operations that the current copy has and the standby lacks, which is the batch of the last swap. To publish:
//!
//! 1. It asks for the standby copy by [`Arc::get_mut`], which succeeds exactly when its own handle is the only one: no reader
//!    and no letterbox has another. If it fails, some reader has not passed a quiescent point since the last swap: the
//!    operations wait in the log, and nothing is freed or changed early.
//! 2. It applies the lag, then the pending operations, and so the standby is ahead of the current copy by one batch.
//! 3. It puts a new handle into each reader's letterbox, then adds one to the epoch (release). The roles are now swapped: what
//!    was pending is the lag.
//!
//! Both copies thus see the same operations in the same order, cut into the same batches or not; applying an operation
//! must depend on nothing but the copy and the operation.
//!
//! # The reader ([`Reader`], one a worker)
//!
//! passes a quiescent point at the start of each burst: [`Reader::refresh`] compares the epoch (acquire) with its own. If they
//! are equal, that is all. Otherwise it takes the handle from its letterbox and drops the one it had. The handle is there:
//! it was put in before the epoch went up. Between two calls a reader's copy cannot change, for the reader's own handle
//! makes `get_mut` fail.
//!
//! A reader frees nothing: the publisher has a handle of each copy, so the one that a reader drops is not the last. (Unless the
//! publisher itself is gone, which is at the end of the program.)
//!
//! A letterbox has room for one handle and needs no more: the next swap needs the standby copy, and a reader that has
//! not emptied its letterbox still reads that copy. So no reader waits, ever; a stuck one delays the next epoch and no
//! other reader.
//!
//! A reader that is dropped is offline: it says so before its handles go, and the publisher then throws its letterbox away.
//!
//! # While a reader is stuck
//!
//! the log grows to its bound. Then it is compacted: of operations that coalesce ([`Op::coalesces_with`]) the last
//! remains. Above the bound droppable operations are dropped and counted, others are taken up to twice the
//! bound and then refused, which is for the caller to pass on. [`Publisher::stalled_us`] says how long it has lasted.

mod log;

use crossbeam_utils::CachePadded;

use super::sync::{Arc, AtomicBool, AtomicU64, Letterbox, Ordering};

pub use log::{Op, Pushed};

use log::Log;

/// What operations are applied to.
pub trait Absorb<O> {
    /// Applies an operation. Must depend on `self` and `op` alone: it is applied to each copy once, at different times.
    fn absorb(&mut self, op: &O);

    /// Brings the memory that `op` is going to change nearer. Changes nothing.
    fn foresee(&self, op: &O) {
        let _ = op;
    }
}

/// Operations whose memory is on its way while an earlier one is applied: about what a core keeps under way.
const AHEAD: usize = 8;

/// Applies a batch.
fn absorb_all<T: Absorb<O>, O>(copy: &mut T, ops: &[O]) {
    ops.iter().take(AHEAD).for_each(|op| copy.foresee(op));
    for (at, op) in ops.iter().enumerate() {
        if let Some(later) = ops.get(at + AHEAD) {
            copy.foresee(later);
        }
        copy.absorb(op);
    }
}

/// What [`Publisher::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// There was nothing to publish.
    Idle,
    /// Readers find a new generation.
    Swapped {
        /// Its number.
        epoch: u64,
    },
    /// A reader has not passed a quiescent point since the last swap. Nothing was lost; try again.
    Waiting,
}

/// A handle on its way to a reader.
#[derive(Debug)]
struct Generation<T> {
    copy: Arc<T>,
    epoch: u64,
}

#[derive(Debug)]
struct Mailbox<T> {
    letters: Letterbox<Generation<T>>,
    online: AtomicBool,
}

/// The writer's side; see the module's description.
#[derive(Debug)]
pub struct Publisher<T, O> {
    copies: [Arc<T>; 2],
    /// Which of the two is current.
    current: usize,
    epoch: Arc<CachePadded<AtomicU64>>,
    mailboxes: Vec<Arc<Mailbox<T>>>,
    /// Applied to the current copy, not to the standby.
    lag: Vec<O>,
    log: Log<O>,
    /// The first refusal in a row to hand over the standby copy, in microseconds.
    waiting_since_us: Option<u64>,
}

impl<T: Absorb<O>, O: Op> Publisher<T, O> {
    /// A publisher of what `make` makes, called twice and with equal results, and its first `readers` readers. The log takes
    /// `log_bound` operations while readers keep it waiting.
    pub fn new(
        mut make: impl FnMut() -> T,
        readers: usize,
        log_bound: usize,
    ) -> (Self, Vec<Reader<T>>) {
        let mut publisher = Self {
            copies: [Arc::new(make()), Arc::new(make())],
            current: 0,
            epoch: Arc::new(CachePadded::new(AtomicU64::new(0))),
            mailboxes: Vec::with_capacity(readers),
            lag: Vec::new(),
            log: Log::new(log_bound),
            waiting_since_us: None,
        };
        let readers = (0..readers).map(|_| publisher.add_reader()).collect();
        (publisher, readers)
    }

    /// Another reader, which begins with the current generation.
    pub fn add_reader(&mut self) -> Reader<T> {
        let mailbox = Arc::new(Mailbox {
            letters: Letterbox::new(),
            online: AtomicBool::new(true),
        });
        self.mailboxes.push(Arc::clone(&mailbox));
        Reader {
            newest: Arc::clone(&self.epoch),
            held: Generation {
                copy: Arc::clone(&self.copies[self.current]),
                epoch: self.epoch(),
            },
            mailbox,
        }
    }

    /// Enters an operation into the next generation.
    pub fn push(&mut self, op: O) -> Pushed {
        self.log.push(op)
    }

    /// Makes a new generation of what is pending. Takes the time, in microseconds of the monotonic clock, to know how long
    /// it has been kept waiting.
    pub fn publish(&mut self, now_us: u64) -> Publish {
        self.mailboxes
            .retain(|mailbox| mailbox.online.load(Ordering::Acquire));
        if self.lag.is_empty() && self.log.is_empty() {
            self.waiting_since_us = None;
            return Publish::Idle;
        }
        let standby = 1 - self.current;
        let Some(copy) = Arc::get_mut(&mut self.copies[standby]) else {
            if self.log.is_empty() {
                // Nothing new to say; that the readers still have the old copy harms nobody.
                return Publish::Idle;
            }
            self.waiting_since_us.get_or_insert(now_us);
            return Publish::Waiting;
        };
        self.waiting_since_us = None;
        absorb_all(copy, &self.lag);
        self.lag.clear();
        if self.log.is_empty() {
            return Publish::Idle;
        }
        absorb_all(copy, self.log.ops());
        self.log.swap_into(&mut self.lag);
        self.current = standby;

        let epoch = self.epoch() + 1;
        for mailbox in &self.mailboxes {
            let displaced = mailbox.letters.put(Generation {
                copy: Arc::clone(&self.copies[standby]),
                epoch,
            });
            debug_assert!(displaced.is_none(), "a reader still reads the standby copy");
        }
        self.epoch.store(epoch, Ordering::Release);
        Publish::Swapped { epoch }
    }

    /// The newest generation.
    #[must_use]
    pub fn current(&self) -> &T {
        &self.copies[self.current]
    }

    /// Its number: how many swaps there were.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        // Only this thread writes it.
        self.epoch.load(Ordering::Relaxed)
    }

    /// Operations that no generation has yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.log.len()
    }

    /// Operations dropped or refused because the log was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.log.dropped()
    }

    /// How long the pending operations have been kept waiting by a reader, in microseconds.
    #[must_use]
    pub fn stalled_us(&self, now_us: u64) -> u64 {
        self.waiting_since_us
            .map_or(0, |since| now_us.saturating_sub(since))
    }

    /// Readers online that have not taken the newest generation yet.
    #[must_use]
    pub fn behind(&self) -> usize {
        let online = self
            .mailboxes
            .iter()
            .filter(|mailbox| mailbox.online.load(Ordering::Acquire));
        online.filter(|mailbox| !mailbox.letters.is_empty()).count()
    }
}

/// One reader's side; see the module's description. Dropping it takes the reader offline.
#[derive(Debug)]
pub struct Reader<T> {
    newest: Arc<CachePadded<AtomicU64>>,
    held: Generation<T>,
    mailbox: Arc<Mailbox<T>>,
}

impl<T> Reader<T> {
    /// Passes a quiescent point: from here on the reader has the newest generation. Says whether it is another than before.
    ///
    /// Neither waits nor allocates nor frees.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        self.has_newer() && self.take_newest()
    }

    /// Whether [`Self::refresh`] would take another generation, as far as is known.
    #[inline(always)]
    #[must_use]
    pub fn has_newer(&self) -> bool {
        self.newest.load(Ordering::Acquire) != self.held.epoch
    }

    #[cold]
    fn take_newest(&mut self) -> bool {
        match self.mailbox.letters.take() {
            Some(newest) => {
                self.held = newest;
                true
            }
            None => false,
        }
    }

    /// The reader's generation, which stays as it is until the next [`Self::refresh`].
    #[inline]
    #[must_use]
    pub fn get(&self) -> &T {
        &self.held.copy
    }

    /// The number of the reader's generation.
    #[inline]
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.held.epoch
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        // A letter that comes after this goes with the mailbox, which the publisher throws away before it next publishes.
        self.mailbox.online.store(false, Ordering::Release);
        drop(self.mailbox.letters.take());
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

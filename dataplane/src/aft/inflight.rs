//! Tokens that this AFR has sent to an instance and that no report covers yet.
//!
//! Every worker adds to the same counters, what it charged in a burst together:
//!
//! - a flow's SYN charges its uncached tokens to `opening`;
//! - its first payload moves them to the ever-growing *C*, `committed`; a reset or a time-out takes them back.
//!
//! A load snapshot in the AFT carries `base`, the value of *C* at the (guarded) date of the report it is from, found in
//! [`Inflight::committed_at`]. In flight is `opening + C − base` with the reader's own base: nothing is cleared when a report
//! comes, so nothing is lost or counted twice while one worker has the new generation and another the old.
//!
//! What was sent lately, [`Inflight::recent`], outlasts the reports that cover it: a second count follows *C*, once in
//! [`COARSE_TICK_US`] by the part of what it lacks that the tick is of [`RECENT_US`]. What it still lacks counts as recent.
//!
//! All accesses are relaxed: each counter stands for itself. A reader may see a flow's tokens in neither or in both for the
//! instant between the two halves of a commit; the sum is an estimate anyway, and right again at once.

mod clock;
mod history;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Slots whose changes are counted together.
pub const GROUP: usize = 8;

/// After so many microseconds 37 % of what was sent still count as recent.
pub const RECENT_US: u64 = 60_000_000;

use crossbeam_utils::CachePadded;
use dpdk::prefetch::prefetch_read;

use super::bitmap::iter_word;
use crate::id::Slot;

pub use clock::{ClockMap, ClockTrust};
pub use history::{COARSE_TICK_US, FINE_TICK_US, MIDDLE_TICK_US, SAMPLES};

use history::History;

/// Tokens charged to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// Of flows whose work was not sent yet.
    pub opening: u64,
    /// Of work that was.
    pub committed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    /// Signed, so that a release that comes too late for a reset does not look like 2⁶⁴ tokens.
    opening: AtomicI64,
    committed: AtomicU64,
    /// Flows whose first answer is waited for, in the bits from [`FLOW`] on, and the tokens they were charged.
    waiting: AtomicU64,
    /// What of `committed` is not recent any more.
    faded: AtomicU64,
}

/// A slot's counters at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    opening: i64,
    committed: u64,
    waiting: u64,
    faded: u64,
}

impl Counts {
    /// With what was charged besides.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, more: Charge) -> Self {
        Self {
            opening: self.opening.saturating_add_unsigned(more.opening),
            committed: self.committed + more.committed,
            ..self
        }
    }

    /// Tokens that a report with this `base` does not cover.
    #[inline(always)]
    #[must_use]
    pub fn in_flight(&self, base: u64) -> u32 {
        let committed = self.committed.saturating_sub(base);
        let tokens = committed.saturating_add(self.opening());
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// Tokens of flows whose work was not sent yet.
    #[inline(always)]
    #[must_use]
    pub fn opening(&self) -> u64 {
        self.opening.max(0) as u64
    }

    /// Tokens that were sent lately.
    #[inline(always)]
    #[must_use]
    pub const fn recent(&self) -> u64 {
        self.committed.saturating_sub(self.faded)
    }

    /// Tokens that are certainly not computed yet: of the flows that wait for their first answer all but one, which may be
    /// nearly done.
    #[inline(always)]
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        match self.waiting {
            // Most instances at most times.
            0..TWO_FLOWS => 0,
            waiting => all_but_one(waiting),
        }
    }
}

/// One flow in [`Counters::waiting`].
const FLOW: u64 = 1 << 44;
const TWO_FLOWS: u64 = 2 * FLOW;

/// The counters and their history, by slot. Slots beyond the size count nothing.
#[derive(Debug)]
pub struct Inflight {
    /// Padded: two workers that dispatch to different instances never share a line.
    counters: Vec<CachePadded<Counters>>,
    /// By 64 slots, and of those by [`GROUP`]: how often one of their counters changed.
    changes: Vec<[AtomicU64; 64 / GROUP]>,
    /// Whether the slot is sampled.
    sampled: Vec<AtomicU64>,
    history: Vec<History>,
    /// Like `changes`: how often, when the history was last written.
    entered: Vec<[AtomicU64; 64 / GROUP]>,
    last_tick: AtomicU64,
}

impl Inflight {
    /// Counters for `slots` slots, none of them sampled.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let groups = || {
            let words = (0..slots.div_ceil(64)).map(|_| [const { AtomicU64::new(0) }; 64 / GROUP]);
            words.collect()
        };
        Self {
            counters: (0..slots).map(|_| CachePadded::default()).collect(),
            changes: groups(),
            entered: groups(),
            sampled: (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            history: (0..slots).map(|_| History::new()).collect(),
            last_tick: AtomicU64::new(u64::MAX),
        }
    }

    /// Brings nearer what a charge of `slot` will write.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let Some(counters) = self.counters.get(slot.index()) {
            prefetch_read(counters);
        }
    }

    /// A flow begins that will bring `tokens` of prefill.
    ///
    /// Followed, once, by [`Self::commit`] or [`Self::release`] of the same flow with the same number, unless the
    /// worker's generation shows the slot free or under another [`Incarnation`](crate::id::Incarnation) by then.
    #[inline]
    pub fn open(&self, slot: Slot, tokens: u32) {
        let opening = u64::from(tokens);
        self.add(
            slot,
            Charge {
                opening,
                committed: 0,
            },
        );
        self.changed(slot);
    }

    /// The flow ended, or went silent, before its work was sent.
    #[inline]
    pub fn release(&self, slot: Slot, tokens: u32) {
        if let Some(counters) = self.counters.get(slot.index()) {
            counters
                .opening
                .fetch_sub(i64::from(tokens), Ordering::Relaxed);
            self.changed(slot);
        }
    }

    /// The flow's work was sent.
    #[inline]
    pub fn commit(&self, slot: Slot, tokens: u32) {
        // In this order a reader in between counts the tokens twice rather than not at all.
        self.commit_direct(slot, tokens);
        self.release(slot, tokens);
    }

    /// Work was sent that was not announced by [`Self::open`].
    #[inline]
    pub fn commit_direct(&self, slot: Slot, tokens: u32) {
        let committed = u64::from(tokens);
        self.add(
            slot,
            Charge {
                opening: 0,
                committed,
            },
        );
        self.changed(slot);
    }

    /// Adds to the counters of `slot`. [`Self::group_changed`] is to follow: who goes by it does not look before.
    #[inline]
    pub fn add(&self, slot: Slot, charge: Charge) {
        if let Some(counters) = self.counters.get(slot.index()) {
            if charge.committed != 0 {
                counters
                    .committed
                    .fetch_add(charge.committed, Ordering::Relaxed);
            }
            if charge.opening != 0 {
                let opening = i64::try_from(charge.opening).unwrap_or(i64::MAX);
                counters.opening.fetch_add(opening, Ordering::Relaxed);
            }
        }
    }

    /// The client of a flow whose work was sent waits for its first answer. Followed, once, by [`Self::answered`], under the
    /// same condition as [`Self::open`] by the end of a charge.
    #[inline]
    pub fn waits(&self, slot: Slot, tokens: u32) {
        if let Some(counters) = self.counters.get(slot.index()) {
            let one = FLOW + u64::from(tokens);
            counters.waiting.fetch_add(one, Ordering::Relaxed);
            self.changed(slot);
        }
    }

    /// A flow's first answer came, or is waited for no longer. Which tokens were its own is not known any more: it takes the
    /// mean of those that wait.
    #[inline]
    pub fn answered(&self, slot: Slot) {
        if let Some(counters) = self.counters.get(slot.index()) {
            let less = |waiting: u64| {
                let flows = waiting / FLOW;
                let share = (waiting % FLOW).checked_div(flows)?;
                Some(waiting - FLOW - share)
            };
            // Fails where nobody waits: then there is nothing to take back.
            let _ = counters
                .waiting
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            self.changed(slot);
        }
    }

    /// The counters of `slot`.
    #[inline(always)]
    #[must_use]
    pub fn counts(&self, slot: Slot) -> Counts {
        self.counters
            .get(slot.index())
            .map_or_else(Counts::default, |counters| Counts {
                opening: counters.opening.load(Ordering::Relaxed),
                committed: counters.committed.load(Ordering::Relaxed),
                waiting: counters.waiting.load(Ordering::Relaxed),
                faded: counters.faded.load(Ordering::Relaxed),
            })
    }

    /// [`Counts::unanswered`] of `slot`.
    #[inline]
    #[must_use]
    pub fn unanswered(&self, slot: Slot) -> u32 {
        self.counts(slot).unanswered()
    }

    /// How often a counter of the 64 slots from 64·`word` on changed, by [`GROUP`] of them. Who sees the same count as before
    /// has seen every counter of the group as it is.
    #[inline]
    pub fn changes_of(&self, word: usize) -> impl Iterator<Item = u64> {
        let groups = self.changes.get(word).into_iter().flatten();
        groups.map(|changes| changes.load(Ordering::Acquire))
    }

    #[inline]
    fn changed(&self, slot: Slot) {
        self.group_changed(slot.index() / 64, slot.index() % 64 / GROUP);
    }

    /// Counters of this group of the 64 slots from 64·`word` on changed. Returns how often they had before.
    #[inline]
    pub fn group_changed(&self, word: usize, group: usize) -> u64 {
        let changes = self.changes.get(word).and_then(|groups| groups.get(group));
        // Release: who sees the count sees the counters.
        changes.map_or(0, |changes| changes.fetch_add(1, Ordering::Release))
    }

    /// *C*: all tokens sent since [`Self::reset`].
    #[inline]
    #[must_use]
    pub fn committed(&self, slot: Slot) -> u64 {
        self.counters
            .get(slot.index())
            .map_or(0, |counters| counters.committed.load(Ordering::Relaxed))
    }

    /// [`Counts::opening`] of `slot`.
    #[inline]
    #[must_use]
    pub fn opening(&self, slot: Slot) -> u64 {
        self.counts(slot).opening()
    }

    /// [`Counts::recent`] of `slot`.
    #[inline]
    #[must_use]
    pub fn recent(&self, slot: Slot) -> u64 {
        self.counts(slot).recent()
    }

    /// [`Counts::in_flight`] of `slot`.
    #[inline]
    #[must_use]
    pub fn in_flight(&self, slot: Slot, base: u64) -> u32 {
        self.counts(slot).in_flight(base)
    }

    /// Writes *C* of every sampled slot into its history: of those that changed once in [`FINE_TICK_US`], of all once in
    /// [`MIDDLE_TICK_US`]. What is recent fades. For the control core, as often as it likes.
    pub fn sample(&self, now_us: u64) {
        let tick = now_us / FINE_TICK_US;
        let last_tick = self.last_tick.swap(tick, Ordering::Relaxed);
        if last_tick == tick {
            return;
        }
        const RATIO: u64 = MIDDLE_TICK_US / FINE_TICK_US;
        let fine_alone = last_tick / RATIO == tick / RATIO;
        const COARSE_RATIO: u64 = COARSE_TICK_US / FINE_TICK_US;
        // None the first time.
        self.fade((tick / COARSE_RATIO).saturating_sub(last_tick / COARSE_RATIO));
        for (word, sampled) in self.sampled.iter().enumerate() {
            let sampled = sampled.load(Ordering::Relaxed);
            if sampled == 0 {
                continue;
            }
            for (group, sampled) in sampled.to_le_bytes().into_iter().enumerate() {
                let changes = self.changes[word][group].load(Ordering::Acquire);
                let entered = &self.entered[word][group];
                if sampled == 0 || (fine_alone && entered.load(Ordering::Relaxed) == changes) {
                    continue;
                }
                entered.store(changes, Ordering::Relaxed);
                let first = word * 64 + group * GROUP;
                for slot in (0..GROUP).filter(|bit| sampled >> bit & 1 != 0) {
                    let committed = &self.counters[first + slot].committed;
                    let committed = committed.load(Ordering::Relaxed);
                    self.history[first + slot].record(now_us, committed, fine_alone);
                }
            }
        }
    }

    /// So many coarse ticks have passed.
    fn fade(&self, ticks: u64) {
        let passed_us = ticks.saturating_mul(COARSE_TICK_US).min(RECENT_US);
        if passed_us == 0 {
            return;
        }
        for slot in self.sampled() {
            let counters = &self.counters[slot.index()];
            let fades = u128::from(self.recent(slot)) * u128::from(passed_us);
            // Upwards, so that all of it does in the end.
            match fades.div_ceil(u128::from(RECENT_US)) as u64 {
                0 => {}
                fades => {
                    counters.faded.fetch_add(fades, Ordering::Relaxed);
                    self.changed(slot);
                }
            }
        }
    }

    /// The slots that are sampled: those that have an instance.
    pub fn sampled(&self) -> impl Iterator<Item = Slot> {
        let words = self.sampled.iter().enumerate();
        words.flat_map(|(index, word)| iter_word(index, word.load(Ordering::Relaxed)))
    }

    /// *C* as it was at `at_us`, or shortly before: by up to [`FINE_TICK_US`] for the last 65 ms, by up to [`MIDDLE_TICK_US`] for
    /// the last half second, by up to [`COARSE_TICK_US`] for the last eight. Before the history it is the oldest value known.
    #[inline]
    #[must_use]
    pub fn committed_at(&self, slot: Slot, at_us: u64) -> u64 {
        self.history.get(slot.index()).map_or(0, |history| {
            history.committed_at(at_us, self.committed(slot))
        })
    }

    /// The slot gets a new instance: everything starts over, and *C* is sampled from now on.
    ///
    /// To be called while no worker counts for the slot: when every reader has a generation in which it is free
    /// (after [`Op::Remove`](super::Op::Remove), [`Publisher::behind`](super::epoch::Publisher::behind) is 0), and before the new
    /// instance is published. A count that comes in between is lost or stays.
    pub fn reset(&self, slot: Slot) {
        let (Some(counters), Some(history)) = (
            self.counters.get(slot.index()),
            self.history.get(slot.index()),
        ) else {
            return;
        };
        counters.opening.store(0, Ordering::Relaxed);
        counters.committed.store(0, Ordering::Relaxed);
        counters.waiting.store(0, Ordering::Relaxed);
        counters.faded.store(0, Ordering::Relaxed);
        history.clear();
        self.changed(slot);
        self.sampled[slot.index() / 64].fetch_or(1 << (slot.index() % 64), Ordering::Relaxed);
    }

    /// The slot's instance is gone: it is not sampled any more.
    pub fn retire(&self, slot: Slot) {
        if let Some(word) = self.sampled.get(slot.index() / 64) {
            word.fetch_and(!(1 << (slot.index() % 64)), Ordering::Relaxed);
        }
    }
}

/// The tokens in [`Counters::waiting`], less their mean.
#[inline(never)]
fn all_but_one(waiting: u64) -> u32 {
    let (flows, tokens) = (waiting / FLOW, waiting % FLOW);
    u32::try_from(tokens - tokens / flows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

//! What each instance costs before anything new is asked of it: its queue, its pressure and a share of what was sent to it lately,
//! in microseconds, kept from one decision to the next.
//!
//! A decision looks at every candidate, and between two decisions next to nothing changes. So the figures are kept by slot, in one
//! vector that a decision reads from end to end, and are made anew where something they rest on has changed:
//!
//! - a new generation: everything ([`Standing::forget`]);
//! - a report that this worker learned from: the instance's group ([`Standing::forget_slot`]);
//! - tokens in flight, by any worker, or recent, by the control core: the instance's group, told by [`Inflight::changes`], one
//!   counter for each group of [`GROUP`] slots.
//!
//! [`Inflight::changes`]: crate::aft::inflight::Inflight::changes

use super::score::View;
use crate::aft::inflight::{Change, GROUP};
use crate::id::Slot;

/// No cost is more: a quarter of an hour, which nobody waits. Two of them can be added in 31 bits.
pub const MAX_COST_US: u32 = (1 << 30) - 1;

/// The figures; see the module's description. Those of slots that there are not are 0.
#[derive(Debug)]
pub struct Standing {
    us: Vec<[u32; 64]>,
    /// Of these, without what was sent lately.
    work_us: Vec<[u32; 64]>,
    /// Of the same slots, [`Aft::us_per_token_q`](crate::aft::Aft::us_per_token_q).
    rates_q: Vec<[u32; 64]>,
    /// No rate is greater.
    greatest_rate_q: u32,
    /// By group: the change it was made after, or [`STALE`].
    seen: Vec<[u64; GROUPS]>,
}

/// The figures of 64 slots.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Standing costs in microseconds.
    pub us: &'a [u32; 64],
    /// Of these, queue and pressure.
    pub work_us: &'a [u32; 64],
    /// Rates.
    pub rates_q: &'a [u32; 64],
}

/// Groups of 64 slots.
const GROUPS: usize = 64 / GROUP;
const STALE: u64 = u64::MAX;

impl Standing {
    /// For so many slots, all of them to be looked at.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let words = slots.div_ceil(64);
        Self {
            us: vec![[0; 64]; words],
            work_us: vec![[0; 64]; words],
            rates_q: vec![[0; 64]; words],
            greatest_rate_q: 0,
            seen: vec![[STALE; GROUPS]; words],
        }
    }

    /// There is a new generation.
    pub fn forget(&mut self) {
        self.seen.fill([STALE; GROUPS]);
        self.greatest_rate_q = 0;
    }

    /// There is news of an instance.
    pub fn forget_slot(&mut self, slot: Slot) {
        if let Some(seen) = self.seen.get_mut(slot.index() / 64) {
            seen[slot.index() % 64 / GROUP] = STALE;
        }
    }

    /// This worker has changed what is in flight to an instance: if that is the only change in its group, its figure alone is
    /// made anew.
    #[inline]
    pub fn charged(&mut self, view: &View<'_>, change: Change) {
        let (word, bit) = (change.slot.index() / 64, change.slot.index() % 64);
        if let Some(seen) = self.seen.get_mut(word) {
            let seen = &mut seen[bit / GROUP];
            if *seen == change.before {
                *seen += 1;
                self.renew_slot(view, change.slot);
            }
        }
    }

    /// Brings the figures of the first `words` times 64 slots up to date. Apart from what reads them: the compiler keeps the
    /// loop over atomics small, and that over figures free of calls.
    #[inline(never)]
    pub fn refresh(&mut self, view: &View<'_>, words: usize) {
        for word in 0..words.min(self.seen.len()) {
            let seen = &self.seen[word];
            let mut counts = view.inflight.changes_of(word).zip(seen);
            if counts.any(|(now, seen)| now != *seen) {
                self.renew(view, word);
            }
        }
    }

    /// The figures of the 64 slots from 64·`word` on, as of [`Self::refresh`]. `None`: there are no such slots.
    #[inline(always)]
    #[must_use]
    pub fn known(&self, word: usize) -> Option<Known<'_>> {
        Some(Known {
            us: self.us.get(word)?,
            work_us: self.work_us.get(word)?,
            rates_q: self.rates_q.get(word)?,
        })
    }

    /// No rate is greater than this.
    #[inline]
    #[must_use]
    pub const fn greatest_rate_q(&self) -> u32 {
        self.greatest_rate_q
    }

    #[cold]
    #[inline(never)]
    fn renew(&mut self, view: &View<'_>, word: usize) {
        for (group, now) in view.inflight.changes_of(word).enumerate() {
            if self.seen[word][group] == now {
                continue;
            }
            self.seen[word][group] = now;
            for bit in group * GROUP..(group + 1) * GROUP {
                let slot = Slot((word * 64 + bit) as u16);
                let rate_q = view.rate_q(slot);
                self.renew_slot(view, slot);
                self.rates_q[word][bit] = rate_q;
                self.greatest_rate_q = self.greatest_rate_q.max(rate_q);
            }
        }
    }

    #[inline]
    fn renew_slot(&mut self, view: &View<'_>, slot: Slot) {
        let (word, bit) = (slot.index() / 64, slot.index() % 64);
        if let (Some(us), Some(work_us)) = (self.us.get_mut(word), self.work_us.get_mut(word)) {
            work_us[bit] = view.work_us(slot);
            us[bit] = view.standing_us(slot, work_us[bit]);
        }
    }
}

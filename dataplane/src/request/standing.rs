//! What each instance costs before anything new is asked of it: its queue and its pressure, in microseconds, kept from one
//! decision to the next.
//!
//! A decision looks at every candidate, and between two decisions next to nothing changes. So the figures are kept by slot, in one
//! vector that a decision reads from end to end, and are made anew where something they rest on has changed:
//!
//! - a new generation: everything ([`Standing::forget`]);
//! - a report that this worker learned from: the instance's group ([`Standing::forget_slot`]);
//! - tokens in flight, by any worker: the instance's group, told by [`Inflight::changes`], one counter for each group of
//!   [`GROUP`] slots.
//!
//! [`Inflight::changes`]: crate::aft::inflight::Inflight::changes

use super::score::View;
use crate::aft::inflight::{Change, GROUP};
use crate::id::Slot;

/// No cost is more: a quarter of an hour, which nobody waits. Two of them can be added in 31 bits.
pub const MAX_COST_US: u32 = (1 << 30) - 1;

/// The figures; see the module's description.
#[derive(Debug)]
pub struct Standing {
    us: Vec<u32>,
    /// By group: the change it was made after, or [`STALE`].
    seen: Vec<u64>,
}

const STALE: u64 = u64::MAX;

impl Standing {
    /// For so many slots, all of them to be looked at.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let groups = slots.div_ceil(GROUP);
        Self {
            us: vec![0; groups * GROUP],
            seen: vec![STALE; groups],
        }
    }

    /// There is a new generation.
    pub fn forget(&mut self) {
        self.seen.fill(STALE);
    }

    /// There is news of an instance.
    pub fn forget_slot(&mut self, slot: Slot) {
        if let Some(seen) = self.seen.get_mut(slot.index() / GROUP) {
            *seen = STALE;
        }
    }

    /// This worker has changed what is in flight to an instance: if that is the only change in its group, its figure alone is
    /// made anew.
    #[inline]
    pub fn charged(&mut self, view: &View<'_>, change: Change) {
        let index = change.slot.index();
        if let (Some(seen), Some(us)) = (self.seen.get_mut(index / GROUP), self.us.get_mut(index))
            && *seen == change.before
        {
            *seen += 1;
            *us = view.standing_us(change.slot);
        }
    }

    /// Brings the figures of the 64 slots from 64·`word` on up to date, and returns them: fewer at the end.
    #[inline]
    pub fn refreshed(&mut self, view: &View<'_>, word: usize) -> &[u32] {
        let groups = 64 / GROUP;
        let first = (word * groups).min(self.seen.len());
        let last = (first + groups).min(self.seen.len());
        for group in first..last {
            let now = view.inflight.changes(group);
            if self.seen[group] != now {
                self.seen[group] = now;
                self.renew(view, group);
            }
        }
        self.us.get(first * GROUP..last * GROUP).unwrap_or(&[])
    }

    #[inline(never)]
    fn renew(&mut self, view: &View<'_>, group: usize) {
        let first = group * GROUP;
        for (index, us) in (first..).zip(self.us.iter_mut().skip(first).take(GROUP)) {
            let slot = Slot(index as u16);
            *us = view.standing_us(slot);
        }
    }
}

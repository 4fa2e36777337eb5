//! What this worker has charged in the burst in work, told to all at its end.
//!
//! A charge that all see at once costs two locked additions, each of which holds up everything behind it, and the lines of both
//! counters belong to whichever worker charged last. So a worker keeps a burst's charges to itself, counts them in its own
//! decisions ([`View`](super::score::View)), and adds them to [`Inflight`] together: once an instance, and once a group of
//! them. The other workers hear of a charge some microseconds later.

use arrayvec::ArrayVec;

use super::standing::Standing;
use crate::aft::inflight::{Charge, GROUP, Inflight};
use crate::id::Slot;
use crate::memory::room;
use crate::path::BURST;

/// Charges that are not told yet.
#[derive(Debug)]
pub struct Charges {
    /// By slot.
    sums: Vec<Charge>,
    /// What was charged, in order, a slot as often as it was.
    slots: ArrayVec<Slot, BURST>,
    /// By 64 slots: a bit for each of their groups in which something was charged.
    groups: Vec<u8>,
}

impl Charges {
    /// Of who charges nothing.
    pub const NONE: &Self = &Self {
        sums: Vec::new(),
        slots: ArrayVec::new_const(),
        groups: Vec::new(),
    };

    /// For so many slots. All memory is taken here.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            sums: vec![Charge::default(); slots],
            slots: ArrayVec::new(),
            groups: vec![0; slots.div_ceil(64)],
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.sums) + room(&self.groups)
    }

    /// Tokens of a flow whose work comes later; see [`Inflight::open`].
    #[inline]
    pub fn open(&mut self, inflight: &Inflight, slot: Slot, tokens: u32) {
        if let Some(sum) = self.sum(slot) {
            sum.opening += u64::from(tokens);
        } else {
            inflight.open(slot, tokens);
        }
    }

    /// Tokens of work that is sent; see [`Inflight::commit_direct`].
    #[inline(always)]
    pub fn commit(&mut self, inflight: &Inflight, slot: Slot, tokens: u32) {
        if let Some(sum) = self.sum(slot) {
            sum.committed += u64::from(tokens);
        } else {
            inflight.commit_direct(slot, tokens);
        }
    }

    /// The sum that one more charge of `slot` goes to. `None`: as many were made as a burst has packets, or there is no such slot.
    #[inline(always)]
    fn sum(&mut self, slot: Slot) -> Option<&mut Charge> {
        let sum = self.sums.get_mut(slot.index())?;
        self.slots.try_push(slot).ok()?;
        Some(sum)
    }

    /// What is not told yet of what `slot` was charged.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, slot: Slot) -> Charge {
        self.sums.get(slot.index()).copied().unwrap_or_default()
    }

    /// What was charged since the last [`Self::tell`], in order.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Adds all to what every worker sees. `standing` has counted them already, or looks at their groups again.
    #[inline]
    pub fn tell(&mut self, inflight: &Inflight, standing: &mut Standing) {
        if !self.slots.is_empty() {
            self.tell_some(inflight, standing);
        }
    }

    #[inline(never)]
    fn tell_some(&mut self, inflight: &Inflight, standing: &mut Standing) {
        for slot in &self.slots {
            let at = slot.index();
            if let (Some(sum), Some(groups)) = (self.sums.get_mut(at), self.groups.get_mut(at / 64))
            {
                inflight.add(*slot, std::mem::take(sum));
                *groups |= 1 << (at % 64 / GROUP);
            }
        }
        let counted = standing.has_counted(self);
        self.slots.clear();
        for (word, groups) in self.groups.iter_mut().enumerate() {
            let mut left = std::mem::take(groups);
            while left != 0 {
                let group = left.trailing_zeros() as usize;
                left &= left - 1;
                let before = inflight.group_changed(word, group);
                if counted {
                    standing.told(word, group, before);
                }
            }
        }
        standing.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(70);

    fn told(inflight: &Inflight, slot: Slot) -> (u64, u64) {
        (inflight.opening(slot), inflight.committed(slot))
    }

    #[test]
    fn all_that_was_charged_is_told_once() {
        let (inflight, mut standing) = (Inflight::new(100), Standing::new(100));
        let mut charges = Charges::new(100);
        charges.commit(&inflight, SLOT, 7);
        charges.open(&inflight, SLOT, 30);
        charges.commit(&inflight, SLOT, 5);
        charges.open(&inflight, Slot(3), 1);
        charges.open(&inflight, SLOT, 4);
        let own = Charge {
            opening: 34,
            committed: 12,
        };
        assert_eq!(charges.of(SLOT), own);
        assert_eq!(told(&inflight, SLOT), (0, 0), "not yet");
        for _ in 0..2 {
            charges.tell(&inflight, &mut standing);
            assert_eq!(told(&inflight, SLOT), (34, 12));
            assert_eq!(told(&inflight, Slot(3)), (1, 0));
            assert_eq!(charges.of(SLOT), Charge::default());
        }
        // One group in each of two words: told to who looks for changes once.
        assert_eq!(inflight.changes_of(0).sum::<u64>(), 1);
        assert_eq!(inflight.changes_of(1).sum::<u64>(), 1);
    }

    #[test]
    fn what_there_is_no_room_for_is_told_at_once() {
        let (inflight, mut standing) = (Inflight::new(100), Standing::new(100));
        let mut charges = Charges::new(100);
        for _ in 0..BURST {
            charges.commit(&inflight, SLOT, 1);
        }
        charges.commit(&inflight, SLOT, 10);
        charges.open(&inflight, SLOT, 100);
        charges.commit(&inflight, Slot(100), 1);
        assert_eq!(told(&inflight, SLOT), (100, 10));
        charges.tell(&inflight, &mut standing);
        assert_eq!(told(&inflight, SLOT), (100, 10 + BURST as u64));
    }
}

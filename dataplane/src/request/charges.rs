//! What this worker has charged in the burst in work and a few before, told to all together.
//!
//! A charge that all see at once costs two locked additions, each of which holds up everything behind it, and the lines of both
//! counters belong to whichever worker charged last. So a worker keeps charges to itself for as long as full bursts follow each
//! other, [`TOLD_AFTER`] at the most, counts them in its own
//! decisions ([`View`](super::score::View)), and adds them to [`Inflight`] together: once an instance, and once a group of
//! them. The other workers hear of a charge by so much later, which is under a tenth of a millisecond at 8 Mpps. It is told before the worker takes up another generation:
//! whoever has the instance's slot in that is not charged for it.

use arrayvec::ArrayVec;

use super::standing::Standing;
use crate::aft::inflight::{Charge, GROUP, Inflight};
use crate::id::Slot;
use crate::memory::room;
use crate::path::BURST;

/// Full bursts after which charges are told.
const TOLD_AFTER: usize = 16;
/// Charges that are kept, at the most.
const KEPT: usize = TOLD_AFTER * BURST;

/// Charges that are not told yet.
#[derive(Debug)]
pub struct Charges {
    /// By slot.
    sums: Vec<Charge>,
    /// What was charged, in order, a slot as often as it was.
    slots: ArrayVec<Slot, KEPT>,
    /// Bursts that ended since.
    bursts: usize,
    /// Whether one ended since it was asked last.
    is_fresh: bool,
    /// A bit a slot, all 0 but while charges are told.
    charged: Vec<u64>,
}

impl Charges {
    /// Of who charges nothing.
    pub const NONE: &Self = &Self {
        sums: Vec::new(),
        slots: ArrayVec::new_const(),
        bursts: 0,
        is_fresh: false,
        charged: Vec::new(),
    };

    /// For so many slots. All memory is taken here.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            sums: vec![Charge::default(); slots],
            slots: ArrayVec::new(),
            bursts: 0,
            is_fresh: false,
            charged: vec![0; slots.div_ceil(64)],
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.sums) + room(&self.charged)
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

    /// The sum that one more charge of `slot` goes to. `None`: as many were made as are kept, or there is no such slot.
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

    /// A burst has ended. What was charged is told if it was not full, for then another may not follow soon, or if it is time.
    #[inline(always)]
    pub fn end_burst(&mut self, full: bool, inflight: &Inflight, standing: &mut Standing) {
        self.bursts += 1;
        self.is_fresh = true;
        if !full || self.bursts >= TOLD_AFTER {
            self.tell(inflight, standing);
        }
    }

    /// What is not told is told, unless a burst has ended since this was called last.
    #[inline(always)]
    pub fn end_round(&mut self, inflight: &Inflight, standing: &mut Standing) {
        if !std::mem::take(&mut self.is_fresh) {
            self.tell(inflight, standing);
        }
    }

    /// Adds all to what every worker sees. `standing` has counted them already, or looks at their groups again.
    #[inline]
    pub fn tell(&mut self, inflight: &Inflight, standing: &mut Standing) {
        self.bursts = 0;
        if !self.slots.is_empty() {
            self.tell_some(inflight, standing);
        }
    }

    #[inline(never)]
    fn tell_some(&mut self, inflight: &Inflight, standing: &mut Standing) {
        // Which were charged, by bits: word for word, for most are of the word of the one before.
        let (mut word, mut bits) = (0, 0);
        for slot in &self.slots {
            let at = slot.index();
            if at / 64 != word {
                self.charged[word] |= bits;
                (word, bits) = (at / 64, 0);
            }
            bits |= 1 << (at % 64);
        }
        self.charged[word] |= bits;
        let counted = standing.has_counted(self);
        self.slots.clear();
        for (word, charged) in self.charged.iter_mut().enumerate() {
            let mut left = std::mem::take(charged);
            let mut groups = 0_u8;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                groups |= 1 << (bit / GROUP);
                let at = word * 64 + bit;
                if let Some(sum) = self.sums.get_mut(at) {
                    inflight.add(Slot(at as u16), std::mem::take(sum));
                }
            }
            while groups != 0 {
                let group = groups.trailing_zeros() as usize;
                groups &= groups - 1;
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
    fn charges_wait_for_as_long_as_full_bursts_follow_each_other() {
        let (inflight, mut standing) = (Inflight::new(100), Standing::new(100));
        let mut charges = Charges::new(100);
        let mut all = 0;
        let mut charge = |charges: &mut Charges| {
            charges.commit(&inflight, SLOT, 3);
            all += 3;
            (0, all)
        };
        for _ in 0..3 {
            let before = told(&inflight, SLOT);
            for burst in 1..=TOLD_AFTER {
                let now = charge(&mut charges);
                charges.end_burst(true, &inflight, &mut standing);
                let seen = if burst == TOLD_AFTER { now } else { before };
                assert_eq!(told(&inflight, SLOT), seen, "{burst}");
                charges.end_round(&inflight, &mut standing);
                assert_eq!(told(&inflight, SLOT), seen, "{burst}");
            }
        }
        let now = charge(&mut charges);
        charges.end_burst(false, &inflight, &mut standing);
        assert_eq!(told(&inflight, SLOT), now, "no full burst");
        let before = now;
        let now = charge(&mut charges);
        charges.end_burst(true, &inflight, &mut standing);
        charges.end_round(&inflight, &mut standing);
        assert_eq!(told(&inflight, SLOT), before);
        charges.end_round(&inflight, &mut standing);
        assert_eq!(told(&inflight, SLOT), now, "nothing followed");
    }

    #[test]
    fn what_there_is_no_room_for_is_told_at_once() {
        let (inflight, mut standing) = (Inflight::new(100), Standing::new(100));
        let mut charges = Charges::new(100);
        for _ in 0..KEPT {
            charges.commit(&inflight, SLOT, 1);
        }
        charges.commit(&inflight, SLOT, 10);
        charges.open(&inflight, SLOT, 100);
        charges.commit(&inflight, Slot(100), 1);
        assert_eq!(told(&inflight, SLOT), (100, 10));
        charges.tell(&inflight, &mut standing);
        assert_eq!(told(&inflight, SLOT), (100, 10 + KEPT as u64));
    }
}

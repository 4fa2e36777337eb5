//! The answer to "who holds this prefix".

use super::Clock;
use super::bucket::INLINE_HOLDERS;
use super::spill::Record;
use crate::aft::bitmap::iter_words;
use crate::id::Slot;

/// The instances that hold a prefix, as they are in the table at the moment of the question.
#[derive(Debug, Clone, Copy)]
pub struct Holders<'a>(Kind<'a>);

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Few {
        slots: [Slot; INLINE_HOLDERS],
        len: usize,
    },
    Many {
        record: Record<'a>,
        clock: Clock,
        all_fresh: bool,
    },
}

impl<'a> Holders<'a> {
    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(Kind::Few {
            slots: [Slot(0); INLINE_HOLDERS],
            len: 0,
        })
    }

    pub(super) fn few(holders: impl Iterator<Item = Slot>) -> Self {
        let mut slots = [Slot(0); INLINE_HOLDERS];
        let mut len = 0;
        for (place, slot) in slots.iter_mut().zip(holders) {
            *place = slot;
            len += 1;
        }
        Self(Kind::Few { slots, len })
    }

    pub(super) const fn many(record: Record<'a>, clock: Clock) -> Self {
        let all_fresh = record.all_fresh(clock);
        Self(Kind::Many {
            record,
            clock,
            all_fresh,
        })
    }

    /// Whether `slot` is among them.
    #[inline]
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        match &self.0 {
            Kind::Few { slots, len } => slots[..*len].contains(&slot),
            Kind::Many {
                record,
                clock,
                all_fresh,
            } => record.holds(slot) && (*all_fresh || record.fresh(slot, *clock)),
        }
    }

    /// Calls `visit` with each of them once, in no particular order.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Slot)) {
        match &self.0 {
            Kind::Few { slots, len } => slots[..*len].iter().copied().for_each(visit),
            Kind::Many {
                record,
                clock,
                all_fresh,
            } => {
                for slot in iter_words(record.held) {
                    if *all_fresh || record.fresh(slot, *clock) {
                        visit(slot);
                    }
                }
            }
        }
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        let mut count = 0;
        self.for_each(|_| count += 1);
        count
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::Few { len, .. } => *len == 0,
            Kind::Many { .. } => self.count() == 0,
        }
    }
}

//! Loads that a worker learned and that its generation does not include yet.

use crate::aft::bitmap::Bitmap;
use crate::aft::{Aft, Load, ReportOrder};
use crate::id::{Incarnation, Slot, WorkerId};
use crate::memory::room;

/// What a report said of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Learned {
    /// Ring position of the message that told the control core the same, or [`UNTOLD`].
    pub position: u64,
    /// Whom it is about.
    pub tenant: Incarnation,
    /// What it said.
    pub load: Load,
    /// The instance's cache generation.
    pub cache_generation: u32,
}

/// The position of a message that is still to come.
pub const UNTOLD: u64 = u64::MAX;

/// The control core hears of an instance's load so often at the most, in microseconds: of several reports in that time the last
/// counts alone. A report that brings more than a load is told at once, and so is the first after a pause. As often as generations
/// come, by default: no other worker hears of a load before.
const TELL_US: u64 = 1_000;

const NOTHING: Learned = Learned {
    position: 0,
    tenant: Incarnation(0),
    cache_generation: 0,
    load: Load {
        order: ReportOrder::new(0, 0),
        queue_depth: 0,
        running: 0,
        pending_tokens: 0,
        prefill_rate_tokens_s: 0,
        kv_used: 0,
        load_class: 0,
        draining: false,
        refusing: false,
        base_tokens: 0,
        received_us: 0,
    },
};

/// By slot, the last load that the worker learned itself. It counts until a generation includes it, and for the tenant
/// that it is about.
#[derive(Debug)]
pub struct LoadOverlay {
    /// Newer than the generation.
    active: Bitmap,
    /// Of these, the instances that take new flows.
    accepting: Bitmap,
    learned: Vec<Learned>,
    /// Of these the report and whom it is about, closer together: every reply asks.
    last: Vec<(Incarnation, ReportOrder)>,
    /// What the control core was not told yet.
    untold: Bitmap,
    /// Whether there is any.
    any_untold: bool,
    /// The slots are gone through, each once, and this one is the next; `None` between two times.
    telling: Option<usize>,
    /// When each slot's load was told last, in microseconds.
    told_us: Vec<u64>,
    /// When it was begun last to tell what was untold.
    all_told_us: u64,
}

impl LoadOverlay {
    /// For so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            active: Bitmap::new(slots),
            accepting: Bitmap::new(slots),
            learned: vec![NOTHING; slots],
            last: vec![(NOTHING.tenant, NOTHING.load.order); slots],
            untold: Bitmap::new(slots),
            any_untold: false,
            telling: None,
            told_us: vec![0; slots],
            all_told_us: 0,
        }
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        let bitmaps = [&self.active, &self.accepting, &self.untold];
        let bitmaps = bitmaps.map(|bitmap| size_of_val(bitmap.words()));
        bitmaps.iter().sum::<usize>() + room(&self.learned) + room(&self.last) + room(&self.told_us)
    }

    /// The load of `slot` where it is newer than the generation's.
    #[inline]
    #[must_use]
    pub fn newer(&self, slot: Slot) -> Option<&Load> {
        if self.active.test(slot) {
            self.learned.get(slot.index()).map(|learned| &learned.load)
        } else {
            None
        }
    }

    /// Which of the 64 slots from 64·`word` on take new flows by their last report.
    #[inline]
    #[must_use]
    pub fn available(&self, aft: &Aft, word: usize) -> u64 {
        let of = |bitmap: &Bitmap| bitmap.words().get(word).copied().unwrap_or(0);
        of(&aft.available) & !of(&self.active) | of(&self.accepting)
    }

    /// Whether `slot` takes new flows by its last report.
    #[inline]
    #[must_use]
    pub fn is_available(&self, aft: &Aft, slot: Slot) -> bool {
        self.available(aft, slot.index() / 64) >> (slot.index() % 64) & 1 != 0
    }

    /// Retires what a new generation includes, or knows better from another worker, or is about tenants that it does not
    /// have.
    pub fn retire(&mut self, aft: &Aft, worker: WorkerId) {
        let position = aft.consumed_of(worker);
        for at in 0..self.active.words().len() {
            let mut left = self.active.words()[at];
            while left != 0 {
                let slot = Slot((at * 64) as u16 + left.trailing_zeros() as u16);
                left &= left - 1;
                let counts = self.learned.get(slot.index()).is_some_and(|learned| {
                    let published = aft.order.get(slot.index()).copied();
                    learned.position > position
                        && learned.tenant == aft.incarnation(slot)
                        && published.is_none_or(|published| learned.load.order > published)
                });
                if !counts {
                    self.active.clear(slot);
                    self.accepting.clear(slot);
                    self.untold.clear(slot);
                }
            }
        }
    }

    /// Whether the control core is to hear of a load of `slot` at once, that is, did not just hear of one.
    #[inline]
    #[must_use]
    pub fn is_due(&self, slot: Slot, now_us: u64) -> bool {
        let told_us = self.told_us.get(slot.index());
        told_us.is_some_and(|told_us| now_us.saturating_sub(*told_us) >= TELL_US)
    }

    /// Remembers what was learned of `slot`: what is told now, or else before long ([`Self::take_untold`]).
    #[inline(always)]
    pub fn enter(&mut self, slot: Slot, learned: Learned, now_us: u64) {
        let Some(place) = self.learned.get_mut(slot.index()) else {
            return;
        };
        *place = learned;
        self.last[slot.index()] = (learned.tenant, learned.load.order);
        self.active.set(slot);
        let accepting = !learned.load.draining && !learned.load.refusing;
        self.accepting.assign(slot, accepting);
        let untold = learned.position == UNTOLD;
        self.untold.assign(slot, untold);
        if untold {
            self.any_untold = true;
        } else {
            self.told_us[slot.index()] = now_us;
        }
    }

    /// What was entered of `slot` last.
    #[inline]
    #[must_use]
    pub fn learned(&self, slot: Slot) -> Option<Learned> {
        self.learned.get(slot.index()).copied()
    }

    /// Whether it is time to tell what is untold, or to go on with it.
    #[inline]
    #[must_use]
    pub const fn is_time_to_tell(&self, now_us: u64) -> bool {
        self.any_untold
            && (self.telling.is_some() || now_us.saturating_sub(self.all_told_us) >= TELL_US)
    }

    /// Something untold, if there is anything that was not told since it was begun to tell. It will be told, and have this
    /// position.
    #[inline]
    pub fn take_untold(&mut self, position: u64, now_us: u64) -> Option<(Slot, &Learned)> {
        let from = self.telling.unwrap_or_else(|| {
            self.all_told_us = now_us;
            0
        });
        // What is untold again behind this waits for the next time, or that would never come.
        let Some(slot) = self.untold.first_from(from) else {
            self.telling = None;
            self.any_untold = !self.untold.is_empty();
            return None;
        };
        self.telling = Some(slot.index() + 1);
        self.untold.clear(slot);
        *self.told_us.get_mut(slot.index())? = now_us;
        let learned = self.learned.get_mut(slot.index())?;
        learned.position = position;
        Some((slot, learned))
    }

    /// The cache generation of `tenant` by its last report.
    #[inline]
    #[must_use]
    pub fn cache_generation(&self, slot: Slot, tenant: Incarnation) -> Option<u32> {
        let learned = self.learned.get(slot.index());
        learned
            .filter(|learned| learned.tenant == tenant)
            .map(|learned| learned.cache_generation)
    }

    /// Which report of `tenant` was entered last.
    #[inline]
    #[must_use]
    pub fn last(&self, slot: Slot, tenant: Incarnation) -> ReportOrder {
        match self.last.get(slot.index()) {
            Some((of, order)) if *of == tenant => *order,
            _ => ReportOrder::default(),
        }
    }
}

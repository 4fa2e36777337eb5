//! Loads that a worker learned and that its generation does not include yet.

use crate::aft::bitmap::Bitmap;
use crate::aft::{Aft, Load, ReportOrder};
use crate::id::{Incarnation, Slot, WorkerId};

/// What a report said of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Learned {
    /// Ring position of the message that told the control core the same.
    pub position: u64,
    /// Whom it is about.
    pub tenant: Incarnation,
    /// What it said.
    pub load: Load,
}

const NOTHING: Learned = Learned {
    position: 0,
    tenant: Incarnation(0),
    load: Load {
        order: ReportOrder {
            boot_epoch: 0,
            seq: 0,
        },
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
}

impl LoadOverlay {
    /// For so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            active: Bitmap::new(slots),
            accepting: Bitmap::new(slots),
            learned: vec![NOTHING; slots],
        }
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
                }
            }
        }
    }

    /// Remembers what was learned of `slot`.
    #[inline]
    pub fn enter(&mut self, slot: Slot, learned: Learned) {
        let Some(place) = self.learned.get_mut(slot.index()) else {
            return;
        };
        *place = learned;
        self.active.set(slot);
        let accepting = !learned.load.draining && !learned.load.refusing;
        self.accepting.assign(slot, accepting);
    }

    /// Which report of `tenant` was entered last.
    #[inline]
    #[must_use]
    pub fn last(&self, slot: Slot, tenant: Incarnation) -> ReportOrder {
        let learned = self.learned.get(slot.index());
        learned
            .filter(|learned| learned.tenant == tenant)
            .map_or_else(ReportOrder::default, |learned| learned.load.order)
    }
}

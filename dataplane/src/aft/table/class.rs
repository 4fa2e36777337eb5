//! What the AFT knows of a capability class.

use std::sync::Arc;

use afr_wire::ClassId;
use arrayvec::ArrayVec;

use crate::aft::bitmap::Bitmap;
use crate::aft::maglev::Maglev;
use crate::config::Config;
use crate::id::Slot;

/// Most instances remembered to refuse a class; another pushes out the one that would be forgotten first.
pub const MAX_REFUSALS: usize = 64;

/// One class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassState {
    /// Its identifier.
    pub id: ClassId,
    /// The instances that serve it.
    pub members: Bitmap,
    /// Its Maglev table. May be older than `members`: ask [`Maglev::pick`] for members only.
    pub maglev: Arc<Maglev>,
    /// Who refuses it for now, and until when, in microseconds of the monotonic clock.
    pub refused: ArrayVec<(Slot, u64), MAX_REFUSALS>,
}

impl ClassState {
    /// A class without members.
    #[must_use]
    pub fn new(id: ClassId, slots: usize) -> Self {
        Self {
            id,
            members: Bitmap::new(slots),
            maglev: Arc::new(Maglev::default()),
            refused: ArrayVec::new(),
        }
    }

    /// Whether `slot` refuses the class at `now_us`.
    #[inline]
    #[must_use]
    pub fn is_refused(&self, slot: Slot, now_us: u64) -> bool {
        self.refused
            .iter()
            .any(|(refusing, until_us)| *refusing == slot && now_us < *until_us)
    }

    pub(super) fn refuse(&mut self, slot: Slot, until_us: u64) {
        if let Some(held) = self.refused.iter_mut().find(|held| held.0 == slot) {
            held.1 = held.1.max(until_us);
            return;
        }
        if self.refused.is_full() {
            let first = self
                .refused
                .iter()
                .enumerate()
                .min_by_key(|(_, held)| held.1);
            if let Some((index, held)) = first {
                if held.1 > until_us {
                    return;
                }
                self.refused.swap_remove(index);
            }
        }
        self.refused.push((slot, until_us));
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.members.clear(slot);
        self.refused.retain(|held| held.0 != slot);
    }

    pub(super) fn expire(&mut self, now_us: u64) {
        self.refused.retain(|held| now_us < held.1);
    }
}

/// The states of the configured classes at their indexes: those of `old` that are still configured, and new ones.
pub(super) fn states_of(
    config: &Config,
    old: &mut [Option<ClassState>],
    slots: usize,
) -> Vec<Option<ClassState>> {
    let mut states: Vec<_> = (0..config.classes.indexes()).map(|_| None).collect();
    for (at, class) in config.classes.iter() {
        let is_it = |state: &&mut Option<ClassState>| {
            state.as_ref().is_some_and(|state| state.id == class.id)
        };
        let known = old.iter_mut().find(is_it).and_then(Option::take);
        let state = known.unwrap_or_else(|| ClassState::new(class.id, slots));
        states[usize::from(at.0)] = Some(state);
    }
    states
}

//! The choice of one candidate: the class's policy proposes, the labels are checked exactly, and the class's latency
//! objective is kept where any candidate keeps it.
//!
//! Exits: a [`Choice`].

use afr_wire::Label32;

use super::least::least;
use super::policy::{self, Task};
use super::score::{Scratch, View};
use crate::aft::live::Live;
use crate::config::{Class, Dispatch, PolicyKind};
use crate::id::Slot;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, within the objective, or without one.
    Within(Slot),
    /// Every candidate is over the objective; this one the least.
    Over(Slot),
    /// There is no candidate.
    Nobody,
}

/// What a choice is made from.
pub(super) struct Chooser<'a> {
    pub(super) view: View<'a>,
    pub(super) task: Task,
    pub(super) knobs: &'a Dispatch,
    pub(super) live: &'a Live,
    /// Labels that the winner must have.
    pub(super) labels: &'a [Label32],
    /// The candidates, and the depths they hold of the prompt. Those that fail the exact check are taken out.
    pub(super) scratch: &'a mut Scratch,
    /// How many did.
    pub(super) false_positives: u64,
}

impl Chooser<'_> {
    /// Chooses for a class.
    pub(super) fn choose(&mut self, class: &Class) -> Choice {
        let Some(slot) = self.exact(|this| this.propose(class.policy)) else {
            return Choice::Nobody;
        };
        let Some(objective_us) = class.objective_us else {
            return Choice::Within(slot);
        };
        let keeps = |this: &Self, slot| this.total_us(slot) <= u64::from(objective_us);
        if keeps(self, slot) {
            return Choice::Within(slot);
        }
        // Another policy than the smallest estimate, or a near-tie, may have passed over one that keeps to it.
        let least = self.exact(Self::least).unwrap_or(slot);
        if keeps(self, least) {
            Choice::Within(least)
        } else {
            Choice::Over(least)
        }
    }

    /// The first proposal that has the labels.
    fn exact(&mut self, propose: impl Fn(&mut Self) -> Option<Slot>) -> Option<Slot> {
        loop {
            let slot = propose(self)?;
            let aft = self.view.aft;
            // The slot's tenant may be another by now than the generation's.
            if !self.live.accepts_new(slot, aft.incarnation(slot)) {
                self.scratch.exclude(slot);
                continue;
            }
            if aft.has_labels(slot, self.labels) {
                return Some(slot);
            }
            self.false_positives += 1;
            self.scratch.exclude(slot);
        }
    }

    fn propose(&mut self, kind: PolicyKind) -> Option<Slot> {
        policy::pick(kind, &self.view, &self.task, self.knobs, self.scratch)
    }

    fn least(&mut self) -> Option<Slot> {
        // The time itself, not what it costs others.
        least(&self.view, &self.task, 0, 0, self.scratch)
    }

    fn total_us(&self, slot: Slot) -> u64 {
        let depth = self.scratch.reuse.depth(slot);
        self.view
            .estimate(slot, self.task.prompt_tokens, depth)
            .total_us()
    }
}

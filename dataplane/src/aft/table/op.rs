//! What becomes of the AFT's operations when a stuck worker keeps them waiting.

use afr_wire::ClassId;

use crate::aft::Op;
use crate::aft::epoch;
use crate::id::{Slot, WorkerId};

/// Operations with the same key may make each other unnecessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coalescing {
    /// Load of an instance.
    Load(Slot),
    /// What a silent instance has done.
    Reckoned(Slot),
    /// A refusal.
    Refused(Slot, ClassId),
    /// A worker's ring position.
    Consumed(WorkerId),
    /// The time.
    Tick,
}

impl epoch::Op for Op {
    type Key = Coalescing;

    /// Residency is a hint with an age. A lost `Stored` costs a prefix that is not reused, a lost `Evicted` one that is
    /// believed until it expires.
    fn droppable(&self) -> bool {
        matches!(self, Self::Stored { .. } | Self::Evicted { .. })
    }

    fn coalescing_key(&self) -> Option<Coalescing> {
        match self {
            Self::Load { slot, .. } => Some(Coalescing::Load(*slot)),
            Self::Reckoned { slot, .. } => Some(Coalescing::Reckoned(*slot)),
            Self::Refused { slot, class, .. } => Some(Coalescing::Refused(*slot, *class)),
            Self::Consumed { worker, .. } => Some(Coalescing::Consumed(*worker)),
            Self::Tick { .. } => Some(Coalescing::Tick),
            // These change what other operations mean, and are as rare as the operator's decisions.
            Self::Config(_)
            | Self::Instance { .. }
            | Self::Remove { .. }
            | Self::Maglev { .. }
            | Self::Cleared { .. }
            | Self::Stored { .. }
            | Self::Evicted { .. } => None,
        }
    }

    fn coalesces_with(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            // Not if it would be taken for old news itself, or if only the earlier one tells the rate.
            (Self::Load { load, .. }, Self::Load { load: earlier, .. }) => {
                load.order > earlier.order
                    && (load.prefill_rate_tokens_s != 0 || earlier.prefill_rate_tokens_s == 0)
            }
            // Of the same report only: one about a report that the table does not hold has no effect, and must not
            // take the place of one that has.
            (Self::Reckoned { order, .. }, Self::Reckoned { order: earlier, .. }) => {
                order == earlier
            }
            (
                Self::Refused { until_us, .. },
                Self::Refused {
                    until_us: earlier, ..
                },
            ) => until_us >= earlier,
            (
                Self::Consumed { position, .. },
                Self::Consumed {
                    position: earlier, ..
                },
            ) => position >= earlier,
            (Self::Tick { now_s }, Self::Tick { now_s: earlier }) => now_s >= earlier,
            _ => false,
        }
    }
}

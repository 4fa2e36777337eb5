//! How much memory a worker's own tables take. All of it is taken at the start, and none is given back.

use crate::path::Own;

/// A table, or several that serve one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Flows and their index.
    Flows,
    /// Signatures that the worker's generation does not include yet.
    Residency,
    /// Loads that it does not include yet.
    Loads,
    /// Keys of senders that are kept, and what MACs are checked in.
    SenderKeys,
    /// Token buckets of sources and classes.
    Admission,
    /// Charged dispatches by session.
    Sessions,
    /// What a decision works in.
    Scratch,
}

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 7] = [
        Self::Flows,
        Self::Residency,
        Self::Loads,
        Self::SenderKeys,
        Self::Admission,
        Self::Sessions,
        Self::Scratch,
    ];

    /// The table's name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Residency => "residency",
            Self::Loads => "loads",
            Self::SenderKeys => "sender_keys",
            Self::Admission => "admission",
            Self::Sessions => "sessions",
            Self::Scratch => "scratch",
        }
    }

    /// Its bytes in `own`.
    #[must_use]
    pub fn bytes_of(self, own: &Own) -> usize {
        match self {
            Self::Flows => own.flows.memory_bytes(),
            Self::Residency => own.residency.memory_bytes(),
            Self::Loads => own.loads.memory_bytes(),
            Self::SenderKeys => {
                own.keys.memory_bytes() + own.verifier.as_deref().map_or(0, size_of_val)
            }
            Self::Admission => own.admit.memory_bytes(),
            Self::Sessions => own.replay.memory_bytes(),
            Self::Scratch => own.scratch.memory_bytes(),
        }
    }
}

/// Bytes that a vector has room for.
pub(crate) const fn room<T>(vector: &Vec<T>) -> usize {
    vector.capacity() * size_of::<T>()
}

//! How much memory a worker's own tables take. All of it is taken at the start, and none is given back.

use crate::path::Own;
use crate::verdict::reasons;

reasons! {
    /// A table, or several that serve one end.
    Table {
        Flows => "flows", "Flows and their index.";
        Residency => "residency", "Signatures that the worker's generation does not include yet.";
        Loads => "loads", "Loads that it does not include yet.";
        SenderKeys => "sender_keys", "Keys of senders that are kept, and what MACs are checked in.";
        Admission => "admission", "Token buckets of sources and classes.";
        Sessions => "sessions", "Charged dispatches by session.";
        Scratch => "scratch", "What a decision works in.";
    }
}

impl Table {
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
            Self::Scratch => own.scratch.memory_bytes() + own.charges.memory_bytes(),
        }
    }
}

/// Bytes that a vector has room for.
pub(crate) const fn room<T>(vector: &Vec<T>) -> usize {
    vector.capacity() * size_of::<T>()
}

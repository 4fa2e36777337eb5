//! The flow table of one worker: which instance each established flow is pinned to.
//!
//! A flow, once dispatched, stays where it is whatever happens to scores, capabilities or weights (per-connection
//! consistency). So this is the first thing asked about every packet, and for most of them the only one: one cache
//! line of the index, one cache line of the entry, both of which a burst prefetches ahead.
//!
//! - [`entry`]: what is kept of a flow, in 64 bytes;
//! - `hash`: of what makes a flow, keyed;
//! - `index`: from hash to entry, cache-line buckets of short tags;
//! - `levels`: indexes of several sizes, so that few flows lie close together;
//! - [`table`]: both together, look-up, insertion, and what gives way when there is no room;
//! - [`aging`]: what happens to flows that nobody speaks on any more, or whose instance is gone.
//!
//! A table belongs to one worker: no lock, no atomic. All memory is taken by [`FlowTable::new`]. The clock is the
//! caller's, in milliseconds that wrap after 49 days ([`crate::id::Now::mono_ms`]), and ages are wrapping differences;
//! every entry is looked at far more often than that by [`FlowTable::sweep`].

mod hash;
mod index;
mod levels;
pub mod entry;
pub mod table;
pub mod aging;

pub use aging::{Aged, Fate, Timeouts};
pub use entry::{FlowEntry, FlowKey, FlowState, Pin};
pub use hash::FlowSeeds;
pub(crate) use hash::upper;
pub use table::{Ahead, Cursor, FlowRef, FlowTable, Inserted};

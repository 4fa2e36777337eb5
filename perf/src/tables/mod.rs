//! Flow tables side by side: ours, `hashbrown`, and DPDK's `rte_hash`, with the same keys in the same order.
//!
//! A look-up is of a burst of [`BURST`] keys and ends at the flow's state, of which a number is read, as the packet path
//! does. Each table prefetches as far as its interface lets it: ours in two steps, `rte_hash` by itself within its bulk
//! call and the states behind it, `hashbrown` not at all. Every number read is added up and compared with what
//! should have come, so that a figure is of look-ups that found the right flow.
//!
//! Tables are made for the number of flows that is then entered: full, as the product's is when it is full.

pub mod contender;
pub mod keys;
pub mod measure;
pub mod report;

/// Keys of a look-up: a burst of the packet path.
pub const BURST: usize = 32;

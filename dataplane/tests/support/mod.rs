//! A small world around the packet path, without EAL: a configuration, a control core of a page, workers, a pool whose
//! buffers come back, frames made by hand, and an independent reader of what leaves.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

pub(crate) mod corpus;
#[cfg(feature = "eal")]
pub(crate) mod device;
pub(crate) mod control_core;
pub(crate) mod hostile;
pub(crate) mod metadata;
pub(crate) mod packet;
pub(crate) mod pcap;
pub(crate) mod pool;
pub(crate) mod setup;
pub(crate) mod walker;
pub(crate) mod world;

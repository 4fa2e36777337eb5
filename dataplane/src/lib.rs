//! The packet path of the Agent Forwarding Router.
//!
//! A worker takes a burst of packets through the stages of [`worker`], in this order:
//!
//! ```text
//! request: parse ─ boundary ─ verify ─ flow hit? ─ no ─ admit ─ match ─ score ─ pin ─ encap ─ tx
//! reply:   parse ─ decap ─ verify report ─ learn ─ strip ─ route ─ tx
//! ```
//!
//! Nothing here does I/O, reads a clock, locks, or (after start) allocates: packets come as any [`packet::PacketBuf`],
//! the time as [`id::Now`], the forwarding state as the current generation of the [`aft::Aft`].

pub mod id;
pub mod config;
pub mod verdict;
pub mod counters;
pub mod memory;
pub mod message;
pub mod packet;
pub mod fingerprint;
pub mod fast;
pub mod request;
pub mod reply;
pub mod flow;
pub mod aft;
pub mod host;
pub mod death;
pub mod clock;
pub mod explain;
mod classify;
mod outs;
pub mod path;
pub mod worker;
pub mod steer;
#[cfg(any(test, feature = "bench-hooks"))]
pub mod bench_hooks;
#[cfg(feature = "eal")]
pub mod dpdk_io;
#[cfg(feature = "eal")]
pub mod handoff;

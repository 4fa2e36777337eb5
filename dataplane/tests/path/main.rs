//! The packet path, topic by topic: what becomes of a packet, what is counted, and every byte that matters of what leaves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

#[path = "../support/mod.rs"]
mod support;

mod buffers;
mod parse;
mod chains;
mod boundary;
mod verify;
mod established;
mod dispatch;
mod policies;
mod peers;
mod charges;
mod residency;
mod death;
mod encap;
mod reply;
mod reports;
mod host;
mod memory;

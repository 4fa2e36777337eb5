//! The reply's way: from an instance to a client, and the news that come with it.
//!
//! [`decap`] ─ [`learn`] (verify report) ─ strip ─ [`route`]

pub mod decap;
pub mod overlay;
pub mod learn;
pub mod route;

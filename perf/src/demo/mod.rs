//! The demo: one workload, three policies, real packets.
//!
//! Each run has a lab of its own (see [`crate::lab`]) with `afrd`, five emulated instances and the load client. The
//! workload, its seed and the instances are the same in all runs; what differs is one class setting of `afrd` and
//! whether clients send metadata. State reports flow in all of them, so that least load has its load.

mod args;
mod cluster;
mod load;
mod accounts;
mod run;
mod outcome;
mod checks;
mod picture;

pub use args::DemoArgs;
pub use outcome::{Check, Outcome, Policy, Quantiles, Results};
pub use picture::draw;
pub use run::{DemoError, Narrator, play};

//! The AFR against real routers, end to end: the same requests, real TCP, real processes, one after the other.
//!
//! | file | is |
//! |---|---|
//! | [`args`] | the command line |
//! | `contender` | who is compared, and how a router is started |
//! | `tools` | routers from PyPI, each in a virtual environment of its own |
//! | `site` | hosts, engines, and the contender between them |
//! | `cpu` | processor time of processes |
//! | `reading` | one run of the load client, and what it cost whom |
//! | `search` | the highest rate held |
//! | `outcome` | results as JSON |
//! | `table` | results for people |
//! | `run` | all of it in turn |
//!
//! Every contender has the same wires: clients' host, a host in the middle, instance hosts. In the middle stands `afrd`, or
//! the kernel as a router (the baseline), or the kernel with a router process on it that clients connect to.

mod args;
mod contender;
mod tools;
mod site;
mod cpu;
mod reading;
mod search;
mod outcome;
mod table;
mod run;

pub use args::{CompareArgs, Phase};
pub use contender::Contender;
pub use outcome::Comparison;
pub use run::{CompareError, compare};
pub use table::tables;

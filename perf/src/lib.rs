//! Lab, emulated cluster, load client, demo, comparison with other routers, throughput harness and test on network cards.

pub mod rng;
pub mod svg;
mod columns;
pub mod answer;
pub mod engine;
pub mod trace;
pub mod trust;
pub mod emulator;
pub mod load;
pub mod lab;
pub mod bench;
#[cfg(feature = "dpdk-benches")]
pub mod tables;
pub mod demo;
pub mod compare;
pub mod nic;

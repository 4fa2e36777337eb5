//! Lab, emulated cluster, load client, demo, throughput harness and test on network cards.

pub mod rng;
pub mod svg;
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
pub mod nic;

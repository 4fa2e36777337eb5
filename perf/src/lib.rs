//! Lab, emulated cluster, load client, demo and throughput harness.

pub mod rng;
pub mod answer;
pub mod engine;
pub mod trace;
pub mod trust;
pub mod emulator;
pub mod load;
pub mod lab;
pub mod bench;
pub mod demo;

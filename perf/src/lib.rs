//! Lab, emulated cluster, load client, demo and throughput harness.

pub mod rng;
pub mod answer;
pub mod engine;
pub mod trace;
pub mod lab;

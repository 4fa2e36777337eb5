//! Lab, emulated cluster, load client, demo and throughput harness.

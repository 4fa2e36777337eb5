//! The control plane of the Agent Forwarding Router: everything but the packets.
//!
//! | module | is |
//! |---|---|
//! | [`config`] | the configuration file: TOML to checked types, every error with its line |
//! | [`registry`] | which instance has which slot, and what a new configuration changes |
//! | [`telemetry`] | what reports tell of an instance, and its silence |
//! | [`control_core`] | the AFT's one writer: from what workers say to the next generation |
//! | [`api`] | what `afrctl` and others ask of a running `afrd` |
//! | [`metrics`] | the same figures for Prometheus, over HTTP |
//! | [`ctl`] | `afrctl` |
//! | `boot` | DPDK, ports and workers, with the feature `eal` |

pub mod config;
pub mod registry;
pub mod telemetry;
pub mod control_core;
pub mod api;
pub mod metrics;
pub mod ctl;
#[cfg(feature = "eal")]
pub mod boot;
#[cfg(test)]
mod testing;

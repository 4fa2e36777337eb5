//! The management side of a running AFR, without EAL: the API over a real socket, the metrics, and `afrctl`, on a real control
//! core and real flow tables.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod lab;
mod lines;
mod commands;
mod flows;
mod explain;
mod limits;
mod hostile;
mod metrics;
mod reload;
mod afrctl;
mod render;

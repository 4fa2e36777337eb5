//! Throughput of one worker on replayed frames, beside `dpdk-testpmd` on the same frames, core and minutes.
//!
//! The frames come from memory ([`net_pcap` with `infinite_rx`][pcap]), what leaves is counted and dropped: no second
//! machine and no NIC. Every program's rate is read from outside, from DPDK's telemetry socket, so all are measured the
//! same way. Machines are shared and noisy: runs take turns, and medians and ratios are what to quote.
//!
//! A figure counts only if it is of what its name says: a sample of the frames goes through the same `afrd` first and
//! what leaves is checked byte by byte ([`check`](mod@check)), and the AFR's own counters must say that as good as
//! every packet took the way that the scenario is about ([`scenario::Case::ways`]).
//!
//! [pcap]: https://doc.dpdk.org/guides/nics/pcap_ring.html

pub mod frames;
pub mod scenario;
pub mod sweep;
mod configuration;
pub mod place;
pub mod program;
mod process;
pub mod telemetry;
pub mod check;
pub mod measure;
pub mod subject;
pub mod run;
pub mod report;
mod chart;
pub mod table;
pub mod ndr;

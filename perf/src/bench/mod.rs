//! Throughput of one worker on replayed frames, beside `dpdk-testpmd` on the same frames, core and minutes.
//!
//! The frames come from memory ([`net_pcap` with `infinite_rx`][pcap]), what leaves is counted and dropped: no second
//! machine and no NIC. Every program's rate is read from outside, from DPDK's telemetry socket, so all are measured the
//! same way. Machines are shared and noisy: runs take turns, and medians and ratios are what to quote.
//!
//! [pcap]: https://doc.dpdk.org/guides/nics/pcap_ring.html

pub mod frames;
pub mod place;
pub mod program;
pub mod report;
pub mod telemetry;

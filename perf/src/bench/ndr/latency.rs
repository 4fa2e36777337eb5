//! How long packets take through a worker, from the histogram that `afrd-bench` writes at its end.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::bench::run::tsc_hz;

/// Percentiles of the time from before a burst is received until what it became is handed to the transmit queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Packets.
    pub packets: u64,
    /// In microseconds: half of the packets took at the most so long.
    pub p50_us: f64,
    /// Likewise 90 of 100,
    pub p90_us: f64,
    /// 99 of 100,
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The slowest.
    pub most_us: f64,
}

#[derive(serde::Deserialize)]
struct Histogram {
    /// Least cycles of a bucket, an eighth wide, and packets in it.
    cycles: Vec<(u64, u64)>,
}

/// Reads a histogram.
///
/// # Errors
///
/// There is none, or it is empty.
pub fn percentiles(file: &Path) -> anyhow::Result<Latency> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let histogram: Histogram = serde_json::from_str(&text)
        .with_context(|| format!("{} is no histogram of afrd-bench", file.display()))?;
    of(&histogram.cycles, tsc_hz()).with_context(|| file.display().to_string())
}

fn of(buckets: &[(u64, u64)], hz: f64) -> anyhow::Result<Latency> {
    let packets: u64 = buckets.iter().map(|(_, count)| count).sum();
    ensure!(packets > 0, "no packet was timed");
    ensure!(hz > 0.0, "the TSC's frequency is not known here");
    let at = |share: f64| {
        let rank = (packets as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        // A bucket's upper end: nothing is made to look faster than it was.
        bucket.map_or(0.0, |(least, _)| *least as f64 * 1.125 / hz * 1e6)
    };
    Ok(Latency {
        packets,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        most_us: at(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_ends_of_their_buckets() {
        let latency = of(&[(800, 89), (1_600, 10), (8_000, 1)], 1e9).unwrap();
        assert_eq!(latency.packets, 100);
        assert!((latency.p50_us - 0.9).abs() < 1e-9);
        assert!((latency.p90_us - 1.8).abs() < 1e-9);
        assert!((latency.p99_us - 1.8).abs() < 1e-9);
        assert!((latency.most_us - 9.0).abs() < 1e-9);
        assert!(of(&[], 1e9).is_err());
    }
}

//! What the throughput harness bends or looks at. Compiled in by the feature `bench-hooks`, which no shipped binary has;
//! even then nothing is different until it is switched on.

// Without the feature only this module's own tests are compiled.
#![cfg_attr(not(feature = "bench-hooks"), allow(dead_code))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::aft::ReportOrder;
use crate::id::Now;

/// Buckets of the histogram to an octave.
const PER_OCTAVE: usize = 8;
const BUCKETS: usize = 64 * PER_OCTAVE;

static FRESH_REPORTS: AtomicBool = AtomicBool::new(false);
static HISTOGRAM: [AtomicU64; BUCKETS] = [const { AtomicU64::new(0) }; BUCKETS];
static TIMES_ROUNDS: AtomicBool = AtomicBool::new(false);

/// From now on a report that was seen before counts as news, sampled a millisecond ago: replayed frames hold the same ones again
/// and again.
pub fn take_seen_reports_for_news() {
    FRESH_REPORTS.store(true, Relaxed);
}

/// From now on rounds are timed: from before their first burst is received until what the last became is transmitted.
pub fn time_rounds() {
    TIMES_ROUNDS.store(true, Relaxed);
}

/// What is to be taken for the last report known, where a report of `order` comes.
#[inline]
pub(crate) fn known(order: ReportOrder, known: ReportOrder) -> ReportOrder {
    if order == known && FRESH_REPORTS.load(Relaxed) {
        ReportOrder::default()
    } else {
        known
    }
}

/// What is to be taken for the date of a report that is dated `sampled_at`: a millisecond ago, where reports seen count as news.
#[inline]
pub(crate) fn sampled_at(sampled_at: u32, now: Now) -> u32 {
    if FRESH_REPORTS.load(Relaxed) {
        (now.unix_ms as u32).wrapping_sub(1)
    } else {
        sampled_at
    }
}

/// Notes that a round of `packets` packets took so many cycles.
#[cfg_attr(not(feature = "eal"), allow(dead_code))] // called from the loop on DPDK
#[inline]
pub(crate) fn took(cycles: u64, packets: usize) {
    if packets != 0 && TIMES_ROUNDS.load(Relaxed) {
        HISTOGRAM[bucket(cycles)].fetch_add(packets as u64, Relaxed);
    }
}

/// The histogram so far: for each bucket that is not empty the least cycles it stands for, and how many packets took
/// so long.
#[must_use]
pub fn histogram() -> Vec<(u64, u64)> {
    let counted = HISTOGRAM.iter().enumerate().filter_map(|(at, count)| {
        let count = count.load(Relaxed);
        (count != 0).then(|| (least_of(at), count))
    });
    counted.collect()
}

/// Eight buckets to an octave: an error of an eighth at the most.
const fn bucket(cycles: u64) -> usize {
    if cycles < PER_OCTAVE as u64 {
        return cycles as usize;
    }
    let octave = cycles.ilog2() as usize;
    let within = (cycles >> (octave - 3)) as usize & (PER_OCTAVE - 1);
    (octave - 2) * PER_OCTAVE + within
}

const fn least_of(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    let octave = bucket / PER_OCTAVE + 2;
    let within = (bucket % PER_OCTAVE) as u64;
    (PER_OCTAVE as u64 + within) << (octave - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_an_eighth_wide() {
        for cycles in (0..5_000).chain([u64::MAX / 3, u64::MAX]) {
            let at = bucket(cycles);
            assert!(at < BUCKETS);
            assert!(least_of(at) <= cycles, "{cycles}");
            assert!(cycles - least_of(at) <= cycles / 8, "{cycles}");
            assert_eq!(bucket(least_of(at)), at, "{cycles}");
        }
    }

    #[test]
    fn nothing_is_bent_until_it_is_asked_for() {
        let order = ReportOrder::new(1, 2);
        assert_eq!(known(order, order), order);
    }
}

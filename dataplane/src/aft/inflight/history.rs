//! What a counter was some time ago: a fine ring for the last half second, a coarse one for the last eight.
//!
//! A sample is one 64-bit word, so that a reader never sees half of one: 28 bits of time in units of 64 µs, 36 bits of the
//! counter. Both are cut off at the top and completed from the reader's idea of the present: time wraps after
//! 4.7 hours, of which a history of eight seconds needs little, and the counter after 68 G tokens, which no instance takes
//! in eight seconds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Time from one sample of the fine ring to the next, in microseconds.
pub const FINE_TICK_US: u64 = UNIT_US << FINE_SHIFT;
/// Samples of the fine ring: half a second.
pub const FINE_SAMPLES: usize = 64;
/// Time from one sample of the coarse ring to the next, in microseconds.
pub const COARSE_TICK_US: u64 = UNIT_US << COARSE_SHIFT;
/// Samples of the coarse ring: 8.4 seconds, more than the skew that reports are allowed.
pub const COARSE_SAMPLES: usize = 64;

const UNIT_US: u64 = 64;
const FINE_SHIFT: u32 = 7;
const COARSE_SHIFT: u32 = 11;
const TIME_BITS: u32 = 28;
const COUNT_BITS: u32 = 64 - TIME_BITS;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// No sample. A real one with these bits is taken for none: one of 2³⁶ values in one of 2²⁸ moments.
const EMPTY: u64 = u64::MAX;

/// One slot's samples.
#[derive(Debug)]
pub(super) struct History {
    fine: [AtomicU64; FINE_SAMPLES],
    coarse: [AtomicU64; COARSE_SAMPLES],
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            fine: [const { AtomicU64::new(EMPTY) }; FINE_SAMPLES],
            coarse: [const { AtomicU64::new(EMPTY) }; COARSE_SAMPLES],
        }
    }

    pub(super) fn clear(&self) {
        for sample in self.fine.iter().chain(&self.coarse) {
            sample.store(EMPTY, Ordering::Relaxed);
        }
    }

    /// Enters the counter's value at `now_us`, the first in a tick only.
    pub(super) fn record(&self, now_us: u64, count: u64) {
        let time = now_us / UNIT_US;
        let sample = (time & TIME_MASK) << COUNT_BITS | count & COUNT_MASK;
        record(&self.fine, FINE_SHIFT, time, sample);
        record(&self.coarse, COARSE_SHIFT, time, sample);
    }

    /// The newest value entered at or before `at_us`, else the oldest there is, else 0. `count` is the counter's value
    /// now.
    pub(super) fn committed_at(&self, at_us: u64, count: u64) -> u64 {
        let time = at_us / UNIT_US;
        // Where the fine ring ends, what is left of its older samples has gaps: the coarse one may know better.
        let newest = [(&self.fine, FINE_SHIFT), (&self.coarse, COARSE_SHIFT)]
            .into_iter()
            .filter_map(|(ring, shift)| newest_until(ring, shift, time))
            .min_by_key(|sample| time.wrapping_sub(sample >> COUNT_BITS) & TIME_MASK);
        let found = newest.or_else(|| oldest(&self.coarse, time));
        found.map_or(0, |sample| {
            let since = count.wrapping_sub(sample & COUNT_MASK) & COUNT_MASK;
            // A sample ahead of `count` was taken after `count` was read, or before the counter was reset.
            let since = if since > COUNT_MASK / 2 { 0 } else { since };
            count.saturating_sub(since)
        })
    }
}

fn record(ring: &[AtomicU64], shift: u32, time: u64, sample: u64) {
    let place = &ring[(time >> shift) as usize % ring.len()];
    let held = place.load(Ordering::Relaxed);
    let same_tick = (held >> COUNT_BITS) >> shift == (time & TIME_MASK) >> shift;
    if held == EMPTY || !same_tick {
        place.store(sample, Ordering::Relaxed);
    }
}

/// Goes back through the ring from the tick of `time`. Where samples are taken in every tick, the first or second place
/// has the answer.
fn newest_until(ring: &[AtomicU64], shift: u32, time: u64) -> Option<u64> {
    let tick = time >> shift;
    (0..(ring.len() as u64).min(tick + 1)).find_map(|back| {
        let tick = tick - back;
        let sample = ring[tick as usize % ring.len()].load(Ordering::Relaxed);
        let taken = sample >> COUNT_BITS;
        // The place may hold a sample of another round of the ring, or one taken later in the tick asked for.
        let of_this_tick = taken >> shift == (tick << shift & TIME_MASK) >> shift;
        let earlier = time.wrapping_sub(taken) & TIME_MASK <= TIME_MASK / 2;
        (sample != EMPTY && of_this_tick && earlier).then_some(sample)
    })
}

fn oldest(ring: &[AtomicU64], time: u64) -> Option<u64> {
    let samples = ring.iter().map(|place| place.load(Ordering::Relaxed));
    samples
        .filter(|sample| *sample != EMPTY)
        .min_by_key(|sample| (sample >> COUNT_BITS).wrapping_sub(time) & TIME_MASK)
}

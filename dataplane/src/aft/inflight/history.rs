//! What a counter was some time ago, in three rings: of the last 65 ms by the millisecond, of the last half second, and of the
//! last eight.
//!
//! A sample is one 64-bit word, so that a reader never sees half of one: 28 bits of time in units of 64 µs, 36 bits of the
//! counter. Both are cut off at the top and completed from the reader's idea of the present: time wraps after
//! 4.7 hours, of which a history of eight seconds needs little, and the counter after 68 G tokens, which no instance takes
//! in eight seconds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Time from one sample of the fine ring to the next, in microseconds. There a sample is left out where nothing has changed
/// since the one before.
pub const FINE_TICK_US: u64 = UNIT_US << FINE_SHIFT;
/// The same of the middle ring.
pub const MIDDLE_TICK_US: u64 = UNIT_US << MIDDLE_SHIFT;
/// The same of the coarse ring.
pub const COARSE_TICK_US: u64 = UNIT_US << COARSE_SHIFT;
/// Samples of each ring: 65 and 524 milliseconds, and 8.4 seconds, more than the skew that reports are allowed.
pub const SAMPLES: usize = 64;

const UNIT_US: u64 = 64;
const FINE_SHIFT: u32 = 4;
const MIDDLE_SHIFT: u32 = 7;
const COARSE_SHIFT: u32 = 11;
/// So far back the fine ring is looked at: the middle one has a sample that is no older, unless samples were late.
const FINE_REACH: u64 = 2 << (MIDDLE_SHIFT - FINE_SHIFT);
const TIME_BITS: u32 = 28;
const COUNT_BITS: u32 = 64 - TIME_BITS;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// No sample. A real one with these bits is taken for none: one of 2³⁶ values in one of 2²⁸ moments.
const EMPTY: u64 = u64::MAX;

type Ring = [AtomicU64; SAMPLES];

/// One slot's samples.
#[derive(Debug)]
pub(super) struct History {
    fine: Ring,
    middle: Ring,
    coarse: Ring,
    /// The newest of them all.
    newest: AtomicU64,
}

impl History {
    pub(super) fn new() -> Self {
        let ring = || [const { AtomicU64::new(EMPTY) }; SAMPLES];
        Self {
            fine: ring(),
            middle: ring(),
            coarse: ring(),
            newest: AtomicU64::new(EMPTY),
        }
    }

    pub(super) fn clear(&self) {
        let rings = [&self.fine, &self.middle, &self.coarse];
        for sample in rings.into_iter().flatten().chain([&self.newest]) {
            sample.store(EMPTY, Ordering::Relaxed);
        }
    }

    /// Enters the counter's value at `now_us`, the first in a tick only; in the fine ring alone where `fine_alone`.
    pub(super) fn record(&self, now_us: u64, count: u64, fine_alone: bool) {
        let time = now_us / UNIT_US;
        let sample = (time & TIME_MASK) << COUNT_BITS | count & COUNT_MASK;
        if record(&self.fine, FINE_SHIFT, time, sample) {
            self.newest.store(sample, Ordering::Relaxed);
        }
        if !fine_alone {
            record(&self.middle, MIDDLE_SHIFT, time, sample);
            record(&self.coarse, COARSE_SHIFT, time, sample);
        }
    }

    /// The newest value entered at or before `at_us`, else the oldest there is, else 0. `count` is the counter's value
    /// now.
    pub(super) fn committed_at(&self, at_us: u64, count: u64) -> u64 {
        let time = at_us / UNIT_US;
        let newest = self.newest.load(Ordering::Relaxed);
        if newest == EMPTY {
            return 0;
        }
        if is_until(newest, time) {
            return complete(newest, count);
        }
        // Where a ring ends, what is left of its older samples has gaps: the coarser one may know better.
        let rings = [
            (&self.fine, FINE_SHIFT, FINE_REACH),
            (&self.middle, MIDDLE_SHIFT, SAMPLES as u64),
            (&self.coarse, COARSE_SHIFT, SAMPLES as u64),
        ];
        let newest = rings
            .into_iter()
            .filter_map(|(ring, shift, reach)| newest_until(ring, shift, reach, time))
            .min_by_key(|sample| time.wrapping_sub(sample >> COUNT_BITS) & TIME_MASK);
        let found = newest.or_else(|| oldest(&self.coarse, time));
        found.map_or(0, |sample| complete(sample, count))
    }
}

/// The counter's value in the sample. `count` is what it is now.
fn complete(sample: u64, count: u64) -> u64 {
    let since = count.wrapping_sub(sample & COUNT_MASK) & COUNT_MASK;
    // A sample ahead of `count` was taken after `count` was read, or before the counter was reset.
    let since = if since > COUNT_MASK / 2 { 0 } else { since };
    count.saturating_sub(since)
}

/// Whether the sample was taken at or before `time`.
fn is_until(sample: u64, time: u64) -> bool {
    time.wrapping_sub(sample >> COUNT_BITS) & TIME_MASK <= TIME_MASK / 2
}

/// Whether the sample is the first in its tick, and was entered.
fn record(ring: &Ring, shift: u32, time: u64, sample: u64) -> bool {
    let place = &ring[(time >> shift) as usize % ring.len()];
    let held = place.load(Ordering::Relaxed);
    let same_tick = (held >> COUNT_BITS) >> shift == (time & TIME_MASK) >> shift;
    let first = held == EMPTY || !same_tick;
    if first {
        place.store(sample, Ordering::Relaxed);
    }
    first
}

/// Goes back through the ring from the tick of `time`, so many ticks. Where samples are taken in every tick, the first or second
/// place has the answer.
fn newest_until(ring: &Ring, shift: u32, reach: u64, time: u64) -> Option<u64> {
    let tick = time >> shift;
    for back in 0..reach.min(tick + 1) {
        let tick = tick - back;
        let sample = ring[tick as usize % ring.len()].load(Ordering::Relaxed);
        let taken = sample >> COUNT_BITS;
        // The place may hold a sample of another round of the ring, or one taken later in the tick asked for.
        let of_this_tick = taken >> shift == (tick << shift & TIME_MASK) >> shift;
        let earlier = is_until(sample, time);
        if sample == EMPTY {
            continue;
        }
        if of_this_tick && earlier {
            return Some(sample);
        }
        if back == 0 && !of_this_tick && !earlier {
            // The ring is a round further: what it had from before `time` is gone.
            return None;
        }
    }
    None
}

fn oldest(ring: &Ring, time: u64) -> Option<u64> {
    let samples = ring.iter().map(|place| place.load(Ordering::Relaxed));
    samples
        .filter(|sample| *sample != EMPTY)
        .min_by_key(|sample| (sample >> COUNT_BITS).wrapping_sub(time) & TIME_MASK)
}

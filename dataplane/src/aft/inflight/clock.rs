//! When a report's sample was taken, on this AFR's clock.
//!
//! Reports are dated by the instance's clock. The offset from that date to the moment of arrival is the difference of the two
//! clocks plus the time the report was on its way; the smallest offset seen comes nearest to the difference alone. A
//! report that arrives with an offset larger by *d* is therefore taken to be *d* old.
//!
//! That tells nothing of a delay that all reports have. So where the calendars of both say that even the freshest report was
//! older than their error may be, they are believed: it was that old ([`ClockTrust`]).
//!
//! Clocks drift (50 ppm are 180 ms an hour), so "smallest seen" must not mean "ever": it is the smallest of the current and
//! the last window of about a minute.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{Now, Slot};

/// Length of a window, as a shift of the monotonic clock's milliseconds: 65.5 s.
const WINDOW_SHIFT: u32 = 16;

/// The smallest offset of one window, or of none: window number plus one in the high half, offset in the low.
type Window = AtomicU64;

/// How far the calendars of instances and AFR are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockTrust {
    /// They differ by so much at the most, in milliseconds: an age up to this may be none.
    pub error_ms: u32,
    /// The freshest report of an instance that lives is not older, in milliseconds: its calendar is wrong.
    pub oldest_ms: u32,
}

impl ClockTrust {
    /// How old the freshest report was that looked this old; the calendars may be either way ahead.
    const fn age_ms(self, looks_ms: u32) -> u32 {
        let is_ahead = looks_ms as i32 <= 0;
        if is_ahead || looks_ms <= self.error_ms || looks_ms > self.oldest_ms {
            0
        } else {
            looks_ms
        }
    }
}

/// Smallest clock offsets by slot. Slots beyond the size have an offset of their own with each report.
#[derive(Debug)]
pub struct ClockMap {
    /// Even and odd windows.
    windows: Vec<[Window; 2]>,
}

impl ClockMap {
    /// For `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            windows: (0..slots).map(|_| Default::default()).collect(),
        }
    }

    /// Takes note of a report dated `sampled_at` (low 32 bits of Unix milliseconds, the instance's clock) that arrived
    /// `now`, and returns when that was, in microseconds of this AFR's monotonic clock; never later than `now`.
    pub fn observe(&self, slot: Slot, sampled_at: u32, now: Now, trust: ClockTrust) -> u64 {
        let offset = offset(sampled_at, now);
        if let Some(windows) = self.windows.get(slot.index()) {
            let number = window_number(now);
            let window = &windows[number as usize % 2];
            let mut held = window.load(Ordering::Relaxed);
            while held >> 32 != u64::from(number) + 1 || is_less(offset, held as u32) {
                let news = (u64::from(number) + 1) << 32 | u64::from(offset);
                match window.compare_exchange_weak(held, news, Ordering::Relaxed, Ordering::Relaxed)
                {
                    Ok(_) => break,
                    Err(other) => held = other,
                }
            }
        }
        self.to_mono_us(slot, sampled_at, now, trust)
    }

    /// The same without taking note.
    #[must_use]
    pub fn to_mono_us(&self, slot: Slot, sampled_at: u32, now: Now, trust: ClockTrust) -> u64 {
        let offset = offset(sampled_at, now);
        let number = u64::from(window_number(now));
        let windows = self.windows.get(slot.index()).into_iter().flatten();
        let smallest = windows
            .map(|window| window.load(Ordering::Relaxed))
            .filter(|held| held >> 32 == number + 1 || (held >> 32 == number && number > 0))
            .map(|held| held as u32)
            .fold(offset, |smallest, held| {
                if is_less(held, smallest) {
                    held
                } else {
                    smallest
                }
            });
        let later_ms = offset.wrapping_sub(smallest);
        let looks_ms = (now.unix_ms as u32).wrapping_sub(sampled_at);
        let age_ms = later_ms.saturating_add(trust.age_ms(looks_ms.wrapping_sub(later_ms)));
        now.mono_us.saturating_sub(u64::from(age_ms) * 1_000)
    }

    /// The slot has a new instance, on another clock.
    pub fn reset(&self, slot: Slot) {
        for window in self.windows.get(slot.index()).into_iter().flatten() {
            window.store(0, Ordering::Relaxed);
        }
    }
}

/// How far this AFR's clock is ahead at the arrival. Only differences of offsets mean anything, so the monotonic
/// clock serves: it is not set back in mid-flight.
const fn offset(sampled_at: u32, now: Now) -> u32 {
    now.mono_ms().wrapping_sub(sampled_at)
}

/// Whether offset `a` is smaller than `b`, on a circle.
const fn is_less(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

const fn window_number(now: Now) -> u32 {
    ((now.mono_us / 1_000) >> WINDOW_SHIFT) as u32
}

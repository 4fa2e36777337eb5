//! From TSC ticks to the time of a burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::id::Now;

/// Fraction bits of microseconds per tick.
const SHIFT: u32 = 40;

/// Turns ticks into [`Now`]. Clones share the wall clock, which the control core sets again from time to time.
#[derive(Debug, Clone)]
pub struct Clock {
    start: u64,
    us_per_tick_q40: u64,
    /// Unix milliseconds at the monotonic clock's zero.
    unix_at_zero_ms: Arc<AtomicU64>,
}

impl Clock {
    /// A clock whose monotonic time is zero at `start` ticks, of a counter of `hz` ticks a second.
    #[must_use]
    pub fn new(start: u64, hz: u64) -> Self {
        let clock = Self {
            start,
            us_per_tick_q40: ((1_000_000_u128 << SHIFT) / u128::from(hz.max(1))) as u64,
            unix_at_zero_ms: Arc::new(AtomicU64::new(0)),
        };
        clock.set_wall(start);
        clock
    }

    /// Microseconds at `ticks`.
    #[inline]
    #[must_use]
    pub fn mono_us(&self, ticks: u64) -> u64 {
        let since = u128::from(ticks.wrapping_sub(self.start));
        ((since * u128::from(self.us_per_tick_q40)) >> SHIFT) as u64
    }

    /// The time at `ticks`.
    #[inline]
    #[must_use]
    pub fn at(&self, ticks: u64) -> Now {
        let mono_us = self.mono_us(ticks);
        Now {
            mono_us,
            unix_ms: self.unix_at_zero_ms.load(Relaxed) + mono_us / 1_000,
        }
    }

    /// Sets the wall clock by the system's, which it is to agree with at `ticks`. Not for a worker: it asks the system.
    pub fn set_wall(&self, ticks: u64) {
        let unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        self.unix_at_zero_ms
            .store(unix_ms.saturating_sub(self.mono_us(ticks) / 1_000), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_microseconds_without_drift() {
        let clock = Clock::new(1_000, 2_450_000_000);
        assert_eq!(clock.mono_us(1_000), 0);
        assert_eq!(clock.mono_us(1_000 + 2_450), 0, "rounded down");
        // A day: the fixed-point factor is off by less than a part in 10^8.
        let day = 86_400 * 2_450_000_000_u64;
        assert!(clock.mono_us(1_000 + day).abs_diff(86_400_000_000) < 1_000);
    }

    #[test]
    fn clones_share_the_wall_clock() {
        let clock = Clock::new(0, 1_000_000);
        let other = clock.clone();
        clock.unix_at_zero_ms.store(5_000, Relaxed);
        assert_eq!(other.at(2_000).unix_ms, 5_002);
        assert_eq!(other.at(2_000).mono_us, 2_000);
    }
}

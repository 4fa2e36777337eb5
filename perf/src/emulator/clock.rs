//! The engine's time: microseconds since the start, faster than real time by a factor.

use std::time::Duration;

use tokio::time::Instant;

/// Converts between the two.
#[derive(Copy, Clone, Debug)]
pub struct EngineClock {
    origin: Instant,
    scale: f64,
}

impl EngineClock {
    /// A clock that begins at 0 now and runs `scale` times as fast as real time.
    #[must_use]
    pub fn start(scale: f64) -> Self {
        Self {
            origin: Instant::now(),
            scale,
        }
    }

    /// Emulated microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        (self.origin.elapsed().as_secs_f64() * self.scale * 1e6) as u64
    }

    /// The real moment at which it is `emulated_us`, rounded up: it is never too early then.
    #[must_use]
    pub fn instant(&self, emulated_us: u64) -> Instant {
        let nanoseconds = (emulated_us as f64 * 1e3 / self.scale).ceil() as u64;
        self.origin + Duration::from_nanos(nanoseconds) + Duration::from_nanos(1)
    }

    /// How many emulated seconds are in a real one.
    #[must_use]
    pub const fn scale(&self) -> f64 {
        self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_ways_agree() {
        for scale in [0.5, 1.0, 7.3] {
            let clock = EngineClock::start(scale);
            assert_eq!(clock.now_us(), 0);
            for us in [1, 999_999, 12_345_678] {
                tokio::time::sleep_until(clock.instant(us)).await;
                let late_us = clock.now_us() - us;
                // Paused time goes on in milliseconds.
                assert!(late_us as f64 <= 1_001.0 * scale, "{late_us} at {scale}");
            }
        }
    }
}

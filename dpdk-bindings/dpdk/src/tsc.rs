//! The processor's time-stamp counter, the one clock of the packet path: read once a burst, then handed on as an
//! argument.
//!
//! Ticks become seconds with `Eal::tsc_hz`.

/// The counter's value, in ticks since some fixed moment: `rdtsc` on x86_64, `cntvct_el0` on aarch64, elsewhere
/// nanoseconds since this function was first called.
///
/// It does not wait for earlier instructions to finish, so it is a clock, not a stopwatch for single instructions.
#[inline(always)]
#[must_use]
pub fn rdtsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86_64 has RDTSC, and Linux leaves it enabled for user programs.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reads a counter that Linux leaves readable for user programs; touches no memory.
        unsafe {
            core::arch::asm!("mrs {0}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
        }
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        portable_ns()
    }
}

/// Ticks a second of [`rdtsc`] where that is known without asking the hardware: on the portable fallback only.
#[cfg(feature = "eal")]
pub(crate) const PORTABLE_HZ: Option<u64> =
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        None
    } else {
        Some(1_000_000_000)
    };

/// Nanoseconds since the first call.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn portable_ns() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START
        .get_or_init(std::time::Instant::now)
        .elapsed()
        .as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one thread both clocks move, and never backwards.
    #[test]
    fn clocks_advance() {
        for clock in [rdtsc, portable_ns] {
            let start = clock();
            let mut last = start;
            while last == start {
                let now = clock();
                assert!(now >= last);
                last = now;
            }
        }
    }
}

//! SIGHUP, SIGINT and SIGTERM as a flag, so that whoever waits stops waiting and everything is tidied up on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether someone asked to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT and SIGTERM raise, in place of ending the process, and SIGHUP when the terminal goes, but for who ignores
    /// that (`nohup`).
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Self::default();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            if signal != SIGHUP || !is_ignored(&fs::read_to_string("/proc/self/status")?, signal) {
                signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
            }
        }
        Ok(flag)
    }

    /// A flag that only [`Interrupt::raise`] raises.
    #[must_use]
    pub fn by_hand() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the process ignores `signal`, by what proc(5) says of it (`/proc/self/status`): a mask in hexadecimal digits, whose
/// lowest bit is of signal 1.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_raises_the_flag_and_the_process_lives_on() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        // The tests may run under nohup.
        let hangs_up = !is_ignored(&status, SIGHUP);
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let interrupt = Interrupt::on_signals().unwrap();
            assert!(!interrupt.is_raised());
            signal_hook::low_level::raise(signal).unwrap();
            let is_raised = interrupt.clone().is_raised();
            assert_eq!(is_raised, signal != SIGHUP || hangs_up, "{signal}");
        }
    }

    #[test]
    fn what_is_ignored_stays_so() {
        let status = "Name:\tafr-bench\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004000\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGINT) && !is_ignored(status, SIGTERM));
        assert!(!is_ignored("", SIGHUP));
    }
}

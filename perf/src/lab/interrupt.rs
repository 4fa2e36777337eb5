//! SIGINT and SIGTERM as a flag, so that whoever waits stops waiting and everything is tidied up on the way out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether someone asked to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT and SIGTERM raise, in place of ending the process.
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_raises_the_flag_and_the_process_lives_on() {
        let interrupt = Interrupt::on_signals().unwrap();
        assert!(!interrupt.is_raised());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(interrupt.clone().is_raised());
    }
}

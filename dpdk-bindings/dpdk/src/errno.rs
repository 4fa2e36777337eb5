//! The operating system's error numbers, as DPDK returns them.

use std::ffi::c_int;
use std::fmt;
use std::io;

/// An error number. Displays as the operating system's text and the number: `No such device (os error 19)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The call, or what it was asked for, does not exist on this device.
    pub const NOT_SUPPORTED: Self = Self(libc::ENOTSUP);
    /// A value is out of the range the device takes.
    pub const INVALID: Self = Self(libc::EINVAL);
    /// It exists already.
    pub const EXISTS: Self = Self(libc::EEXIST);
    /// It is in use.
    pub const BUSY: Self = Self(libc::EBUSY);

    /// `E_RTE_SECONDARY` and `E_RTE_NO_CONFIG` (`rte_errno.h`), which the operating system has no text for.
    const RTE_SECONDARY: i32 = 1001;
    const RTE_NO_CONFIG: i32 = 1002;

    /// The number, positive.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The calling thread's `rte_errno`.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer; has no precondition.
        Self(unsafe { dpdk_sys::dpdk_sys_errno() })
    }

    /// DPDK's usual convention: a negative return value is a negated error number.
    pub(crate) fn check(returned: c_int) -> Result<c_int, Self> {
        if returned < 0 {
            Err(Self(returned.wrapping_neg()))
        } else {
            Ok(returned)
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Self::RTE_SECONDARY => write!(
                f,
                "not allowed in a secondary process (DPDK error {})",
                self.0
            ),
            Self::RTE_NO_CONFIG => {
                write!(f, "DPDK's configuration is missing (DPDK error {})", self.0)
            }
            code => io::Error::from_raw_os_error(code).fmt(f),
        }
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_os_text_and_the_number() {
        assert_eq!(
            Errno(libc::ENODEV).to_string(),
            "No such device (os error 19)"
        );
        assert!(Errno(1001).to_string().contains("secondary process"));
    }

    #[test]
    fn negative_returns_are_negated_numbers() {
        assert_eq!(Errno::check(-libc::EINVAL), Err(Errno::INVALID));
        assert_eq!(Errno::check(3), Ok(3));
    }
}

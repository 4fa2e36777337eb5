//! What can go wrong with a port.

use std::ffi::c_int;
use std::fmt;

use crate::errno::Errno;

/// Why a port could not be found, opened or read.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No port or device has this name.
    #[error("port {device}: no such device; there are {available:?}")]
    NotFound {
        /// The name asked for.
        device: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// The port has an owner in this process.
    #[error("port {device}: already open")]
    AlreadyOpen {
        /// The port.
        device: String,
    },
    /// The device has fewer queues than asked for.
    #[error("port {device}: {asked} {direction} queues asked for; the device has {limit}")]
    TooManyQueues {
        /// The port.
        device: String,
        /// Which queues.
        direction: Direction,
        /// How many were asked for.
        asked: u16,
        /// How many there are.
        limit: u16,
    },
    /// Attaching a device brought no port: it was attached before, or is not an Ethernet device.
    #[error("port {device}: attaching it brought no new port")]
    NoNewPort {
        /// The device's description.
        device: String,
    },
    /// A name or argument holds a NUL byte, which C cannot pass.
    #[error("port {device:?}: the name contains a NUL byte")]
    NulInName {
        /// The name.
        device: String,
    },
    /// A DPDK call failed.
    #[error("port {device}: {call}: {errno}")]
    Call {
        /// The port or device.
        device: String,
        /// The function.
        call: &'static str,
        /// Its reason.
        errno: Errno,
    },
}

/// Which way a queue goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    Receive,
    /// To the device.
    Transmit,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "receive",
            Self::Transmit => "transmit",
        })
    }
}

/// Turns a negative return value into an error that names the device and the call.
pub(crate) fn check(device: &str, call: &'static str, returned: c_int) -> Result<c_int, PortError> {
    Errno::check(returned).map_err(|errno| PortError::Call {
        device: device.to_owned(),
        call,
        errno,
    })
}

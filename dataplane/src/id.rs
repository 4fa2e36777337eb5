//! Indexes and units, each a type of its own so that none is taken for another.

/// A worker (one lcore, one receive queue), counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A configured port, counted from 0 in the order of the configuration (not DPDK's port number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIx(pub u8);

/// A peer AFR's place in [`crate::config::Config::peers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIx(pub u8);

/// A class's place in [`crate::config::Config::classes`], the same in every configuration that has the class. No other
/// class ever gets it: flows and counters of a class that is gone are never taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassIx(pub u16);

/// An instance's slot in the AFT. A slot is given to another instance only under a new [`Incarnation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot as an index.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts the tenants of a slot, so that a flow pinned to an instance that is gone never reaches its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u16);

/// The time of one burst, read once. Every function that needs the time takes it from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds of the monotonic clock since the process started.
    pub mono_us: u64,
    /// Unix time in milliseconds, for freshness of requests and reports.
    pub unix_ms: u64,
}

impl Now {
    /// Milliseconds of the monotonic clock, wrapping after 49 days; compare by wrapping subtraction.
    #[inline]
    #[must_use]
    pub const fn mono_ms(&self) -> u32 {
        (self.mono_us / 1_000) as u32
    }

    /// Unix time in seconds.
    #[inline]
    #[must_use]
    pub const fn unix_s(&self) -> u64 {
        self.unix_ms / 1_000
    }
}

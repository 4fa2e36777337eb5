//! What a port counts and how its link is.

use std::ffi::{c_char, c_uint};

use crate::port::claim::owned;
use crate::port::error::{PortError, check};

/// A port's own counters since it was started or reset, as far as its driver keeps them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Packets dropped by the device because no receive queue had room.
    pub rx_missed: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets that failed to be transmitted.
    pub tx_errors: u64,
    /// Times a receive buffer was wanted and the pool was empty.
    pub rx_no_mbuf: u64,
}

/// The state of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether there is one.
    pub up: bool,
    /// Its speed in Mbit/s; `None` where the driver does not know.
    pub speed_mbps: Option<u32>,
    /// Both ways at once.
    pub full_duplex: bool,
    /// Negotiated, not set.
    pub autonegotiated: bool,
}

/// `rte_eth_stats_get` of a port that exists; one thread at a time.
pub(crate) fn read(id: u16, name: &str) -> Result<Stats, PortError> {
    // SAFETY: integers, for all of which zero is a value.
    let mut raw: dpdk_sys::rte_eth_stats = unsafe { std::mem::zeroed() };
    // SAFETY: DPDK fills the struct it is given.
    check(name, "rte_eth_stats_get", unsafe {
        dpdk_sys::rte_eth_stats_get(id, &raw mut raw)
    })?;
    Ok(Stats {
        rx_packets: raw.ipackets,
        tx_packets: raw.opackets,
        rx_bytes: raw.ibytes,
        tx_bytes: raw.obytes,
        rx_missed: raw.imissed,
        rx_errors: raw.ierrors,
        tx_errors: raw.oerrors,
        rx_no_mbuf: raw.rx_nombuf,
    })
}

/// `rte_eth_xstats_get` of a port that exists, each value with its name; one thread at a time.
pub(crate) fn read_extended(id: u16, name: &str) -> Result<Vec<(String, u64)>, PortError> {
    // SAFETY: with no array to fill, DPDK returns the number of entries.
    let count = unsafe { dpdk_sys::rte_eth_xstats_get_names(id, std::ptr::null_mut(), 0) };
    let count = check(name, "rte_eth_xstats_get_names", count)? as usize;

    let mut names = vec![dpdk_sys::rte_eth_xstat_name { name: [0; _] }; count];
    // SAFETY: DPDK fills at most the number of entries given.
    let filled = unsafe {
        dpdk_sys::rte_eth_xstats_get_names(id, names.as_mut_ptr(), names.len() as c_uint)
    };
    // More than were counted just now: the driver grew, and nothing was filled.
    names.truncate(
        match check(name, "rte_eth_xstats_get_names", filled)? as usize {
            filled if filled <= count => filled,
            _ => 0,
        },
    );

    let mut values = vec![dpdk_sys::rte_eth_xstat { id: 0, value: 0 }; names.len()];
    // SAFETY: DPDK fills at most the number of entries given.
    let filled =
        unsafe { dpdk_sys::rte_eth_xstats_get(id, values.as_mut_ptr(), values.len() as c_uint) };
    values.truncate(match check(name, "rte_eth_xstats_get", filled)? as usize {
        filled if filled <= names.len() => filled,
        _ => 0,
    });

    let named = values.iter().filter_map(|entry| {
        let text: &[c_char] = &names.get(entry.id as usize)?.name;
        // SAFETY: DPDK ends each name with a NUL within its array.
        Some((unsafe { owned(text.as_ptr()) }, entry.value))
    });
    Ok(named.collect())
}

/// `rte_eth_link_get_nowait` of a port that exists; one thread at a time.
pub(crate) fn read_link(id: u16, name: &str) -> Result<Link, PortError> {
    let mut raw = dpdk_sys::dpdk_sys_link {
        speed_mbps: 0,
        is_up: 0,
        is_full_duplex: 0,
        is_autonegotiated: 0,
    };
    // SAFETY: the shim fills the struct it is given.
    check(name, "rte_eth_link_get_nowait", unsafe {
        dpdk_sys::dpdk_sys_eth_link_get_nowait(id, &raw mut raw)
    })?;
    Ok(Link {
        up: raw.is_up != 0,
        speed_mbps: (raw.speed_mbps != u32::MAX).then_some(raw.speed_mbps),
        full_duplex: raw.is_full_duplex != 0,
        autonegotiated: raw.is_autonegotiated != 0,
    })
}

//! What a port is asked for, and what it granted.

use std::ops::BitOr;

use crate::errno::Errno;
use crate::mempool::Mempool;

/// What [`Port::open`](crate::Port::open) sets up.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors a receive queue; the device's nearest possible number is used.
    pub rx_descriptors: u16,
    /// Descriptors a transmit queue; the device's nearest possible number is used.
    pub tx_descriptors: u16,
    /// Where received packets are put.
    pub pool: Mempool,
    /// How packets are spread over the receive queues; `None` leaves them all on the first, unless the device spreads
    /// them by itself.
    pub rss: Option<RssConfig>,
    /// Longest payload of an Ethernet frame, in bytes; `None` leaves DPDK's default of 1,500, or the device's maximum
    /// where that is less.
    pub mtu: Option<u16>,
    /// Receive frames for any MAC address.
    pub promiscuous: bool,
    /// Receive frames for any group (multicast) address.
    pub all_multicast: bool,
    /// Work the device may do.
    pub offloads: Offloads,
}

impl PortConfig {
    /// One queue each way with 1,024 descriptors, buffers from `pool`, and the device's own way for the rest.
    #[must_use]
    pub fn new(pool: Mempool) -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1_024,
            tx_descriptors: 1_024,
            pool,
            rss: None,
            mtu: None,
            promiscuous: false,
            all_multicast: false,
            offloads: Offloads::default(),
        }
    }
}

/// Receive-side scaling: the device hashes parts of each packet and chooses the queue by the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RssConfig {
    /// The parts to hash; those that the device cannot are left out.
    pub hash_types: RssTypes,
    /// The Toeplitz key, of [`Port::rss_key_bytes`](crate::Port::rss_key_bytes) bytes (40 on most devices, 52 on some);
    /// `None` for the driver's own.
    pub key: Option<Vec<u8>>,
}

/// Defines a set of flags as a newtype around DPDK's bits.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$const_doc:meta])* $constant:ident = $bits:expr;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u64);

        impl $name {
            /// None of them.
            pub const NONE: Self = Self(0);
            $($(#[$const_doc])* pub const $constant: Self = Self($bits);)*

            /// DPDK's bits.
            #[must_use]
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// Whether all of `other` are among these.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether there is none.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Those of these whose bits are also in `bits`.
            pub(crate) const fn masked(self, bits: u64) -> Self {
                Self(self.0 & bits)
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

flags! {
    /// Parts of a packet that RSS hashes (`RTE_ETH_RSS_*`).
    RssTypes {
        /// Addresses of IPv6, whatever it carries.
        IPV6 = dpdk_sys::DPDK_SYS_RSS_IPV6
            | dpdk_sys::DPDK_SYS_RSS_FRAG_IPV6
            | dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV6_OTHER
            | dpdk_sys::DPDK_SYS_RSS_IPV6_EX;
        /// Addresses and ports of TCP over IPv6.
        IPV6_TCP = dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV6_TCP | dpdk_sys::DPDK_SYS_RSS_IPV6_TCP_EX;
        /// Addresses and ports of UDP over IPv6.
        IPV6_UDP = dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV6_UDP | dpdk_sys::DPDK_SYS_RSS_IPV6_UDP_EX;
        /// Addresses of IPv4, whatever it carries.
        IPV4 = dpdk_sys::DPDK_SYS_RSS_IPV4
            | dpdk_sys::DPDK_SYS_RSS_FRAG_IPV4
            | dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV4_OTHER;
        /// Addresses and ports of TCP over IPv4.
        IPV4_TCP = dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV4_TCP;
        /// Addresses and ports of UDP over IPv4.
        IPV4_UDP = dpdk_sys::DPDK_SYS_RSS_NONFRAG_IPV4_UDP;
        /// Of the addresses, the source only.
        L3_SRC_ONLY = dpdk_sys::DPDK_SYS_RSS_L3_SRC_ONLY;
        /// Of the addresses, the destination only.
        L3_DST_ONLY = dpdk_sys::DPDK_SYS_RSS_L3_DST_ONLY;
        /// Of the ports, the source only.
        L4_SRC_ONLY = dpdk_sys::DPDK_SYS_RSS_L4_SRC_ONLY;
        /// Of the ports, the destination only.
        L4_DST_ONLY = dpdk_sys::DPDK_SYS_RSS_L4_DST_ONLY;
    }
}

impl RssTypes {
    /// The set with these of DPDK's bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

flags! {
    /// Work a device can do on receiving (`RTE_ETH_RX_OFFLOAD_*`), as far as [`Mbuf`](crate::Mbuf) can show its result.
    RxOffloads {
        /// Check the checksums of IPv4, TCP and UDP; see [`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum).
        CHECKSUM = dpdk_sys::DPDK_SYS_RX_OFFLOAD_IPV4_CKSUM
            | dpdk_sys::DPDK_SYS_RX_OFFLOAD_UDP_CKSUM
            | dpdk_sys::DPDK_SYS_RX_OFFLOAD_TCP_CKSUM;
        /// Deliver the RSS hash; see [`Mbuf::rss_hash`](crate::Mbuf::rss_hash).
        RSS_HASH = dpdk_sys::DPDK_SYS_RX_OFFLOAD_RSS_HASH;
        /// Spread a frame over several buffers when it is longer than one; otherwise it is dropped, or refused by the MTU.
        SCATTER = dpdk_sys::DPDK_SYS_RX_OFFLOAD_SCATTER;
    }
}

flags! {
    /// Work a device can do on transmitting (`RTE_ETH_TX_OFFLOAD_*`).
    ///
    /// `MBUF_FAST_FREE` is not among them: with it a driver puts every buffer into the pool of the first, and here nothing
    /// keeps a program from sending packets of several pools.
    TxOffloads {
        /// Send packets of several segments. Often rules out a driver's fastest path.
        MULTI_SEGMENT = dpdk_sys::DPDK_SYS_TX_OFFLOAD_MULTI_SEGS;
    }
}

/// Work the device is asked to do. What it cannot is left out, and [`Applied`] says what remained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// On receiving.
    pub rx: RxOffloads,
    /// On transmitting.
    pub tx: TxOffloads,
}

/// What became of an optional setting. A refusal does not keep the port from opening: the caller knows whether it can do
/// without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<T> {
    /// It was not asked for.
    NotAsked,
    /// It is in force, with this value.
    Applied(T),
    /// The device does not do it; its own state is in force.
    Refused {
        /// Why: [`Errno::NOT_SUPPORTED`], or what the driver said.
        errno: Errno,
    },
}

impl<T> Setting<T> {
    /// Whether it was asked for and refused.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// What of a [`PortConfig`] the device granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Descriptors a receive queue.
    pub rx_descriptors: u16,
    /// Descriptors a transmit queue.
    pub tx_descriptors: u16,
    /// Work the device does.
    pub offloads: Offloads,
    /// What RSS hashes. Refused with [`Errno::INVALID`] for a key of the wrong length: all packets are on the first queue
    /// then.
    pub rss: Setting<RssTypes>,
    /// The MTU in bytes.
    pub mtu: Setting<u16>,
    /// Promiscuous mode.
    pub promiscuous: Setting<()>,
    /// Frames for all groups.
    pub all_multicast: Setting<()>,
}

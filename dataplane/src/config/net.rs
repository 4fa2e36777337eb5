//! Ports, addresses and routes.

use std::net::Ipv6Addr;

use crate::id::PortIx;

/// An IPv6 prefix. The host bits of `address` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix6 {
    address: u128,
    mask: u128,
    length: u8,
}

impl Prefix6 {
    /// The prefix of `length` bits (0 to 128; more counts as 128) that holds `address`.
    #[must_use]
    pub fn new(address: Ipv6Addr, length: u8) -> Self {
        let length = length.min(128);
        let mask = match length {
            0 => 0,
            length => u128::MAX << (128 - length),
        };
        Self {
            address: u128::from(address) & mask,
            mask,
            length,
        }
    }

    /// Whether `address` lies in the prefix.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: u128) -> bool {
        address & self.mask == self.address
    }

    /// The number of leading bits that matter.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The prefix's first address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.address)
    }
}

/// Whether a port lies inside the trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRole {
    /// Towards instances and other AFRs: reports are believed, decapsulation is allowed.
    Inside,
    /// Towards clients.
    Outside,
}

/// What happens to Agent-Aware Metadata that arrives from beyond the trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundaryAction {
    /// The metadata is removed (never under AH), and the packet dispatched as one without.
    Strip,
    /// The metadata stays and is not acted on.
    Ignore,
    /// The packet is dropped.
    Drop,
    /// The port is a trusted edge: requests are verified and acted on.
    Accept,
}

/// One port.
#[derive(Debug, Clone)]
pub struct Port {
    /// The operator's name of the port.
    pub name: String,
    /// Which side it faces.
    pub role: PortRole,
    /// What happens to metadata of sources outside [`Config::trusted_prefixes`](super::Config::trusted_prefixes).
    pub boundary: BoundaryAction,
    /// The port's own Ethernet address.
    pub mac: [u8; 6],
    /// Largest IPv6 packet the link carries, in bytes.
    pub mtu: u16,
    /// 802.1Q VLAN the port sends in, if any; frames of another VLAN are dropped.
    pub vlan: Option<u16>,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The port it leaves by.
    pub port: PortIx,
    /// The neighbour's Ethernet address.
    pub mac: [u8; 6],
}

/// One static route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Destinations it is for.
    pub prefix: Prefix6,
    /// Where they go.
    pub next_hop: NextHop,
}

/// The AFR's own addresses and constants on the wire.
#[derive(Debug, Clone)]
pub struct Router {
    /// Source of encapsulated packets and ICMPv6 errors; destination of report datagrams.
    pub address: Ipv6Addr,
    /// Segment identifiers at which the AFR decapsulates (End.DT6-like, RFC 8986 §4.6).
    pub sids: Vec<Ipv6Addr>,
    /// Further addresses that the AFR answers Neighbor Solicitations and Echo Requests for.
    pub own_addresses: Vec<Ipv6Addr>,
    /// UDP port of report datagrams.
    pub report_port: u16,
    /// IPv6 option type of the metadata.
    pub option_type: u8,
    /// SRH TLV type of the metadata.
    pub srh_tlv_type: u8,
    /// Hop limit of encapsulated packets.
    pub hop_limit: u8,
    /// Read and strip reports that ride in replies which merely pass through (`transit`).
    pub transit: bool,
    /// Largest TCP MSS let through on SYN segments, in bytes; `None` leaves the option alone.
    pub mss_clamp: Option<u16>,
    /// Port to which packets for the AFR itself that it does not answer are handed (a tap, say).
    pub punt_port: Option<PortIx>,
}

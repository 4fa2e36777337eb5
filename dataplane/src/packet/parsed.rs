//! What parsing finds in a packet: offsets, and what was looked at on the way.

use super::protocol;

/// How an object is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Destination Option.
    DestOption,
    /// Hop-by-Hop option.
    HopByHop,
    /// Segment Routing Header TLV.
    SrhTlv,
}

/// Where an object's data lie in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Offset of the object's data in the frame.
    pub at: u16,
    /// Their length.
    pub len: u16,
    /// Offset in the frame of the header that holds it.
    pub header: u16,
    /// Offset in the frame of the byte that announces that header.
    pub announced_at: u16,
    /// Its carrier.
    pub carrier: Carrier,
}

impl Found {
    /// The object's bytes in `frame`.
    #[inline]
    #[must_use]
    pub fn of<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let at = self.at as usize;
        frame.get(at..at + self.len as usize).unwrap_or(&[])
    }
}

/// The upper layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper {
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flag bits.
        flags: u8,
        /// Bytes of payload.
        payload: u16,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMPv6.
    Icmp6 {
        /// Its type.
        kind: u8,
    },
    /// IPv6 in IPv6.
    Ipv6,
    /// Any other: its ports, if it has any, are not known.
    Other,
    /// A fragment but the atomic one (RFC 6946): its upper layer is not looked at.
    Fragment,
}

/// A routing header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// Its offset in the frame.
    pub at: u16,
    /// Its length.
    pub len: u16,
    /// Offset in the frame of the byte that announces it.
    pub announced_at: u16,
    /// Routing type; 4 is the SRH.
    pub kind: u8,
    /// Segments left.
    pub segments_left: u8,
}

/// A packet whose offsets are known. Once it exists, they lie in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Offset of the IPv6 header: 14, or 18 behind a tag.
    pub l3: u16,
    /// Offset of the upper layer.
    pub l4: u16,
    /// Offset of the byte that holds the upper layer's protocol number.
    pub announced_at: u16,
    /// Length of the IPv6 packet.
    pub ip_len: u16,
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Under an Authentication Header: nothing before it may change.
    pub authenticated: bool,
    /// Source.
    pub source: u128,
    /// Destination as in the IPv6 header.
    pub destination: u128,
    /// Final destination: Segment List\[0\] of an SRH with segments left, else `destination`.
    pub final_destination: u128,
    /// Upper layer.
    pub upper: Upper,
    /// The routing header, if any.
    pub routing: Option<Routing>,
    /// The Request, if any.
    pub request: Option<Found>,
    /// The StateReport, if any.
    pub report: Option<Found>,
    /// An option of our type that is not ours or not of a known version or kind; of several, one that is ours.
    pub foreign: Option<Foreign>,
    /// Where an object of ours is whose version or kind is not known.
    pub unknown: Option<Found>,
    /// Offset in the frame of the first Destination Option that is not recognized, says so by its type that it matters,
    /// and is for the destination in the IPv6 header; 0: there is none.
    pub unrecognized: u16,
}

impl Parsed {
    /// A place for [`super::parse::ipv6_into`] to write to.
    pub const NOTHING: Self = Self {
        l3: 0,
        l4: 0,
        announced_at: 0,
        ip_len: 0,
        protocol: protocol::NONE,
        hop_limit: 0,
        authenticated: false,
        source: 0,
        destination: 0,
        final_destination: 0,
        upper: Upper::Other,
        routing: None,
        request: None,
        report: None,
        foreign: None,
        unknown: None,
        unrecognized: 0,
    };
}

/// Metadata that is not usable as it stands, told from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Another experiment identifier.
    NotOurs,
    /// A version not spoken.
    Version,
    /// A kind not known.
    Kind,
}

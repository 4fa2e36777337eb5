//! Bytes to offsets: Ethernet and 802.1Q, the IPv6 header, a bounded walk of the extension headers, the upper layer.
//!
//! Exits: [`Parsed`], or a [`ParseError`] that names the byte at fault and what RFC 4443 has the AFR say of it. Ports
//! of a later fragment are never read. The packet is not changed.

use afr_wire::EXID;
use afr_wire::carrier::Tlvs;
use afr_wire::option::{Action, OptionError, OptionFault, Options};

use super::bytes::{address, be16, be32, byte};
pub use super::parsed::{Carrier, Foreign, Found, Parsed, Routing, Upper};
pub use super::protocol;
use crate::verdict::DropReason;

/// Extension headers a packet may have.
pub const MAX_EXTENSIONS: usize = 8;
/// Bytes that a packet's extension headers may have together.
pub const MAX_EXTENSION_BYTES: usize = 1_024;

/// Length of the Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Length of the fixed IPv6 header.
pub const IPV6_LEN: usize = 40;

/// Why a packet could not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset} of the IPv6 packet", reason.help())]
pub struct ParseError {
    /// The counted reason.
    pub reason: DropReason,
    /// Offset of the byte at fault, from the IPv6 header (from the frame's start before that).
    pub offset: u16,
    /// Code of the ICMPv6 Parameter Problem that the RFC asks for, if it asks for one.
    pub parameter_problem: Option<u8>,
}

/// What the walk looks for.
#[derive(Debug, Clone, Copy)]
pub struct Types {
    /// Option type of the metadata.
    pub option: u8,
    /// SRH TLV type of the metadata.
    pub tlv: u8,
}

const fn fail(reason: DropReason, offset: usize) -> ParseError {
    ParseError {
        reason,
        offset: offset as u16,
        parameter_problem: None,
    }
}

/// The Ethernet header's verdict: where the IPv6 header is.
///
/// # Errors
///
/// [`DropReason::FrameTruncated`], [`DropReason::VlanForeign`] or [`DropReason::EtherTypeUnsupported`].
#[inline]
pub fn ethernet(frame: &[u8], vlan: Option<u16>) -> Result<usize, ParseError> {
    if frame.len() < ETHERNET_LEN {
        return Err(fail(DropReason::FrameTruncated, frame.len()));
    }
    let mut ethertype = be16(frame, 12);
    let mut l3 = ETHERNET_LEN;
    let mut tag = None;
    if ethertype == 0x8100 {
        if frame.len() < 18 {
            return Err(fail(DropReason::FrameTruncated, frame.len()));
        }
        tag = Some(be16(frame, 14) & 0x0FFF);
        ethertype = be16(frame, 16);
        l3 = 18;
    }
    // VLAN 0 is a priority tag: the frame belongs to no VLAN (IEEE 802.1Q-2022 §9.6).
    if tag.filter(|id| *id != 0) != vlan {
        return Err(fail(DropReason::VlanForeign, ETHERNET_LEN));
    }
    if ethertype != 0x86DD {
        return Err(fail(DropReason::EtherTypeUnsupported, l3 - 2));
    }
    Ok(l3)
}

/// Parses the IPv6 packet that starts at `l3` of `frame`.
///
/// # Errors
///
/// A [`ParseError`] with the reason and the byte.
#[inline]
pub fn ipv6(frame: &[u8], l3: usize, types: Types) -> Result<Parsed, ParseError> {
    let mut parsed = Parsed::NOTHING;
    ipv6_into(frame, l3, types, &mut parsed)?;
    Ok(parsed)
}

/// As [`ipv6`], into `parsed`, which holds anything after an error. In place, because a worker's burst of results is not
/// worth copying.
///
/// # Errors
///
/// As [`ipv6`].
#[inline]
pub fn ipv6_into(
    frame: &[u8],
    l3: usize,
    types: Types,
    parsed: &mut Parsed,
) -> Result<(), ParseError> {
    let Some(packet) = frame.get(l3..).filter(|p| p.len() >= IPV6_LEN) else {
        return Err(fail(DropReason::FrameTruncated, frame.len()));
    };
    if packet[0] >> 4 != 6 {
        return Err(fail(DropReason::Ipv6Version, 0));
    }
    let ip_len = IPV6_LEN + be16(packet, 4) as usize;
    let Some(packet) = packet.get(..ip_len) else {
        return Err(fail(DropReason::Ipv6Length, 4));
    };
    if frame.len() > usize::from(u16::MAX) {
        return Err(fail(DropReason::Ipv6Length, 4));
    }
    parsed.l3 = l3 as u16;
    parsed.ip_len = ip_len as u16;
    parsed.hop_limit = packet[7];
    parsed.authenticated = false;
    parsed.source = address(packet, 8);
    parsed.destination = address(packet, 24);
    parsed.final_destination = parsed.destination;
    parsed.routing = None;
    parsed.request = None;
    parsed.report = None;
    parsed.foreign = None;
    parsed.unknown = None;
    parsed.unrecognized = 0;
    let mut walk = Walk {
        packet,
        l3,
        types,
        parsed,
    };
    if walk.common()? { Ok(()) } else { walk.run() }
}

/// What is known of a packet whose extension headers do not parse: enough to tell its source so. The frame holds the
/// fixed header.
#[must_use]
pub fn header_only(frame: &[u8], l3: usize) -> Parsed {
    let destination = address(frame, l3 + 24);
    let ip_len = (IPV6_LEN + be16(frame, l3 + 4) as usize).min(frame.len().saturating_sub(l3));
    Parsed {
        l3: l3 as u16,
        l4: (l3 + IPV6_LEN) as u16,
        announced_at: (l3 + 6) as u16,
        ip_len: ip_len as u16,
        protocol: byte(frame, l3 + 6),
        hop_limit: byte(frame, l3 + 7),
        source: address(frame, l3 + 8),
        destination,
        final_destination: destination,
        ..Parsed::NOTHING
    }
}

/// RFC 8200 §4.2 for who is the destination of the packet that `parsed` describes: its options are recognized or may be
/// skipped.
///
/// # Errors
///
/// [`DropReason::OptionUnrecognized`], and what is to be said of it.
#[inline]
pub fn destination_options(frame: &[u8], parsed: &Parsed) -> Result<(), ParseError> {
    if parsed.unrecognized == 0 {
        return Ok(());
    }
    let at = parsed.unrecognized as usize;
    let action = Action::of(byte(frame, at));
    unrecognized(action, at - parsed.l3 as usize, parsed.destination)
}

struct Walk<'a> {
    packet: &'a [u8],
    l3: usize,
    types: Types,
    parsed: &'a mut Parsed,
}

impl Walk<'_> {
    /// The two common shapes, in a straight line: TCP or UDP directly behind the fixed header, or behind one Destination
    /// Options header that our object fills. `false`, and nothing found, for every other.
    #[inline(always)]
    fn common(&mut self) -> Result<bool, ParseError> {
        let mut next = self.packet[6];
        let (mut at, mut announced) = (IPV6_LEN, 6);
        let header = self
            .packet
            .get(IPV6_LEN..)
            .and_then(<[u8]>::first_chunk::<8>);
        if next == protocol::DEST_OPTIONS
            && let Some(&[behind, units, kind, data_len, ..]) = header
        {
            let len = (units as usize + 1) * 8;
            let fills = data_len as usize + 4 == len && IPV6_LEN + len <= self.packet.len();
            if kind != self.types.option
                || !fills
                || !matches!(behind, protocol::TCP | protocol::UDP)
            {
                return Ok(false);
            }
            self.object(IPV6_LEN + 4, len - 4, IPV6_LEN, 6, Carrier::DestOption)?;
            (next, at, announced) = (behind, IPV6_LEN + len, IPV6_LEN);
        } else if !matches!(next, protocol::TCP | protocol::UDP) {
            return Ok(false);
        }
        self.finish(next, at, announced);
        self.parsed.upper = upper(self.packet, next, at)?;
        Ok(true)
    }

    /// Notes the upper layer's place.
    #[inline(always)]
    fn finish(&mut self, next: u8, at: usize, announced: usize) {
        self.parsed.protocol = next;
        self.parsed.l4 = (self.l3 + at) as u16;
        self.parsed.announced_at = (self.l3 + announced) as u16;
    }

    #[inline(never)]
    fn run(mut self) -> Result<(), ParseError> {
        let mut at = IPV6_LEN;
        let mut announced = 6;
        let mut next = self.packet[6];
        let mut headers = 0;
        let mut fragment = false;
        loop {
            let len = match next {
                protocol::HOP_BY_HOP if headers != 0 => {
                    return Err(ParseError {
                        parameter_problem: Some(1),
                        ..fail(DropReason::HopByHopMisplaced, announced)
                    });
                }
                protocol::HOP_BY_HOP | protocol::DEST_OPTIONS => {
                    let len = self.length(at, 8, 1)?;
                    self.options(next, at, len, announced)?;
                    len
                }
                protocol::ROUTING => {
                    let len = self.length(at, 8, 1)?;
                    self.routing(at, len, announced)?;
                    len
                }
                protocol::FRAGMENT => {
                    if self.packet.len() < at + 8 {
                        return Err(fail(DropReason::ExtensionTruncated, at));
                    }
                    // Offset 0 and no more fragments: atomic (RFC 6946), as good as none.
                    fragment = be16(self.packet, at + 2) & 0xFFF9 != 0;
                    8
                }
                protocol::AH => {
                    let len = self.length(at, 4, 2)?;
                    self.parsed.authenticated = true;
                    len
                }
                protocol::MOBILITY | protocol::HIP | protocol::SHIM6 => self.length(at, 8, 1)?,
                _ => break,
            };
            headers += 1;
            if headers > MAX_EXTENSIONS {
                return Err(fail(DropReason::ExtensionsTooMany, at));
            }
            next = self.packet[at];
            announced = at;
            at += len;
            if at - IPV6_LEN > MAX_EXTENSION_BYTES {
                return Err(fail(DropReason::ExtensionsTooLong, announced));
            }
            if fragment {
                break;
            }
        }
        self.finish(next, at, announced);
        self.parsed.upper = if fragment {
            Upper::Fragment
        } else {
            upper(self.packet, next, at)?
        };
        Ok(())
    }

    /// The length of the header at `at`, whose second byte counts `unit`s beyond the first `first`.
    #[inline]
    fn length(&self, at: usize, unit: usize, first: usize) -> Result<usize, ParseError> {
        if self.packet.len() < at + 8 {
            return Err(fail(DropReason::ExtensionTruncated, at));
        }
        let len = (self.packet[at + 1] as usize + first) * unit;
        if self.packet.len() < at + len {
            return Err(fail(DropReason::ExtensionTruncated, at + 1));
        }
        Ok(len)
    }

    /// The options of the header of `len` bytes at `start`.
    #[inline]
    fn options(
        &mut self,
        header: u8,
        start: usize,
        len: usize,
        announced: usize,
    ) -> Result<(), ParseError> {
        let first = start + 2;
        for option in Options::new(&self.packet[first..start + len]) {
            let option = option.map_err(|error| fault(error, first))?;
            let data = first + option.offset + 2;
            if option.kind == self.types.option {
                let carrier = carrier_of(header);
                self.object(data, option.data.len(), start, announced, carrier)?;
            } else if header == protocol::HOP_BY_HOP {
                unrecognized(option.action(), data - 2, self.parsed.destination)?;
            } else if option.action() != Action::Skip
                && self.parsed.unrecognized == 0
                && self.parsed.routing.is_none_or(|r| r.segments_left == 0)
            {
                // Behind a routing header with segments left they are the final destination's affair (RFC 8200 §4.1).
                self.parsed.unrecognized = (self.l3 + data - 2) as u16;
            }
        }
        Ok(())
    }

    fn routing(&mut self, at: usize, len: usize, announced: usize) -> Result<(), ParseError> {
        let kind = self.packet[at + 2];
        let segments_left = self.packet[at + 3];
        self.parsed.routing = Some(Routing {
            at: (self.l3 + at) as u16,
            len: len as u16,
            announced_at: (self.l3 + announced) as u16,
            kind,
            segments_left,
        });
        if kind != 4 {
            return Ok(());
        }
        // SRH (RFC 8754 §2): last entry, flags, tag, segment list, TLVs. A reduced list lacks the segment that the
        // destination was at first, so there may be one more left than there are entries (§4.1.1).
        let list = 16 * (self.packet[at + 4] as usize + 1);
        if 8 + list > len || segments_left as usize > list / 16 {
            return Err(ParseError {
                parameter_problem: Some(0),
                ..fail(DropReason::RoutingHeader, at + 3)
            });
        }
        // Without segments left the packet is where it was going, whatever the list says.
        if segments_left != 0 {
            self.parsed.final_destination = address(self.packet, at + 8);
        }
        let first = at + 8 + list;
        for tlv in Tlvs::new(&self.packet[first..at + len]) {
            let tlv = tlv.map_err(|error| fault(error, first))?;
            if tlv.kind == self.types.tlv {
                let data = first + tlv.offset + 2;
                self.object(data, tlv.data.len(), at, announced, Carrier::SrhTlv)?;
            }
        }
        Ok(())
    }

    /// Notes the object of `len` bytes at `at`.
    #[inline(always)]
    fn object(
        &mut self,
        at: usize,
        len: usize,
        header: usize,
        announced: usize,
        carrier: Carrier,
    ) -> Result<(), ParseError> {
        let head = be32(self.packet, at);
        if len < 2 || (head >> 16) as u16 != EXID {
            self.parsed.foreign.get_or_insert(Foreign::NotOurs);
            return Ok(());
        }
        if len < afr_wire::HEAD_LEN {
            return Err(fail(DropReason::MetadataMalformed, at));
        }
        let found = Found {
            at: (self.l3 + at) as u16,
            len: len as u16,
            header: (self.l3 + header) as u16,
            announced_at: (self.l3 + announced) as u16,
            carrier,
        };
        if (head >> 12) & 0xF != u32::from(afr_wire::VERSION) {
            self.parsed.foreign = Some(Foreign::Version);
            self.parsed.unknown = Some(found);
            return Ok(());
        }
        let place = match (head >> 8) & 0xF {
            1 => &mut self.parsed.request,
            2 => &mut self.parsed.report,
            _ => {
                self.parsed.foreign = Some(Foreign::Kind);
                self.parsed.unknown = Some(found);
                return Ok(());
            }
        };
        if place.is_some() {
            return Err(fail(DropReason::MetadataDuplicate, at));
        }
        *place = Some(found);
        Ok(())
    }
}

/// How an option of this header carries its object.
#[inline]
pub(crate) const fn carrier_of(header: u8) -> Carrier {
    if header == protocol::HOP_BY_HOP {
        Carrier::HopByHop
    } else {
        Carrier::DestOption
    }
}

/// The drop that an error of the walk over options that begin at `first` means.
#[cold]
fn fault(error: OptionError, first: usize) -> ParseError {
    let reason = match error.fault {
        OptionFault::TooManyOptions => DropReason::OptionsTooMany,
        _ => DropReason::OptionMalformed,
    };
    fail(reason, first + error.offset)
}

/// RFC 8200 §4.2: what an unrecognized option's type asks for.
fn unrecognized(action: Action, at: usize, destination: u128) -> Result<(), ParseError> {
    let problem = match action {
        Action::Skip => return Ok(()),
        Action::Discard => None,
        Action::DiscardAndReport => Some(2),
        Action::DiscardAndReportUnicast => (destination >> 120 != 0xFF).then_some(2),
    };
    Err(ParseError {
        parameter_problem: problem,
        ..fail(DropReason::OptionUnrecognized, at)
    })
}

/// The upper layer `next` at `at` of a packet.
///
/// # Errors
///
/// [`DropReason::L4Truncated`].
#[inline(always)]
pub(crate) fn upper(packet: &[u8], next: u8, at: usize) -> Result<Upper, ParseError> {
    let left = packet.len() - at;
    match next {
        protocol::TCP => {
            let header = (byte(packet, at + 12) >> 4) as usize * 4;
            if left < 20 || header < 20 || header > left {
                return Err(fail(DropReason::L4Truncated, at));
            }
            Ok(Upper::Tcp {
                source: be16(packet, at),
                destination: be16(packet, at + 2),
                flags: packet[at + 13],
                payload: (left - header) as u16,
            })
        }
        protocol::UDP if left < 8 => Err(fail(DropReason::L4Truncated, at)),
        protocol::UDP => Ok(Upper::Udp {
            source: be16(packet, at),
            destination: be16(packet, at + 2),
        }),
        protocol::ICMP6 if left < 8 => Err(fail(DropReason::L4Truncated, at)),
        protocol::ICMP6 => Ok(Upper::Icmp6 { kind: packet[at] }),
        protocol::IPV6 => Ok(Upper::Ipv6),
        _ => Ok(Upper::Other),
    }
}

//! ICMPv6 (RFC 4443) and Neighbor Discovery (RFC 4861): what the AFR says in its own name.

use super::PacketBuf;
use super::bytes::{address, array, be16, be32, byte, checksum_update, put, upper_layer_checksum};
use super::parse::{ETHERNET_LEN, IPV6_LEN, Parsed, Upper, protocol};

/// Message types.
pub mod kind {
    /// Destination Unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet Too Big.
    pub const TOO_BIG: u8 = 2;
    /// Time Exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter Problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo Request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo Reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbor Solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor Advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
}

/// An error to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Message type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes behind the checksum: MTU, pointer, or zero.
    pub parameter: u32,
}

impl Error {
    /// No route to destination.
    pub const NO_ROUTE: Self = Self::unreachable(0);
    /// Communication administratively prohibited.
    pub const PROHIBITED: Self = Self::unreachable(1);
    /// Address unreachable.
    pub const ADDRESS: Self = Self::unreachable(3);
    /// Hop limit exceeded in transit.
    pub const HOP_LIMIT: Self = Self {
        kind: kind::TIME_EXCEEDED,
        code: 0,
        parameter: 0,
    };

    const fn unreachable(code: u8) -> Self {
        Self {
            kind: kind::UNREACHABLE,
            code,
            parameter: 0,
        }
    }

    /// Packet Too Big.
    #[must_use]
    pub const fn too_big(mtu: u16) -> Self {
        Self {
            kind: kind::TOO_BIG,
            code: 0,
            parameter: mtu as u32,
        }
    }

    /// Parameter Problem.
    #[must_use]
    pub const fn parameter_problem(code: u8, pointer: u16) -> Self {
        Self {
            kind: kind::PARAMETER_PROBLEM,
            code,
            parameter: pointer as u32,
        }
    }
}

/// The smallest MTU of IPv6 (RFC 8200 §5), which no error message exceeds.
const MIN_MTU: usize = 1_280;

/// Makes the frame `len` bytes long, at its end.
pub(super) fn resize<B: PacketBuf>(buf: &mut B, len: usize) -> bool {
    let now = buf.data().len();
    if now >= len {
        buf.truncate(len)
    } else {
        buf.append(len - now).is_some()
    }
}

/// Whether an error about this packet may be sent at all (RFC 4443 §2.4 (e)): not about an ICMPv6 error or redirect,
/// not to a group (but Packet Too Big and Parameter Problem code 2), not to a source that names no single node.
#[must_use]
pub fn may_answer(frame: &[u8], parsed: &Parsed, error: Error) -> bool {
    let unicast_source = parsed.source != 0 && parsed.source >> 120 != 0xFF;
    let multicast = parsed.destination >> 120 == 0xFF || byte(frame, 0) & 1 != 0;
    let exempt =
        error.kind == kind::TOO_BIG || (error.kind == kind::PARAMETER_PROBLEM && error.code == 2);
    let about_error = match parsed.upper {
        Upper::Icmp6 { kind } => kind < 128 || kind == 137,
        _ => false,
    };
    unicast_source && !about_error && (!multicast || exempt)
}

/// Turns the packet in `buf`, whose IPv6 header is at `l3`, into the error about it, from `own` to its source, behind
/// [`ETHERNET_LEN`] bytes that the caller fills: "as much of invoking packet as possible without the ICMPv6 packet
/// exceeding the minimum IPv6 MTU". `false` where the buffer has no room.
pub fn write_error<B: PacketBuf>(buf: &mut B, l3: usize, own: u128, error: Error) -> bool {
    const ADDED: usize = IPV6_LEN + 8;
    let destination = address(buf.data(), l3 + 8);
    let quoted = buf.data().len().saturating_sub(l3).min(MIN_MTU - ADDED);
    // The quoted packet begins at l3; before it come ETHERNET_LEN + ADDED bytes.
    if !buf.truncate(l3 + quoted) || !buf.adj(l3) || buf.prepend(ETHERNET_LEN + ADDED).is_none() {
        return false;
    }
    let data = buf.data_mut();
    let len = (8 + quoted) as u16;
    write_header(data, own, destination, protocol::ICMP6, len, 255);
    let l4 = ETHERNET_LEN + IPV6_LEN;
    put(data, l4, &[error.kind, error.code, 0, 0]);
    put(data, l4 + 4, &error.parameter.to_be_bytes());
    checksum(data, own, destination);
    true
}

/// Fixed IPv6 header behind the Ethernet header's room.
fn write_header(data: &mut [u8], source: u128, destination: u128, next: u8, len: u16, hops: u8) {
    put(data, ETHERNET_LEN, &[0x60, 0, 0, 0]);
    put(data, ETHERNET_LEN + 4, &len.to_be_bytes());
    put(data, ETHERNET_LEN + 6, &[next, hops]);
    put(data, ETHERNET_LEN + 8, &source.to_be_bytes());
    put(data, ETHERNET_LEN + 24, &destination.to_be_bytes());
}

fn checksum(data: &mut [u8], source: u128, destination: u128) {
    let l4 = ETHERNET_LEN + IPV6_LEN;
    put(data, l4 + 2, &[0, 0]);
    let sum = data.get(l4..).map_or(0, |payload| {
        upper_layer_checksum(source, destination, protocol::ICMP6, payload)
    });
    put(data, l4 + 2, &sum.to_be_bytes());
}

/// Turns an Echo Request into its reply, in place, from the address it was sent to, behind [`ETHERNET_LEN`] bytes that
/// the caller fills. Extension headers go. `false` where the packet is no Echo Request. Its checksum is carried on, so
/// that a request that was harmed on the way gives a reply that is refused.
pub fn write_echo_reply<B: PacketBuf>(buf: &mut B, parsed: &Parsed) -> bool {
    let l4 = parsed.l4 as usize;
    let len = parsed.l3 as usize + parsed.ip_len as usize - l4;
    if byte(buf.data(), l4) != kind::ECHO_REQUEST
        || !buf.truncate(l4 + len)
        || !buf.adj(l4)
        || buf.prepend(ETHERNET_LEN + IPV6_LEN).is_none()
    {
        return false;
    }
    let data = buf.data_mut();
    write_header(
        data,
        parsed.destination,
        parsed.source,
        protocol::ICMP6,
        len as u16,
        64,
    );
    let l4 = ETHERNET_LEN + IPV6_LEN;
    put(data, l4, &[kind::ECHO_REPLY]);
    let [request, reply] = [kind::ECHO_REQUEST, kind::ECHO_REPLY].map(|kind| u16::from(kind) << 8);
    let sum = checksum_update(be16(data, l4 + 2), request, reply);
    put(data, l4 + 2, &sum.to_be_bytes());
    true
}

/// The target of a valid Neighbor Solicitation (RFC 4861 §7.1.1), or `None`.
#[must_use]
pub fn solicited(frame: &[u8], parsed: &Parsed) -> Option<u128> {
    let l4 = parsed.l4 as usize;
    let end = parsed.l3 as usize + parsed.ip_len as usize;
    let payload = frame.get(l4..end)?;
    let valid = payload.len() >= 24
        && payload[0] == kind::NEIGHBOR_SOLICITATION
        && payload[1] == 0
        && parsed.hop_limit == 255
        && l4 == parsed.l3 as usize + IPV6_LEN
        && payload[8] != 0xFF
        && upper_layer_checksum(parsed.source, parsed.destination, protocol::ICMP6, payload) == 0
        && options_are_whole(&payload[24..]);
    valid.then(|| address(payload, 8))
}

/// "All included options have a length that is greater than zero."
fn options_are_whole(mut options: &[u8]) -> bool {
    while !options.is_empty() {
        let len = byte(options, 1) as usize * 8;
        match options.get(len..) {
            Some(rest) if len != 0 => options = rest,
            _ => return false,
        }
    }
    true
}

/// Turns a Neighbor Solicitation for `target` into the advertisement of `mac` (RFC 4861 §7.2.4), behind
/// [`ETHERNET_LEN`] bytes that the caller fills. Returns where it goes: the solicitor's Ethernet address, or the
/// all-nodes group where the solicitor is still detecting duplicates.
pub fn write_advertisement<B: PacketBuf>(
    buf: &mut B,
    parsed: &Parsed,
    target: u128,
    mac: [u8; 6],
) -> Option<[u8; 6]> {
    const LEN: usize = 32;
    const ALL_NODES: u128 = 0xff02_0000_0000_0000_0000_0000_0000_0001;
    let solicitor = array(buf.data(), 6);
    let detecting = parsed.source == 0;
    if !buf.adj(parsed.l3 as usize) || buf.prepend(ETHERNET_LEN).is_none() {
        return None;
    }
    if !resize(buf, ETHERNET_LEN + IPV6_LEN + LEN) {
        return None;
    }
    let destination = if detecting { ALL_NODES } else { parsed.source };
    let data = buf.data_mut();
    write_header(data, target, destination, protocol::ICMP6, LEN as u16, 255);
    let l4 = ETHERNET_LEN + IPV6_LEN;
    // Flags: Router, Override, and Solicited unless the answer goes to the group.
    let flags = if detecting { 0xA0 } else { 0xE0 };
    put(
        data,
        l4,
        &[kind::NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0],
    );
    put(data, l4 + 8, &target.to_be_bytes());
    put(data, l4 + 24, &[2, 1]);
    put(data, l4 + 26, &mac);
    checksum(data, target, destination);
    Some(if detecting {
        [0x33, 0x33, 0, 0, 0, 1]
    } else {
        solicitor
    })
}

/// The packet quoted by an ICMPv6 error: its offset in the frame.
#[must_use]
pub fn quoted(frame: &[u8], parsed: &Parsed) -> Option<usize> {
    let at = parsed.l4 as usize + 8;
    let end = parsed.l3 as usize + parsed.ip_len as usize;
    (end >= at + IPV6_LEN && byte(frame, at) >> 4 == 6).then_some(at)
}

/// Turns an ICMPv6 error about an encapsulated packet into one about the packet inside, to that packet's source
/// (RFC 2473 §8.1): a Packet Too Big less the outer header, anything else as address unreachable. `inner` is the
/// offset of the quoted inner packet. `false` where nothing may be said: that packet is cut short, or an error itself, or
/// of no single source.
pub fn write_relayed<B: PacketBuf>(buf: &mut B, parsed: &Parsed, inner: usize, own: u128) -> bool {
    let end = parsed.l3 as usize + parsed.ip_len as usize;
    let data = buf.data();
    let destination = address(data, inner + 8);
    let about_error =
        byte(data, inner + 6) == protocol::ICMP6 && byte(data, inner + IPV6_LEN) < 128;
    if end <= inner + IPV6_LEN || about_error || destination >> 120 == 0xFF || destination <= 1 {
        return false;
    }
    let l4 = parsed.l4 as usize;
    let error = if byte(data, l4) == kind::TOO_BIG {
        let mtu = be32(data, l4 + 4).saturating_sub(IPV6_LEN as u32);
        Error::too_big(mtu.clamp(MIN_MTU as u32, u32::from(u16::MAX)) as u16)
    } else {
        Error::ADDRESS
    };
    buf.truncate(end) && write_error(buf, inner, own, error)
}

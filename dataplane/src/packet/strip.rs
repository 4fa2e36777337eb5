//! Removing metadata from a packet: the whole extension header where nothing else is in it, else what the option or TLV
//! says is overwritten with zeros, which no experiment has for its identifier (padding would be too long for
//! receivers). Transport checksums stay valid either way, for extension headers do not enter them (RFC 8200 §8.1).

use super::PacketBuf;
use super::bytes::{be16, put};
use super::parse::{Carrier, Found, Parsed};

/// What became of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stripped {
    /// The header went; the packet is so many bytes shorter, its IPv6 header as far from the frame's start as before.
    Header(usize),
    /// The bytes were overwritten; the packet is as long as before.
    Blanked,
    /// Nothing was done: the packet is under AH, which the change would break.
    Authenticated,
}

/// Removes `found` from the packet. Offsets in `parsed` are those before; call again after a new parse for another.
pub fn strip<B: PacketBuf>(buf: &mut B, parsed: &Parsed, found: &Found) -> Stripped {
    if parsed.authenticated {
        return Stripped::Authenticated;
    }
    let header = found.header as usize;
    let data = buf.data_mut();
    let header_len = (super::bytes::byte(data, header + 1) as usize + 1) * 8;
    if found.carrier == Carrier::SrhTlv || !alone(data, header, header_len, found) {
        blank(data, found);
        return Stripped::Blanked;
    }
    let l3 = parsed.l3 as usize;
    let next = super::bytes::byte(data, header);
    put(data, found.announced_at as usize, &[next]);
    let payload = be16(data, l3 + 4).saturating_sub(header_len as u16);
    put(data, l3 + 4, &payload.to_be_bytes());
    // The bytes before the header move up over it: they are fewer than those behind it.
    data.copy_within(0..header, header_len);
    buf.adj(header_len);
    Stripped::Header(header_len)
}

/// Whether the header holds nothing but `found` and padding.
fn alone(data: &[u8], header: usize, header_len: usize, found: &Found) -> bool {
    let ours = found.at as usize - 2..found.at as usize + found.len as usize;
    let mut at = header + 2;
    let end = header + header_len;
    while at < end {
        if at == ours.start {
            at = ours.end;
            continue;
        }
        match data.get(at) {
            Some(0) => at += 1,
            Some(1) => at += 2 + super::bytes::byte(data, at + 1) as usize,
            _ => return false,
        }
    }
    true
}

/// Overwrites the object's data, so that it is nobody's: an option or TLV of no experiment.
fn blank(data: &mut [u8], found: &Found) {
    let at = found.at as usize;
    if let Some(bytes) = data.get_mut(at..at + found.len as usize) {
        bytes.fill(0);
    }
}

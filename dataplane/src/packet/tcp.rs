//! TCP: the resets that the AFR originates (RFC 9293 §3.10.7) and the clamp of the MSS option.

use super::PacketBuf;
use super::bytes::{be16, be32, byte, checksum_update, put, upper_layer_checksum};
use super::parse::{ETHERNET_LEN, IPV6_LEN, Parsed, Upper, protocol};

/// Flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// Sequence fields of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, if the ACK flag is to be set.
    pub ack: Option<u32>,
}

/// The reset that answers `segment` (the frame that `parsed` describes): RFC 9293 §3.10.7.1. "If the ACK bit is off,
/// sequence number zero is used, `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`. If the ACK bit is on,
/// `<SEQ=SEG.ACK><CTL=RST>`." `None` where the segment is itself a reset.
#[must_use]
pub fn answer(frame: &[u8], parsed: &Parsed) -> Option<Reset> {
    let Upper::Tcp { flags, payload, .. } = parsed.upper else {
        return None;
    };
    if flags & flag::RST != 0 {
        return None;
    }
    let l4 = parsed.l4 as usize;
    if flags & flag::ACK != 0 {
        return Some(Reset {
            seq: be32(frame, l4 + 8),
            ack: None,
        });
    }
    let len =
        u32::from(payload) + u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
    Some(Reset {
        seq: 0,
        ack: Some(be32(frame, l4 + 4).wrapping_add(len)),
    })
}

/// Addresses and ports of a reset, in its own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Source: the service address.
    pub source: u128,
    /// Destination: the client.
    pub destination: u128,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// Writes a reset as the whole content of `buf`, from the IPv6 header on, behind [`ETHERNET_LEN`] bytes that the
/// caller fills. `false` where the buffer is too small.
pub fn write_reset<B: PacketBuf>(buf: &mut B, ends: &Ends, reset: Reset) -> bool {
    const LEN: usize = ETHERNET_LEN + IPV6_LEN + 20;
    if !super::icmp6::resize(buf, LEN) {
        return false;
    }
    let data = buf.data_mut();
    data.fill(0);
    put(
        data,
        ETHERNET_LEN,
        &[0x60, 0, 0, 0, 0, 20, protocol::TCP, 64],
    );
    put(data, ETHERNET_LEN + 8, &ends.source.to_be_bytes());
    put(data, ETHERNET_LEN + 24, &ends.destination.to_be_bytes());
    let l4 = ETHERNET_LEN + IPV6_LEN;
    put(data, l4, &ends.source_port.to_be_bytes());
    put(data, l4 + 2, &ends.destination_port.to_be_bytes());
    put(data, l4 + 4, &reset.seq.to_be_bytes());
    put(data, l4 + 8, &reset.ack.unwrap_or(0).to_be_bytes());
    let flags = if reset.ack.is_some() {
        flag::RST | flag::ACK
    } else {
        flag::RST
    };
    put(data, l4 + 12, &[5 << 4, flags]);
    let sum = upper_layer_checksum(ends.source, ends.destination, protocol::TCP, &data[l4..]);
    put(data, l4 + 16, &sum.to_be_bytes());
    true
}

/// Lowers the MSS option of a SYN to `limit`. Returns whether it did. Never under AH; a malformed option list is left
/// as it is.
pub fn clamp_mss(frame: &mut [u8], parsed: &Parsed, limit: u16) -> bool {
    let Upper::Tcp { flags, .. } = parsed.upper else {
        return false;
    };
    if flags & flag::SYN == 0 || parsed.authenticated {
        return false;
    }
    let l4 = parsed.l4 as usize;
    let end = l4 + (byte(frame, l4 + 12) >> 4) as usize * 4;
    let mut at = l4 + 20;
    while at < end {
        match byte(frame, at) {
            0 => return false,
            1 => at += 1,
            2 if byte(frame, at + 1) == 4 && at + 4 <= end => {
                let old = be16(frame, at + 2);
                if old <= limit {
                    return false;
                }
                let mut field = be16(frame, l4 + 16);
                if (at - l4).is_multiple_of(2) {
                    field = checksum_update(field, old, limit);
                } else {
                    // The value lies across two of the checksum's words: both change.
                    field = checksum_update(field, old.swap_bytes(), limit.swap_bytes());
                }
                put(frame, at + 2, &limit.to_be_bytes());
                put(frame, l4 + 16, &field.to_be_bytes());
                return true;
            }
            _ => {
                let len = byte(frame, at + 1) as usize;
                if len < 2 {
                    return false;
                }
                at += len;
            }
        }
    }
    false
}

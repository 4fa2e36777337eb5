//! The outer headers: Ethernet with or without tag, IPv6-in-IPv6 (RFC 2473; SRv6 H.Encaps.Red of one segment,
//! RFC 8986 §5.2), traffic class over the tunnel (RFC 2983, RFC 6040), flow label (RFC 6438).

use super::PacketBuf;
use super::bytes::{array, be32, byte, put};
use super::parse::{ETHERNET_LEN, IPV6_LEN, protocol};
use crate::config::EcnMode;

/// The Ethernet header to send under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetOut {
    /// Next hop.
    pub destination: [u8; 6],
    /// The port's own address.
    pub source: [u8; 6],
    /// The port's VLAN.
    pub vlan: Option<u16>,
}

impl EthernetOut {
    /// The header's length.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        if self.vlan.is_some() {
            ETHERNET_LEN + 4
        } else {
            ETHERNET_LEN
        }
    }

    /// A header is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    #[inline(always)]
    fn write(&self, data: &mut [u8]) {
        let Some((addresses, rest)) = data.split_first_chunk_mut::<12>() else {
            return;
        };
        addresses[..6].copy_from_slice(&self.destination);
        addresses[6..].copy_from_slice(&self.source);
        match self.vlan {
            None => put(rest, 0, &[0x86, 0xDD]),
            Some(vlan) => {
                put(rest, 0, &[0x81, 0x00]);
                put(rest, 2, &vlan.to_be_bytes());
                put(rest, 4, &[0x86, 0xDD]);
            }
        }
    }
}

/// The outer IPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// The AFR, as on the wire.
    pub source: [u8; 16],
    /// The far end's SID, as on the wire.
    pub destination: [u8; 16],
    /// Its hop limit.
    pub hop_limit: u8,
    /// 20 bits, a keyed hash of the inner flow.
    pub flow_label: u32,
    /// How ECN crosses.
    pub ecn: EcnMode,
}

/// The version in an IPv6 header's first byte.
const VERSION: u32 = 0x60;

/// Ethernet and outer IPv6 header of everything that goes one way: only traffic class, flow label and length differ from
/// packet to packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct HeaderTemplate([u8; ETHERNET_LEN + IPV6_LEN]);

impl HeaderTemplate {
    /// No headers.
    pub const NONE: Self = Self([0; ETHERNET_LEN + IPV6_LEN]);

    /// Untagged Ethernet from `source_mac` to `destination_mac`, IPv6-in-IPv6 from `source` to `destination`.
    #[must_use]
    pub fn new(
        destination_mac: [u8; 6],
        source_mac: [u8; 6],
        source: [u8; 16],
        destination: [u8; 16],
        hop_limit: u8,
    ) -> Self {
        let mut header = [0; ETHERNET_LEN + IPV6_LEN];
        header[..6].copy_from_slice(&destination_mac);
        header[6..12].copy_from_slice(&source_mac);
        header[12..14].copy_from_slice(&[0x86, 0xDD]);
        header[14] = 0x60;
        header[20] = protocol::IPV6;
        header[21] = hop_limit;
        header[22..38].copy_from_slice(&source);
        header[38..].copy_from_slice(&destination);
        Self(header)
    }

    /// The outer destination, as on the wire.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> [u8; 16] {
        array(&self.0, ETHERNET_LEN + 24)
    }

    /// The next hop's Ethernet address.
    #[inline]
    #[must_use]
    pub fn destination_mac(&self) -> [u8; 6] {
        array(&self.0, 0)
    }

    /// Encapsulates the untagged frame of `ip_len` bytes behind its Ethernet header and decrements the inner hop limit, which the
    /// caller has checked to be above 1. `label` is the flow label where it lies in the header's first four bytes, the first one
    /// lowest. `false`, and nothing changed, where there is no headroom.
    #[inline(always)]
    pub fn encapsulate<B: PacketBuf>(
        &self,
        buf: &mut B,
        ip_len: u16,
        label: u32,
        ecn: EcnMode,
    ) -> bool {
        let Some(head) = buf.prepend_head::<{ ETHERNET_LEN + IPV6_LEN + 8 }>(IPV6_LEN as u16)
        else {
            return false;
        };
        let (header, inner) = head.split_at_mut(ETHERNET_LEN + IPV6_LEN);
        let class = u32::from_le_bytes(array(inner, 0)) & u32::from(ecn as u16);
        inner[7] = inner[7].wrapping_sub(1);
        header.copy_from_slice(&self.0);
        let first = VERSION | class | label;
        header[14..18].copy_from_slice(&first.to_le_bytes());
        header[18..20].copy_from_slice(&ip_len.to_be_bytes());
        true
    }

    /// Gives the untagged frame the template's Ethernet header and decrements its hop limit, which the caller has checked to be
    /// above 1.
    #[inline(always)]
    pub fn readdress<B: PacketBuf>(&self, buf: &mut B) {
        if let Some(frame) = buf.data_mut().first_chunk_mut::<{ ETHERNET_LEN + 8 }>() {
            frame[..12].copy_from_slice(&self.0[..12]);
            frame[21] = frame[21].wrapping_sub(1);
        }
    }
}

/// The outer header's traffic class for an inner one (RFC 6040 §4.1).
#[inline(always)]
const fn outer_class(inner: u8, ecn: EcnMode) -> u8 {
    inner & ((ecn as u16).swap_bytes() >> 4) as u8
}

/// Makes the frame, whose IPv6 packet of `ip_len` bytes begins at `l3`, begin with `ethernet` (and `room` more bytes
/// between). `None` where there is no headroom; the frame is then unchanged but for trailing padding.
#[inline(always)]
fn make_room<B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    ip_len: usize,
    ethernet: &EthernetOut,
    room: usize,
) -> Option<()> {
    if buf.data().len() != l3 + ip_len && !buf.truncate(l3 + ip_len) {
        return None;
    }
    let want = ethernet.len() + room;
    if want > l3 {
        buf.prepend(want - l3)?;
    } else if want < l3 {
        buf.adj(l3 - want);
    }
    ethernet.write(buf.data_mut());
    Some(())
}

/// Gives the frame another Ethernet header. `false` where there is no headroom.
#[inline]
pub fn readdress<B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    ip_len: usize,
    ethernet: &EthernetOut,
) -> bool {
    make_room(buf, l3, ip_len, ethernet, 0).is_some()
}

/// Encapsulates the frame's IPv6 packet. `false` where there is no headroom.
#[inline(always)]
pub fn encapsulate<B: PacketBuf>(
    buf: &mut B,
    l3: usize,
    ip_len: usize,
    ethernet: &EthernetOut,
    outer: &Outer,
) -> bool {
    let class = traffic_class(be32(buf.data(), l3));
    if make_room(buf, l3, ip_len, ethernet, IPV6_LEN).is_none() {
        return false;
    }
    let at = ethernet.len();
    let class = outer_class(class, outer.ecn);
    let first = 6 << 28 | u32::from(class) << 20 | (outer.flow_label & 0xF_FFFF);
    let place = buf
        .data_mut()
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<IPV6_LEN>());
    let Some(header) = place else {
        return false;
    };
    header[..4].copy_from_slice(&first.to_be_bytes());
    header[4..6].copy_from_slice(&(ip_len as u16).to_be_bytes());
    header[6] = protocol::IPV6;
    header[7] = outer.hop_limit;
    header[8..24].copy_from_slice(&outer.source);
    header[24..].copy_from_slice(&outer.destination);
    true
}

/// The traffic class in an IPv6 header's first word.
#[inline]
#[must_use]
pub const fn traffic_class(first: u32) -> u8 {
    (first >> 20) as u8
}

/// The ECN field of the inner header at the end of a tunnel, from both (RFC 6040 §4.2, figure 4); `None`: drop.
#[inline]
#[must_use]
pub const fn decapsulated_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const ECT1: u8 = 1;
    const ECT0: u8 = 2;
    const CE: u8 = 3;
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (ECT0, ECT1) => Some(ECT1),
        (kept, _) => Some(kept),
    }
}

/// Sets the ECN field of the IPv6 header at `l3`.
#[inline]
pub fn set_ecn(frame: &mut [u8], l3: usize, ecn: u8) {
    let second = byte(frame, l3 + 1);
    put(frame, l3 + 1, &[(second & 0xCF) | (ecn & 3) << 4]);
}

/// Lowers the hop limit of the IPv6 header at `l3` by one; the caller has checked that it is above 1.
#[inline]
pub fn decrement_hop_limit(frame: &mut [u8], l3: usize) {
    let hops = byte(frame, l3 + 7).saturating_sub(1);
    put(frame, l3 + 7, &[hops]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6040_figure_4() {
        // Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let columns = [0, 2, 1, 3];
        let table = [
            (0, [Some(0), Some(0), Some(0), None]),
            (2, [Some(2), Some(2), Some(1), Some(3)]),
            (1, [Some(1), Some(1), Some(1), Some(3)]),
            (3, [Some(3), Some(3), Some(3), Some(3)]),
        ];
        for (inner, row) in table {
            for (outer, want) in columns.iter().zip(row) {
                assert_eq!(decapsulated_ecn(inner, *outer), want, "{inner} in {outer}");
            }
        }
    }

    #[test]
    fn ecn_is_written_where_the_traffic_class_has_it() {
        let mut frame = [0x6F, 0xF5, 0x55, 0x55];
        set_ecn(&mut frame, 0, 2);
        assert_eq!(traffic_class(be32(&frame, 0)) & 3, 2);
        assert_eq!(traffic_class(be32(&frame, 0)) >> 2, 0x3F);
        assert_eq!(be32(&frame, 0) & 0xF_FFFF, 0x5_5555);
    }
}

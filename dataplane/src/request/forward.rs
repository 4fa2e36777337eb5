//! Towards the instance: hop limit, MSS, path MTU, the outer header or the Ethernet rewrite; and the refusals.
//!
//! Exits: forwarded; [`DropReason::PacketTooBig`], [`DropReason::NoHeadroom`], [`DropReason::InstanceDead`] where the
//! generation has no path for the slot; refusals with an RST or ICMPv6 error.

use crate::aft::PathKind;
use crate::config::EcnMode;
use crate::counters::Figure;
use crate::flow::Pin;
use crate::id::{ClassIx, PortIx};
use crate::packet::PacketBuf;
use crate::packet::bytes::array;
use crate::packet::encap::{Outer, decrement_hop_limit, encapsulate, readdress};
use crate::packet::icmp6::{self, Error};
use crate::packet::parse::{ETHERNET_LEN, IPV6_LEN, Upper};
use crate::packet::tcp::{self, Ends, Reset};
use crate::path::{Item, Path};
use crate::verdict::{DropReason, MetadataNote, Verdict};

/// The way of one packet.
#[derive(Debug, Clone, Copy)]
struct Way {
    port: PortIx,
    mac: [u8; 6],
    mtu: u16,
    /// The SID and the ECN mode of an encapsulated way.
    tunnel: Option<([u8; 16], EcnMode)>,
}

impl Path<'_> {
    /// Sends the packet where its flow is pinned.
    #[inline]
    pub(crate) fn forward_pinned<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        pin: Pin,
        class: ClassIx,
        hash: u64,
    ) -> Verdict {
        let Some(way) = self.way(pin, class) else {
            return self.refuse(buf, item, DropReason::InstanceDead);
        };
        let parsed = &item.parsed;
        let (l3, ip_len) = (parsed.l3 as usize, parsed.ip_len as usize);
        let added = if way.tunnel.is_some() { IPV6_LEN } else { 0 };
        if ip_len + added > way.mtu as usize {
            let mtu = way.mtu.saturating_sub(added as u16);
            return self.answer_error(buf, item, DropReason::PacketTooBig, Error::too_big(mtu));
        }
        decrement_hop_limit(buf.data_mut(), l3);
        if let Some(limit) = self.config.router.mss_clamp
            && tcp::clamp_mss(buf.data_mut(), parsed, limit)
        {
            self.note(MetadataNote::MssClamped);
        }
        let ethernet = self.ethernet(way.port, way.mac);
        let done = match way.tunnel {
            Some((sid, ecn)) => {
                let outer = Outer {
                    source: self.config.router.address.octets(),
                    destination: sid,
                    hop_limit: self.config.router.hop_limit,
                    flow_label: flow_label(hash),
                    ecn,
                };
                encapsulate(buf, l3, ip_len, &ethernet, &outer)
            }
            None => readdress(buf, l3, ip_len, &ethernet),
        };
        if !done {
            return Verdict::Drop(DropReason::NoHeadroom, None);
        }
        self.own.counters.count(Figure::ForwardedRequest);
        Verdict::Forward(way.port)
    }

    #[inline(always)]
    fn way(&self, pin: Pin, class: ClassIx) -> Option<Way> {
        match pin {
            Pin::Instance(slot, incarnation) => {
                let entry = self.paths.get(slot.index())?;
                if entry.incarnation != incarnation {
                    return None;
                }
                Some(Way {
                    port: entry.port,
                    mac: entry.destination_mac(),
                    mtu: entry.mtu,
                    tunnel: match entry.kind {
                        PathKind::Encap => Some((entry.sid(), entry.ecn)),
                        PathKind::L2 => None,
                        PathKind::None => return None,
                    },
                })
            }
            Pin::Spill => {
                let spill = self.class(class)?.spill?;
                Some(Way {
                    port: spill.next_hop.port,
                    mac: spill.next_hop.mac,
                    mtu: self.port(spill.next_hop.port)?.mtu,
                    tunnel: Some((spill.sid.octets(), EcnMode::Compatibility)),
                })
            }
        }
    }

    /// Refuses a packet so that its sender hears of it: a TCP RST, or an ICMPv6 error.
    pub(crate) fn refuse<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        reason: DropReason,
    ) -> Verdict {
        if let Upper::Tcp { .. } = item.parsed.upper {
            let out = tcp::answer(buf.data(), &item.parsed)
                .and_then(|reset| self.answer_reset(buf, item, reset));
            return Verdict::Drop(reason, out);
        }
        let error = match reason {
            DropReason::AdmitSource | DropReason::AdmitClass | DropReason::Saturated => {
                Error::PROHIBITED
            }
            _ => Error::ADDRESS,
        };
        self.answer_error(buf, item, reason, error)
    }

    /// Turns the packet into the RST that answers it, out of the port it came by.
    pub(crate) fn answer_reset<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        reset: Reset,
    ) -> Option<PortIx> {
        let Upper::Tcp {
            source,
            destination,
            ..
        } = item.parsed.upper
        else {
            return None;
        };
        if !self.own.errors.take(self.now.mono_us) {
            self.note(MetadataNote::ErrorSuppressed);
            return None;
        }
        let ends = Ends {
            source: item.parsed.destination,
            destination: item.parsed.source,
            source_port: destination,
            destination_port: source,
        };
        let back = array(buf.data(), 6);
        if !tcp::write_reset(buf, &ends, reset) {
            return None;
        }
        self.note(MetadataNote::ResetSent);
        self.send_back(buf, item.port, back)
    }

    /// Drops the packet with an ICMPv6 error to its source, out of the port it came by.
    pub(crate) fn answer_error<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        reason: DropReason,
        error: Error,
    ) -> Verdict {
        if !icmp6::may_answer(buf.data(), &item.parsed, error) {
            return Verdict::Drop(reason, None);
        }
        if !self.own.errors.take(self.now.mono_us) {
            self.note(MetadataNote::ErrorSuppressed);
            return Verdict::Drop(reason, None);
        }
        let back = array(buf.data(), 6);
        let (l3, own) = (item.parsed.l3 as usize, self.own_address());
        if !buf.truncate(l3 + item.parsed.ip_len as usize)
            || !icmp6::write_error(buf, l3, own, error)
        {
            return Verdict::Drop(reason, None);
        }
        self.note(MetadataNote::IcmpSent);
        let out = self.send_back(buf, item.port, back);
        Verdict::Drop(reason, out)
    }

    /// Gives a packet that was written behind [`ETHERNET_LEN`] bytes its Ethernet header, and says where it leaves.
    pub(crate) fn send_back<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        port: PortIx,
        destination: [u8; 6],
    ) -> Option<PortIx> {
        let len = buf.data().len().saturating_sub(ETHERNET_LEN);
        let ethernet = self.ethernet(port, destination);
        if !readdress(buf, ETHERNET_LEN, len, &ethernet) {
            return None;
        }
        self.own.counters.count(Figure::Originated);
        Some(port)
    }
}

/// The outer flow label: 19 bits of the flow's keyed hash, the same for all its packets, in the upper half of the labels. So it is
/// never 0, which would mean that there is none (RFC 6437 §3, RFC 6438 §3); Linux makes labels of hashes likewise.
#[inline]
pub(crate) const fn flow_label(hash: u64) -> u32 {
    label_in_place(hash).swap_bytes()
}

/// The same where it lies in a header's first four bytes, the first one lowest.
#[inline(always)]
pub(crate) const fn label_in_place(hash: u64) -> u32 {
    const HASHED: u32 = 0x7_FFFF_u32.swap_bytes();
    const UPPER_HALF: u32 = 0x8_0000_u32.swap_bytes();
    (hash >> 32) as u32 & HASHED | UPPER_HALF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_20_bits_and_is_never_0() {
        assert_eq!(flow_label(0), 0x8_0000);
        assert_eq!(flow_label(0x0000_F0FF_FFFF_FFFF), 0x8_0000);
        assert_eq!(flow_label(u64::MAX), 0xF_FFFF);
        assert_eq!(flow_label(0x5634_1200 << 32), 0xA_3456);
        // Beside version and class, which it leaves alone.
        let first = (0x6F_u32 | 0xF0 << 8 | label_in_place(u64::MAX)).to_le_bytes();
        assert_eq!(first, [0x6F, 0xFF, 0xFF, 0xFF]);
    }
}

//! A tunnelled reply: out of the tunnel, to the client. What news it brings is learned on the way.

use afr_wire::Place;

use super::Tally;
use super::macs::MacCheck;
use super::quick::{Quick, object_in};
use crate::config::Route;
use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::packet::bytes::{address, array, be16, be32};
use crate::packet::encap::traffic_class;
use crate::packet::parse::{ETHERNET_LEN, IPV6_LEN, protocol};
use crate::packet::tcp::flag;
use crate::path::{Path, Target, is_link_local};

/// The ECN field of a traffic class.
const ECN: u8 = 0b11;

/// The way to clients whose addresses have the same upper half.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    half: u64,
    /// Of the Ethernet header that packets leave under the first eight bytes, and the last eight. In words: as bytes it is copied
    /// in other pieces than it is read in, which waits for the copy.
    ethernet: [u64; 2],
    port: PortIx,
    /// The largest packet that the port sends.
    mtu: u16,
}

impl Path<'_> {
    /// Sends the packet on its way if it is such a one. `None`: the whole path is to decide, and the packet is as it was.
    #[inline(always)]
    pub(crate) fn fast_reply<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        quick: &Quick,
        tally: &mut Tally,
    ) -> Option<PortIx> {
        let frame = buf.data();
        // A congestion mark of the tunnel's is for the whole path to carry over.
        if traffic_class(be32(frame, ETHERNET_LEN)) & ECN != 0 {
            return None;
        }
        let source = address(frame, ETHERNET_LEN + 8);
        let has_report = quick.shape.object_len != 0;
        // Whose report it is was told with the MACs, and it is mostly the sender's.
        let sender = if self.macs_checked
            && has_report
            && let Some(reporter) = quick.reporter
        {
            self.aft.slot_behind_near(reporter, source)
        } else {
            self.aft.slot_behind(source)
        }?;
        let inner_at = usize::from(quick.shape.l4);
        let inner = frame.get(inner_at..)?;
        let head = inner.first_chunk::<IPV6_LEN>()?;
        if head[0] >> 4 != 6 || inner.len() != IPV6_LEN + usize::from(be16(head, 4)) || head[7] <= 1
        {
            return None;
        }
        let upper = &inner[IPV6_LEN..];
        match head[6] {
            protocol::UDP if upper.len() >= 8 => {}
            protocol::TCP => {
                let tcp = upper.first_chunk::<20>()?;
                let header_len = usize::from(tcp[12] >> 4) * 4;
                if header_len < 20 || header_len > upper.len() || tcp[13] & flag::SYN != 0 {
                    return None;
                }
            }
            _ => return None,
        }
        if !self.plan.is_service(head[8..].first_chunk::<16>()?) {
            return None;
        }
        let destination = address(head, 24);
        let way = match self.way {
            Some(way) if way.half == upper_half(destination) => way,
            _ => self.way_to(destination)?,
        };
        if inner.len() > usize::from(way.mtu) {
            return None;
        }
        if has_report {
            let report = object_in(frame, &quick.shape)?;
            // Known when the MACs were checked is known still, unless a report was applied since: then learning says.
            let same = if self.macs_checked && !(quick.known && self.learned) {
                quick.known
            } else {
                self.is_applied(sender, report)
            };
            if same {
                tally.same += 1;
            } else if !self.macs_checked {
                return None;
            } else {
                self.mac = quick.mac;
                match quick.reporter {
                    Some(slot) => self.learn_checked(slot, report),
                    None => self.learn(report, Place::InBand),
                }
                self.mac = MacCheck::Unknown;
            }
        }
        let frame = buf.adj_head::<{ ETHERNET_LEN + 8 }>((inner_at - ETHERNET_LEN) as u16)?;
        let [first, last] = way.ethernet.map(u64::to_ne_bytes);
        frame[..8].copy_from_slice(&first);
        frame[ETHERNET_LEN - 8..ETHERNET_LEN].copy_from_slice(&last);
        // It was above 1.
        frame[21] = frame[21].wrapping_sub(1);
        Some(way.port)
    }

    /// The way to a client, if the fast path is for it. It is kept for the next, where the upper half of the address alone
    /// decided.
    #[inline(never)]
    fn way_to(&mut self, destination: u128) -> Option<Way> {
        if destination >> 120 == 0xFF || destination <= 1 || is_link_local(destination) {
            return None;
        }
        let near = self.plan.may_be_own(destination);
        if near && Target::of(self.config, destination) != Target::Elsewhere {
            return None;
        }
        let next_hop = &self.config.route(destination)?.next_hop;
        let port = self.port(next_hop.port)?;
        if port.vlan.is_some() {
            return None;
        }
        let half = upper_half(destination);
        let mut ethernet = [0; ETHERNET_LEN];
        ethernet[..6].copy_from_slice(&next_hop.mac);
        ethernet[6..12].copy_from_slice(&port.mac);
        ethernet[12..].copy_from_slice(&[0x86, 0xDD]);
        let way = Way {
            half,
            ethernet: [0, ETHERNET_LEN - 8].map(|at| u64::from_ne_bytes(array(&ethernet, at))),
            port: next_hop.port,
            mtu: port.mtu,
        };
        let longer = |route: &Route| {
            route.prefix.length() > 64 && upper_half(route.prefix.address().into()) == half
        };
        // Unspecified and loopback have an upper half of 0.
        if !near && half != 0 && !self.config.routes.iter().any(longer) {
            self.way = Some(way);
        }
        Some(way)
    }
}

/// What of an address names its link (RFC 4291 §2.5.1).
#[inline(always)]
const fn upper_half(address: u128) -> u64 {
    (address >> 64) as u64
}

//! Packets to one of the AFR's own SIDs: tunnelled replies (RFC 8986 §4.6, End.DT6), and SRv6 packets that name the
//! AFR as a segment on the way (End with PSP, RFC 8986 §4.1, §4.16.1).
//!
//! Decapsulation is no open door: only from inside ports, and either from a registered instance with an inner source among
//! the service addresses, or from a configured peer (another cluster's AFR that spills) with an inner destination among
//! them. Exits: routed onward, served, or [`DropReason::DecapOutside`], [`DropReason::DecapSource`],
//! [`DropReason::DecapInner`], [`DropReason::DecapPeer`], [`DropReason::DecapMalformed`], [`DropReason::DecapCongestion`],
//! [`DropReason::OptionUnrecognized`], [`DropReason::RoutingHeader`].

use afr_wire::Place;

use crate::classify::flow_key;
use crate::id::PeerIx;
use crate::packet::PacketBuf;
use crate::packet::bytes::{address, be16, be32, byte, put};
use crate::packet::encap::{decapsulated_ecn, set_ecn, traffic_class};
use crate::packet::parse::{self, Parsed, Routing, Upper};
use crate::path::{Item, Path, Target};
use crate::verdict::{DropReason, MetadataNote, Verdict};

impl Path<'_> {
    /// Takes a packet addressed to an own SID.
    pub(crate) fn at_sid<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item) -> Verdict {
        if !self.is_inside(item.port) {
            return Verdict::Drop(DropReason::DecapOutside, None);
        }
        if let Err(error) = parse::destination_options(buf.data(), &item.parsed) {
            return self.unrecognized(buf, item, error);
        }
        if let Some(found) = item.parsed.report
            && self.is_instance(item.parsed.source)
        {
            self.learn(found.of(buf.data()), Place::InBand);
        }
        match item.parsed.routing {
            Some(routing) if routing.segments_left != 0 => self.end_psp(buf, item, routing),
            _ => self.decapsulate(buf, item),
        }
    }

    /// Whether `source` is what a registered instance encapsulates from, or (in an SRv6 packet that was not
    /// encapsulated) one of the service addresses.
    fn is_instance(&self, source: u128) -> bool {
        self.aft.slot_by_tunnel_source(source.into()).is_some()
            || Target::of(self.config, source).is_service()
    }

    /// Where a packet goes that was in a tunnel or had the AFR as a segment: to a service of ours, to the AFR itself, or
    /// routed. Another own SID is no way to go on: nothing has the AFR twice.
    fn onward<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item) -> Verdict {
        item.target = Target::of(self.config, item.parsed.destination);
        match item.target {
            Target::Service(_) | Target::Generic | Target::UnknownClass => {
                item.key = flow_key(&item.parsed);
                item.hash = self.own.flows.hash(&item.key);
                self.at_service(buf, item)
            }
            Target::Own => self.at_host(buf, item),
            Target::Sid => Verdict::Drop(DropReason::DecapMalformed, None),
            Target::Group | Target::Elsewhere => self.deliver(buf, item),
        }
    }

    fn decapsulate<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item) -> Verdict {
        if item.parsed.upper != Upper::Ipv6 {
            return Verdict::Drop(DropReason::DecapMalformed, None);
        }
        let source = item.parsed.source.into();
        let peer = if self.aft.slot_by_tunnel_source(source).is_some() {
            None
        } else if let Some(peer) = self.config.peer_at(source) {
            Some(peer)
        } else {
            return Verdict::Drop(DropReason::DecapSource, None);
        };
        let (l3, ip_len) = (item.parsed.l3 as usize, item.parsed.ip_len as usize);
        let outer_class = traffic_class(be32(buf.data(), l3));
        let inner_at = item.parsed.l4 as usize;
        // Padding of the frame is no part of the inner packet.
        if !buf.truncate(l3 + ip_len) {
            return Verdict::Drop(DropReason::DecapMalformed, None);
        }
        let inner = match parse::ipv6(buf.data(), inner_at, self.types()) {
            Ok(inner) => inner,
            Err(error) => {
                return Verdict::Drop(
                    if error.reason == DropReason::FrameTruncated {
                        DropReason::DecapMalformed
                    } else {
                        error.reason
                    },
                    None,
                );
            }
        };
        if let Err(reason) = self.may_hold(peer, &inner) {
            return Verdict::Drop(reason, None);
        }
        let inner_class = traffic_class(be32(buf.data(), inner_at));
        let Some(ecn) = decapsulated_ecn(inner_class, outer_class) else {
            return Verdict::Drop(DropReason::DecapCongestion, None);
        };
        if ecn != inner_class & 3 {
            set_ecn(buf.data_mut(), inner_at, ecn);
        }
        item.parsed = inner;
        if peer.is_some() {
            self.note(MetadataNote::FromPeer);
            item.peer = peer;
        }
        self.onward(buf, item)
    }

    /// Whether the tunnel of a peer, or of an instance, may hold this packet.
    fn may_hold(&self, peer: Option<PeerIx>, inner: &Parsed) -> Result<(), DropReason> {
        let is_service = |address| Target::of(self.config, address).is_service();
        let from_service = is_service(inner.source);
        if peer.is_none() {
            return if from_service {
                Ok(())
            } else {
                Err(DropReason::DecapInner)
            };
        }
        if from_service || !is_service(inner.destination) {
            return Err(DropReason::DecapPeer);
        }
        // As for every packet of a client: no group, not unspecified, not loopback.
        if inner.source >> 120 == 0xFF || inner.source <= 1 {
            return Err(DropReason::SourceInvalid);
        }
        Ok(())
    }

    /// The AFR is a segment on the way: the next one becomes the destination, and the last takes the SRH with it.
    fn end_psp<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item, routing: Routing) -> Verdict {
        let refused = Verdict::Drop(DropReason::RoutingHeader, None);
        let (l3, at) = (item.parsed.l3 as usize, routing.at as usize);
        if routing.kind != 4 || item.parsed.authenticated || !self.is_instance(item.parsed.source) {
            return refused;
        }
        let left = routing.segments_left - 1;
        let next = address(buf.data(), at + 8 + 16 * left as usize);
        let data = buf.data_mut();
        put(data, l3 + 24, &next.to_be_bytes());
        put(data, at + 3, &[left]);
        if left == 0 {
            let len = routing.len as usize;
            let protocol = byte(data, at);
            put(data, routing.announced_at as usize, &[protocol]);
            let payload = be16(data, l3 + 4).saturating_sub(len as u16);
            put(data, l3 + 4, &payload.to_be_bytes());
            data.copy_within(0..at, len);
            buf.adj(len);
        }
        match parse::ipv6(buf.data(), l3, self.types()) {
            Ok(parsed) => {
                item.parsed = parsed;
                self.onward(buf, item)
            }
            Err(_) => refused,
        }
    }
}

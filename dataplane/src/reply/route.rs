//! The reply's last stretch: read what rides in it where that is configured, strip every trace of metadata before the
//! trust domain ends, and send it to the next hop.
//!
//! Exits: forwarded; [`DropReason::TransitOutside`], [`DropReason::SourceInvalid`], [`DropReason::DestinationInvalid`],
//! [`DropReason::HopLimit`], [`DropReason::NoRoute`], [`DropReason::PacketTooBig`], [`DropReason::NoHeadroom`].

use afr_wire::Place;

use crate::config::PortRole;
use crate::counters::Figure;
use crate::packet::PacketBuf;
use crate::packet::encap::{decrement_hop_limit, readdress};
use crate::packet::icmp6::Error;
use crate::packet::tcp;
use crate::path::{Item, Path, Target, is_link_local};
use crate::verdict::{DropReason, MetadataNote, Verdict};

impl Path<'_> {
    /// Takes a packet that passes through: neither for a service nor for the AFR.
    pub(crate) fn transit<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item) -> Verdict {
        if !self.is_inside(item.port) {
            return Verdict::Drop(DropReason::TransitOutside, None);
        }
        self.deliver(buf, item)
    }

    /// Routes the packet whose offsets `item` holds, from inside the trust domain.
    pub(crate) fn deliver<B: PacketBuf>(&mut self, buf: &mut B, item: &mut Item) -> Verdict {
        if is_link_local(item.parsed.source) {
            return Verdict::Drop(DropReason::SourceInvalid, None);
        }
        // Neither unspecified nor loopback (RFC 4291 §2.5.2, §2.5.3): a tunnel may hold a packet to these.
        let destination = item.parsed.destination;
        if is_link_local(destination) || destination <= 1 || item.target == Target::Group {
            return Verdict::Drop(DropReason::DestinationInvalid, None);
        }
        let of_service = Target::of(self.config, item.parsed.source).is_service();
        if let Some(found) = item.parsed.report
            && self.config.router.transit
        {
            if of_service {
                self.learn(found.of(buf.data()), Place::InBand);
            } else {
                self.note(MetadataNote::ReportOutside);
            }
        }
        if item.parsed.hop_limit <= 1 {
            return self.answer_error(buf, item, DropReason::HopLimit, Error::HOP_LIMIT);
        }
        let Some(route) = self.config.route(item.parsed.destination) else {
            return self.answer_error(buf, item, DropReason::NoRoute, Error::NO_ROUTE);
        };
        let next_hop = route.next_hop;
        let Some((role, mtu)) = self.port(next_hop.port).map(|port| (port.role, port.mtu)) else {
            return Verdict::Drop(DropReason::NoRoute, None);
        };
        if role == PortRole::Outside {
            self.strip_all(buf, &mut item.parsed);
        }
        let (l3, ip_len) = (item.parsed.l3 as usize, item.parsed.ip_len as usize);
        if ip_len > mtu as usize {
            return self.answer_error(buf, item, DropReason::PacketTooBig, Error::too_big(mtu));
        }
        decrement_hop_limit(buf.data_mut(), l3);
        // What an instance says it can take goes through the tunnel to it.
        if of_service
            && let Some(limit) = self.config.router.mss_clamp
            && tcp::clamp_mss(buf.data_mut(), &item.parsed, limit)
        {
            self.note(MetadataNote::MssClamped);
        }
        let ethernet = self.ethernet(next_hop.port, next_hop.mac);
        if !readdress(buf, l3, ip_len, &ethernet) {
            return Verdict::Drop(DropReason::NoHeadroom, None);
        }
        self.own.counters.count(Figure::ForwardedReply);
        Verdict::Forward(next_hop.port)
    }
}

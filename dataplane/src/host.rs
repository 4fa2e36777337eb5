//! What is addressed to the AFR itself, or concerns it: Neighbor Solicitations, Echo Requests, report datagrams, and
//! ICMPv6 errors about packets it encapsulated or replies it forwarded.
//!
//! Exits: punted, with the answer in the same buffer; handed to the punt port; [`DropReason::PuntUnavailable`], [`DropReason::GroupUnattended`],
//! [`DropReason::IcmpUnmatched`], [`DropReason::OptionUnrecognized`], [`DropReason::MetadataOutside`] for report datagrams
//! from outside.

use afr_wire::Place;

use crate::flow::FlowKey;
use crate::packet::PacketBuf;
use crate::packet::bytes::{address, array, be16, byte, upper_layer_checksum};
use crate::packet::icmp6::{self, kind};
use crate::packet::parse::{self, IPV6_LEN, ParseError, Upper, protocol};
use crate::path::{Item, Path, Target};
use crate::verdict::{DropReason, MetadataNote, PuntReason, Verdict};

/// Length of the UDP header.
const UDP_LEN: usize = 8;

impl Path<'_> {
    /// Takes a packet to an own address or a group.
    pub(crate) fn at_host<B: PacketBuf>(&mut self, buf: &mut B, item: &Item) -> Verdict {
        // Groups are many others' too, and most are not the AFR's.
        if item.target != Target::Group
            && let Err(error) = parse::destination_options(buf.data(), &item.parsed)
        {
            return self.unrecognized(buf, item, error);
        }
        match item.parsed.upper {
            Upper::Icmp6 {
                kind: kind::NEIGHBOR_SOLICITATION,
            } => self.neighbor(buf, item),
            Upper::Icmp6 {
                kind: kind::ECHO_REQUEST,
            } if item.target == Target::Own => self.echo(buf, item),
            Upper::Icmp6 { kind: 0..=127 } if item.target == Target::Own => {
                self.relay_error(buf, item)
            }
            Upper::Udp { destination, .. }
                if item.target == Target::Own && destination == self.config.router.report_port =>
            {
                self.report_datagram(buf, item)
            }
            _ => self.punt(buf, item),
        }
    }

    /// Drops a packet to the AFR itself with an option that it may not ignore; where RFC 8200 §4.2 asks for it, with a
    /// Parameter Problem.
    #[cold]
    pub(crate) fn unrecognized<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        error: ParseError,
    ) -> Verdict {
        match error.parameter_problem {
            None => Verdict::Drop(error.reason, None),
            Some(code) => {
                let problem = icmp6::Error::parameter_problem(code, error.offset);
                self.answer_error(buf, item, error.reason, problem)
            }
        }
    }

    fn neighbor<B: PacketBuf>(&mut self, buf: &mut B, item: &Item) -> Verdict {
        let mine =
            |target: u128| matches!(Target::of(self.config, target), Target::Own | Target::Sid);
        let Some(target) = icmp6::solicited(buf.data(), &item.parsed).filter(|t| mine(*t)) else {
            return self.punt(buf, item);
        };
        let mac = self.port(item.port).map_or([0; 6], |port| port.mac);
        let out = icmp6::write_advertisement(buf, &item.parsed, target, mac)
            .and_then(|to| self.send_back(buf, item.port, to));
        Verdict::Punt(PuntReason::Neighbor, out)
    }

    /// Answers an Echo Request to an own or a service address.
    pub(crate) fn echo<B: PacketBuf>(&mut self, buf: &mut B, item: &Item) -> Verdict {
        if !self.own.errors.take(self.now.mono_us) {
            self.note(MetadataNote::ErrorSuppressed);
            return Verdict::Punt(PuntReason::Echo, None);
        }
        let back = array(buf.data(), 6);
        let out = if icmp6::write_echo_reply(buf, &item.parsed) {
            self.send_back(buf, item.port, back)
        } else {
            None
        };
        Verdict::Punt(PuntReason::Echo, out)
    }

    fn report_datagram<B: PacketBuf>(&mut self, buf: &B, item: &Item) -> Verdict {
        if !self.is_inside(item.port) {
            self.note(MetadataNote::ReportOutside);
            return Verdict::Drop(DropReason::MetadataOutside, None);
        }
        let from = item.parsed.l4 as usize + UDP_LEN;
        let to = item.parsed.l3 as usize + item.parsed.ip_len as usize;
        let valid = is_whole_datagram(buf.data(), item);
        match buf.data().get(from..to).filter(|_| valid) {
            Some(bytes) => self.learn(bytes, Place::Datagram),
            None => self.note(MetadataNote::ReportMalformed),
        }
        Verdict::Punt(PuntReason::Report, None)
    }

    /// An ICMPv6 error to the encapsulation source is about the packet inside (RFC 2473 §8), whose sender is told. Only
    /// of what the AFR may have encapsulated: else anybody could have it send errors in its own name to anybody.
    fn relay_error<B: PacketBuf>(&mut self, buf: &mut B, item: &Item) -> Verdict {
        let frame = buf.data();
        let about = icmp6::quoted(frame, &item.parsed)
            .filter(|outer| byte(frame, outer + 6) == protocol::IPV6)
            .filter(|outer| address(frame, outer + 8) == self.own_address());
        let Some(outer) = about else {
            return self.punt(buf, item);
        };
        let unmatched = Verdict::Drop(DropReason::IcmpUnmatched, None);
        let inner = outer + IPV6_LEN;
        let to_service = Target::of(self.config, address(frame, inner + 24)).is_service();
        if !self.is_inside(item.port) || !to_service {
            return unmatched;
        }
        let Some(route) = self.config.route(address(frame, inner + 8)) else {
            return unmatched;
        };
        if !self.own.errors.take(self.now.mono_us) {
            self.note(MetadataNote::ErrorSuppressed);
            return unmatched;
        }
        let own = self.own_address();
        if !icmp6::write_relayed(buf, &item.parsed, inner, own) {
            return unmatched;
        }
        self.note(MetadataNote::IcmpSent);
        let out = self.send_back(buf, route.next_hop.port, route.next_hop.mac);
        Verdict::Punt(PuntReason::TunnelError, out)
    }

    /// An ICMPv6 error to a service address is about a reply: it goes to the instance that sent it, which the flow of
    /// the quoted packet tells.
    pub(crate) fn error_about_reply<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &mut Item,
    ) -> Verdict {
        let unmatched = Verdict::Drop(DropReason::IcmpUnmatched, None);
        let Some(key) = self.quoted_flow(buf.data(), item) else {
            return unmatched;
        };
        let hash = self.own.flows.hash(&key);
        let Some(flow) = self.own.flows.lookup(hash, &key) else {
            return unmatched;
        };
        let entry = self.own.flows.entry(flow);
        let (pin, class) = (entry.pin(), entry.class);
        if !self.is_served(pin) {
            return Verdict::Drop(DropReason::InstanceDead, None);
        }
        if item.parsed.hop_limit <= 1 {
            // No error about an error (RFC 4443 §2.4 (e)).
            return Verdict::Drop(DropReason::HopLimit, None);
        }
        if let Err(reason) = self.boundary(buf, item) {
            return Verdict::Drop(reason, None);
        }
        self.forward_pinned(buf, item, pin, class, hash)
    }

    /// The flow, as the client sends it, of the reply that an ICMPv6 error quotes.
    fn quoted_flow(&self, frame: &[u8], item: &Item) -> Option<FlowKey> {
        let at = icmp6::quoted(frame, &item.parsed)?;
        // The quoted packet is cut short as a rule: its length field would refuse it. Ports directly behind the fixed
        // header, or behind the one Destination Options header that replies may carry, are what is looked for.
        let end = item.parsed.l3 as usize + item.parsed.ip_len as usize;
        let mut l4 = at + IPV6_LEN;
        let mut proto = byte(frame, at + 6);
        if proto == protocol::DEST_OPTIONS {
            proto = byte(frame, l4);
            l4 += (byte(frame, l4 + 1) as usize + 1) * 8;
        }
        if !matches!(proto, protocol::TCP | protocol::UDP) || end < l4 + 4 {
            return None;
        }
        Some(FlowKey {
            src: array(frame, at + 24),
            dst: array(frame, at + 8),
            sport: u16::from_be_bytes(array(frame, l4 + 2)),
            dport: u16::from_be_bytes(array(frame, l4)),
            proto,
        })
    }

    /// Hands the frame, unchanged, to the punt port.
    pub(crate) fn punt<B: PacketBuf>(&mut self, _buf: &B, item: &Item) -> Verdict {
        match self.config.router.punt_port {
            Some(port) if port != item.port => Verdict::Punt(PuntReason::Host, Some(port)),
            _ if item.target == Target::Group => Verdict::Drop(DropReason::GroupUnattended, None),
            _ => Verdict::Drop(DropReason::PuntUnavailable, None),
        }
    }
}

/// Whether the packet is one UDP datagram, whole and unharmed. Over IPv6 it must carry a checksum (RFC 8200 §8.1).
fn is_whole_datagram(frame: &[u8], item: &Item) -> bool {
    let parsed = &item.parsed;
    let from = parsed.l4 as usize;
    let to = parsed.l3 as usize + parsed.ip_len as usize;
    let (source, destination) = (parsed.source, parsed.final_destination);
    frame.get(from..to).is_some_and(|udp| {
        be16(udp, 4) as usize == udp.len()
            && be16(udp, 6) != 0
            && upper_layer_checksum(source, destination, protocol::UDP, udp) == 0
    })
}

//! What a packet is for: parse and classify, then the way that its target says.

use crate::counters::Figure;
use crate::fast::Quick;
use crate::flow::FlowKey;
use crate::id::PortIx;
use crate::packet::icmp6::{Error, kind::ECHO_REQUEST};
use crate::packet::parse::{self, ParseError, Upper};
use crate::packet::{PacketBuf, PacketPool};
use crate::path::{Item, Path, Target, is_link_local};
use crate::verdict::{DropReason, MetadataNote, Verdict};
use crate::worker::Peers;

impl Path<'_> {
    /// Takes a packet through every stage.
    #[inline(never)]
    pub(crate) fn whole<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        port: PortIx,
        item: &mut Item,
    ) -> Verdict {
        let classified = self.classify(packet, port, item);
        classified.unwrap_or_else(|| self.take(packet, item))
    }

    /// The same for a client's packet whose shape says what parsing would.
    #[inline(never)]
    pub(crate) fn recognised<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        port: PortIx,
        quick: &Quick,
        item: &mut Item,
    ) -> Verdict {
        self.mac = quick.mac;
        if !quick.parsed_into(packet.data(), &mut item.parsed) {
            return self.whole(packet, port, item);
        }
        debug_assert_eq!(
            parse::ipv6(packet.data(), parse::ETHERNET_LEN, self.types()),
            Ok(item.parsed),
            "a shape is recognised only where it is all that parsing would find"
        );
        item.port = port;
        let classified = self.classified(item, false, Some(quick.hash));
        classified.unwrap_or_else(|| self.take(packet, item))
    }

    /// What [`Self::recognised`] finds out of such a packet, where it is needed after all.
    #[cold]
    pub(crate) fn item_of<B: PacketBuf>(
        &mut self,
        packet: &B,
        port: PortIx,
        quick: &Quick,
        item: &mut Item,
    ) {
        let is_parsed = quick.parsed_into(packet.data(), &mut item.parsed);
        item.port = port;
        let ended = self.classified(item, false, Some(quick.hash));
        debug_assert!(is_parsed && ended.is_none(), "it was told to be such a one");
    }

    /// Parse and classify: what the packet is for, and where its flow is kept.
    #[inline]
    fn classify<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        port: PortIx,
        item: &mut Item,
    ) -> Option<Verdict> {
        let dropped = |reason| Some(Verdict::Drop(reason, None));
        if !packet.is_contiguous() {
            return dropped(DropReason::FrameSegmented);
        }
        let Some(configured) = self.port(port) else {
            return dropped(DropReason::FrameTruncated);
        };
        let frame = packet.data();
        let l3 = match parse::ethernet(frame, configured.vlan) {
            Ok(l3) => l3,
            Err(error) => return dropped(error.reason),
        };
        // Groups are for everyone (the lowest bit of the first byte); else only the port's own address.
        let for_group = frame[0] & 1 != 0;
        if !for_group && frame.first_chunk::<6>() != Some(&configured.mac) {
            return dropped(DropReason::MacForeign);
        }
        item.port = port;
        match parse::ipv6_into(frame, l3, self.types(), &mut item.parsed) {
            Ok(()) => self.classified(item, for_group, None),
            Err(error) => Some(self.unparsable(packet, l3, port, error)),
        }
    }

    /// What a parsed packet is for. `hash` is its flow's where that is known.
    #[inline(always)]
    fn classified(
        &mut self,
        item: &mut Item,
        for_group: bool,
        hash: Option<u64>,
    ) -> Option<Verdict> {
        let dropped = |reason| Some(Verdict::Drop(reason, None));
        let parsed = &item.parsed;
        let target = Target::of(self.config, parsed.destination);
        // The unspecified source is for who has no address yet, and speaks to groups (RFC 4291 §2.5.2).
        let invalid = parsed.source >> 120 == 0xFF
            || parsed.source == 1
            || (parsed.source == 0 && target != Target::Group);
        if invalid {
            return dropped(DropReason::SourceInvalid);
        }
        if parsed.destination <= 1 {
            return dropped(DropReason::DestinationInvalid);
        }
        // A frame to everyone is not for the AFR to pass on: every router on the link would.
        if for_group && target != Target::Group {
            return dropped(DropReason::MacForeign);
        }
        item.target = target;
        item.peer = None;
        if target.is_service() {
            item.key = flow_key(&item.parsed);
            item.hash = hash.unwrap_or_else(|| {
                let hash = self.own.flows.hash(&item.key);
                self.own.flows.ahead().prefetch_bucket(hash);
                hash
            });
        }
        if item.parsed.foreign.is_some() {
            self.note_foreign(item);
        }
        None
    }

    /// A packet that does not parse is dropped; where RFC 8200 asks for it, with a Parameter Problem.
    #[cold]
    fn unparsable<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        l3: usize,
        port: PortIx,
        error: ParseError,
    ) -> Verdict {
        let Some(code) = error.parameter_problem else {
            return Verdict::Drop(error.reason, None);
        };
        let problem = Error::parameter_problem(code, error.offset);
        let item = Item {
            parsed: parse::header_only(packet.data(), l3),
            port,
            ..Item::NOTHING
        };
        self.answer_error(packet, &item, error.reason, problem)
    }

    /// Takes a packet its way.
    #[inline(always)]
    fn take<B: PacketBuf>(&mut self, packet: &mut B, item: &mut Item) -> Verdict {
        match item.target {
            Target::Service(_) | Target::Generic | Target::UnknownClass => {
                self.at_service(packet, item)
            }
            Target::Sid if matches!(item.parsed.upper, Upper::Icmp6 { .. }) => {
                item.target = Target::Own;
                self.at_host(packet, item)
            }
            Target::Sid => self.at_sid(packet, item),
            Target::Own | Target::Group => self.at_host(packet, item),
            Target::Elsewhere => self.transit(packet, item),
        }
    }

    /// A packet for a service: the request's way.
    #[inline]
    pub(crate) fn at_service<B: PacketBuf>(&mut self, packet: &mut B, item: &mut Item) -> Verdict {
        match item.parsed.upper {
            Upper::Icmp6 { kind: 0..=127 } => return self.error_about_reply(packet, item),
            Upper::Icmp6 { kind: ECHO_REQUEST } => return self.echo(packet, item),
            // Neighbor Discovery and the like, which are for the link's routers, not for a service.
            Upper::Icmp6 { .. } => return self.punt(packet, item),
            Upper::Fragment => return Verdict::Drop(DropReason::FragmentUnmatched, None),
            _ => {}
        }
        if is_link_local(item.parsed.source) {
            return Verdict::Drop(DropReason::SourceInvalid, None);
        }
        if item.parsed.hop_limit <= 1 {
            return self.answer_error(packet, item, DropReason::HopLimit, Error::HOP_LIMIT);
        }
        // Flows of a class that was taken out of the configuration go on.
        if item.target == Target::UnknownClass
            && self.own.flows.lookup(item.hash, &item.key).is_none()
        {
            return self.refuse(packet, item, DropReason::ClassUnknown);
        }
        let boundary = match self.boundary(packet, item) {
            Ok(boundary) => boundary,
            Err(reason) => return Verdict::Drop(reason, None),
        };
        self.by_flow(packet, item, &item.key, boundary)
    }

    /// Copies an ICMPv6 error about a flow that may be another worker's to every other worker's inbox, as far as there is
    /// room.
    #[cold]
    pub(crate) fn hand_over<P: PacketPool>(
        &mut self,
        peers: &Peers<P::Buf>,
        item: &Item,
        packet: &P::Buf,
        pool: &mut P,
    ) {
        let own = usize::from(self.own.id.0);
        for (at, inbox) in peers.inboxes.iter().enumerate() {
            if at == own || inbox.is_full() {
                continue;
            }
            if !self.own.handovers.take(self.now.mono_us) {
                self.note(MetadataNote::ErrorSuppressed);
                return;
            }
            let Some(mut copy) = pool.alloc() else {
                return;
            };
            let len = packet.data().len();
            if let Some(room) = copy.append(len) {
                room.copy_from_slice(packet.data());
                let _ = inbox.push((item.port, copy));
            }
        }
    }

    /// Counts the verdict. Returns where the packet leaves, if it does.
    #[inline]
    pub(crate) fn count(&mut self, verdict: Verdict) -> Option<PortIx> {
        match verdict {
            Verdict::Forward(port) => Some(port),
            Verdict::Punt(reason, port) => {
                self.own.counters.count(Figure::Punt(reason));
                port
            }
            Verdict::Drop(reason, port) => {
                self.own.counters.count(Figure::Drop(reason));
                port
            }
        }
    }
}

/// The flow of a packet from a client. Protocols without ports have both 0.
#[inline]
pub(crate) fn flow_key(parsed: &parse::Parsed) -> FlowKey {
    let (sport, dport) = match parsed.upper {
        Upper::Tcp {
            source,
            destination,
            ..
        }
        | Upper::Udp {
            source,
            destination,
        } => (source, destination),
        _ => (0, 0),
    };
    FlowKey {
        src: parsed.source.to_be_bytes(),
        dst: parsed.destination.to_be_bytes(),
        sport,
        dport,
        proto: parsed.protocol,
    }
}

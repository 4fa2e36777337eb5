//! A packet that the fast path may be for, between its stages.

use afr_wire::RequestContext;

use super::macs::MacCheck;
use super::shape::{BEHIND_IPV6, NEXT_HEADER, OPTION, SRH};
use crate::flow::FlowRef;
use crate::id::Slot;
use crate::packet::bytes::{address, array};
use crate::packet::parse::{
    self, Carrier, ETHERNET_LEN, Found, IPV6_LEN, Parsed, Routing, protocol,
};
use crate::request::replay_guard::Session;
use crate::request::verify::Origin;

/// What a packet may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One for the whole path.
    Whole,
    /// A client's, to a service.
    Request,
    /// Tunnelled to the AFR's SID.
    Reply,
}

/// What packets that look alike have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
pub(crate) struct Shape {
    /// What such a packet may be.
    pub(crate) kind: Kind,
    /// Protocol of the upper layer.
    pub(super) protocol: u8,
    /// Length of the metadata object, 0 if there is none.
    pub(super) object_len: u8,
    /// Its offset in the frame.
    pub(super) object_at: u16,
    /// Offset of the upper layer in the frame.
    pub(super) l4: u16,
}

impl Shape {
    pub(super) const NOTHING: Self = Self {
        kind: Kind::Whole,
        protocol: 0,
        object_len: 0,
        object_at: OPTION as u16,
        l4: 0,
    };
}

/// A packet that the fast path may be for, between its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quick {
    /// Its shape.
    pub(crate) shape: Shape,
    /// Length of the IPv6 packet.
    pub(super) ip_len: u16,
    /// Source and destination port, as the header has them, the first byte lowest.
    pub(super) ports: u32,
    /// The flow that a client's packet probably is of; none of one to be dispatched anew. Of other packets it says nothing.
    pub(super) flow: FlowRef,
    /// The flow's hash.
    pub(crate) hash: u64,
    /// Its session's, once the MAC is known to be right, or is to be checked and the flow is known.
    pub(super) session: Session,
    /// Keyed fingerprint of the object, once the packet is known to be of the flow.
    pub(super) print: u64,
    /// What the request is charged if it is alike.
    pub(super) tokens: u32,
    /// Of a request on a known flow that is not the flow's last one: whether it claims what was believed last when the burst's MACs
    /// were checked ([`Claims`](super::Claims)), if its own is right.
    pub(super) is_alike: bool,
    /// It was found to be of that flow when the burst's MACs were checked, and its fingerprint taken. Of a reply: its report was
    /// applied by then.
    pub(super) known: bool,
    /// Of a reply: whose report it carries.
    pub(super) reporter: Option<Slot>,
    /// What was found out about the object's MAC.
    pub(crate) mac: MacCheck,
    /// Whether its flow is looked for: it is a client's, and none to be dispatched anew.
    pub(super) is_sought: bool,
}

const _: () = assert!(
    size_of::<Quick>() <= 56,
    "a burst's are read and written again and again"
);

impl Quick {
    /// A place for one.
    pub(crate) const NOTHING: Self = Self {
        shape: Shape::NOTHING,
        ip_len: 0,
        ports: 0,
        flow: FlowRef::UNSURE,
        hash: 0,
        session: Session::NOBODYS,
        print: 0,
        tokens: 0,
        is_alike: false,
        known: false,
        reporter: None,
        mac: MacCheck::Unknown,
        is_sought: false,
    };

    /// Whether the packet carries a request or report in the place that is looked at here.
    #[inline(always)]
    pub(crate) fn has_object(&self) -> bool {
        self.shape.object_len != 0 && self.shape.kind != Kind::Whole
    }

    /// Where the request in `frame` comes from: from its sender directly.
    #[inline(always)]
    pub(super) fn origin(&self, frame: &[u8]) -> Origin {
        Origin {
            context: RequestContext {
                source: array(frame, ETHERNET_LEN + 8),
                destination: array(frame, ETHERNET_LEN + 24),
                protocol: self.shape.protocol,
                destination_port: self.destination_port(),
            },
            peer: None,
        }
    }

    /// The upper layer's source port.
    #[inline(always)]
    pub(super) fn source_port(&self) -> u16 {
        (self.ports as u16).swap_bytes()
    }

    /// The upper layer's destination port.
    #[inline(always)]
    pub(super) fn destination_port(&self) -> u16 {
        ((self.ports >> 16) as u16).swap_bytes()
    }

    /// Writes into `parsed` what parsing `frame` finds, which is not to be done twice. `false`: the upper layer is amiss, and
    /// parsing says how; `parsed` holds anything then.
    #[inline(always)]
    pub(crate) fn parsed_into(&self, frame: &[u8], parsed: &mut Parsed) -> bool {
        let Some(packet) = frame.get(ETHERNET_LEN..).filter(|p| p.len() >= IPV6_LEN) else {
            return false;
        };
        let at = usize::from(self.shape.l4).saturating_sub(ETHERNET_LEN);
        let Ok(upper) = parse::upper(packet, self.shape.protocol, at) else {
            return false;
        };
        let destination = address(packet, 24);
        let routing = (packet[6] == protocol::ROUTING).then_some(Routing {
            at: BEHIND_IPV6 as u16,
            len: self.shape.l4.saturating_sub(BEHIND_IPV6 as u16),
            announced_at: NEXT_HEADER as u16,
            kind: SRH,
            segments_left: 0,
        });
        let request = (self.shape.object_len != 0).then_some(Found {
            at: self.shape.object_at,
            len: u16::from(self.shape.object_len),
            header: BEHIND_IPV6 as u16,
            announced_at: NEXT_HEADER as u16,
            carrier: match routing {
                Some(_) => Carrier::SrhTlv,
                None => parse::carrier_of(packet[6]),
            },
        });
        *parsed = Parsed {
            l3: ETHERNET_LEN as u16,
            l4: self.shape.l4,
            announced_at: if usize::from(self.shape.l4) == BEHIND_IPV6 {
                NEXT_HEADER as u16
            } else {
                BEHIND_IPV6 as u16
            },
            ip_len: self.ip_len,
            protocol: self.shape.protocol,
            hop_limit: packet[7],
            authenticated: false,
            source: address(packet, 8),
            destination,
            final_destination: destination,
            upper,
            routing,
            request,
            report: None,
            foreign: None,
            unknown: None,
            unrecognized: 0,
        };
        true
    }
}

/// Source and destination, one behind the other, of a frame in whose shape they are where IPv6 has them behind Ethernet.
#[inline(always)]
pub(super) fn addresses(frame: &[u8]) -> Option<&[u8; 32]> {
    frame.get(ETHERNET_LEN + 8..)?.first_chunk()
}

/// The object in a frame of this shape.
#[inline(always)]
pub(super) fn object<'f>(frame: &'f [u8], shape: &Shape) -> &'f [u8] {
    object_in(frame, shape).unwrap_or(&[])
}

/// The same, where there is something else to be done if the frame is not of such a shape.
#[inline(always)]
pub(super) fn object_in<'f>(frame: &'f [u8], shape: &Shape) -> Option<&'f [u8]> {
    let at = usize::from(shape.object_at);
    frame.get(at..at + usize::from(shape.object_len))
}

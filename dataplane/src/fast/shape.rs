//! Which packets the fast path may be for, told from their headers alone.

use afr_wire::{EXID, RequestContext, VERSION};

use super::macs::MacCheck;
use super::plan::{Plan, PlanPort};
use crate::flow::{FlowRef, FlowTable};
use crate::packet::bytes::{address, array, be16};
use crate::packet::parse::{self, Carrier, ETHERNET_LEN, Found, IPV6_LEN, Parsed, protocol};
use crate::request::verify::Origin;

/// Where the IPv6 header's successor begins in an untagged frame.
const BEHIND_IPV6: usize = ETHERNET_LEN + IPV6_LEN;
/// A PadN of four bytes, as senders fill up a header that an object leaves four bytes of.
const PAD_4: [u8; 4] = [1, 2, 0, 0];
/// First bytes of an object: experiment identifier, version and kind.
const REQUEST: u32 = (EXID as u32) << 16 | (VERSION as u32) << 12 | 1 << 8;
const REPORT: u32 = (EXID as u32) << 16 | (VERSION as u32) << 12 | 2 << 8;
/// The destination address in a frame's first word.
const MAC: u64 = (1 << 48) - 1;
/// All but the flags.
const HEAD: u32 = 0xFFFF_FF00;

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

/// A packet that the fast path may be for, between its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quick {
    /// What it may be.
    pub(crate) kind: Kind,
    /// Protocol of the upper layer.
    pub(super) protocol: u8,
    /// Length of the IPv6 packet.
    pub(super) ip_len: u16,
    /// Offset of the upper layer in the frame.
    pub(super) l4: u16,
    /// Length of the metadata object at `BEHIND_IPV6 + 4`, 0 if there is none.
    pub(super) object_len: u16,
    /// Source and destination port, as the header has them, the first byte lowest.
    pub(super) ports: u32,
    /// The flow it probably is of.
    pub(super) flow: Option<FlowRef>,
    /// It is, as the table was when the burst's MACs were looked at. Of a reply: its report was applied by then.
    pub(super) known: bool,
    /// The flow's hash.
    pub(crate) hash: u64,
    /// Keyed fingerprint of the object, if the packet may be of a flow.
    pub(super) print: u64,
    /// Whether it is a datagram to be dispatched anew.
    pub(crate) new_task: bool,
    /// What was found out about the object's MAC.
    pub(crate) mac: MacCheck,
}

impl Quick {
    /// A place for one.
    pub(crate) const NOTHING: Self = Self {
        kind: Kind::Whole,
        protocol: 0,
        ip_len: 0,
        l4: 0,
        object_len: 0,
        ports: 0,
        flow: None,
        known: false,
        hash: 0,
        print: 0,
        new_task: false,
        mac: MacCheck::Unknown,
    };
}

impl Quick {
    /// Where the request in `frame` comes from: from its sender directly.
    #[inline(always)]
    pub(super) fn origin(&self, frame: &[u8]) -> Origin {
        Origin {
            context: RequestContext {
                source: array(frame, ETHERNET_LEN + 8),
                destination: array(frame, ETHERNET_LEN + 24),
                protocol: self.protocol,
                destination_port: ((self.ports >> 16) as u16).swap_bytes(),
            },
            peer: None,
        }
    }
}

impl Quick {
    /// Writes into `parsed` what parsing `frame` finds, which is not to be done twice. `false`: the upper layer is amiss, and
    /// parsing says how; `parsed` holds anything then.
    #[inline(always)]
    pub(crate) fn parsed_into(&self, frame: &[u8], parsed: &mut Parsed) -> bool {
        let Some(packet) = frame.get(ETHERNET_LEN..).filter(|p| p.len() >= IPV6_LEN) else {
            return false;
        };
        let at = usize::from(self.l4).saturating_sub(ETHERNET_LEN);
        let Ok(upper) = parse::upper(packet, self.protocol, at) else {
            return false;
        };
        let destination = address(packet, 24);
        let request = (self.object_len != 0).then_some(Found {
            at: BEHIND_IPV6 as u16 + 4,
            len: self.object_len,
            header: BEHIND_IPV6 as u16,
            announced_at: ETHERNET_LEN as u16 + 6,
            carrier: Carrier::DestOption,
        });
        *parsed = Parsed {
            l3: ETHERNET_LEN as u16,
            l4: self.l4,
            announced_at: match request {
                Some(_) => BEHIND_IPV6 as u16,
                None => ETHERNET_LEN as u16 + 6,
            },
            ip_len: self.ip_len,
            protocol: self.protocol,
            hop_limit: packet[7],
            authenticated: false,
            source: address(packet, 8),
            destination,
            final_destination: destination,
            upper,
            routing: None,
            request,
            report: None,
            foreign: None,
            unknown: None,
            unrecognized: 0,
        };
        true
    }
}

/// Where the upper layer is, and the object before it.
#[derive(Debug, Clone, Copy)]
struct Chain {
    protocol: u8,
    l4: usize,
    object_len: usize,
}

impl Plan {
    /// Says in `quick` what the packet of `frame` may be, and starts loading what it takes to find its flow.
    #[inline(always)]
    pub(crate) fn recognise(
        &self,
        port: &PlanPort,
        frame: &[u8],
        flows: &FlowTable,
        quick: &mut Quick,
    ) {
        quick.kind = Kind::Whole;
        let Some(head) = frame.first_chunk::<{ BEHIND_IPV6 + 8 }>() else {
            return;
        };
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let first = u64::from_le_bytes([
            head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7],
        ]);
        // To this port, IPv6 behind an untagged Ethernet header, no padding behind the packet.
        let fits = first & MAC == port.mac
            && word(12) & 0xFFFF_F000 == 0x86DD_6000
            && frame.len() == BEHIND_IPV6 + usize::from(be16(head, 18));
        if !fits {
            return;
        }
        let (Some(addresses), Some(destination)) = (
            head[22..].first_chunk::<32>(),
            head[38..].first_chunk::<16>(),
        ) else {
            return;
        };
        quick.ip_len = (frame.len() - ETHERNET_LEN) as u16;
        if self.is_service(destination) {
            let Some(chain) = self.chain(frame, head[20], REQUEST) else {
                return;
            };
            let datagram = chain.protocol == protocol::UDP;
            if !datagram && chain.protocol != protocol::TCP {
                return;
            }
            // Each datagram of a NEW_TASK is dispatched anew.
            const NEW_TASK: u8 = afr_wire::RequestFlags::NEW_TASK.0;
            if chain.object_len != 0 && !port.trusts_requests {
                return;
            }
            let Some(l4) = frame.get(chain.l4..).and_then(<[u8]>::first_chunk::<8>) else {
                return;
            };
            quick.kind = Kind::Request;
            quick.protocol = chain.protocol;
            quick.l4 = chain.l4 as u16;
            quick.object_len = chain.object_len as u16;
            quick.new_task =
                datagram && chain.object_len != 0 && frame[BEHIND_IPV6 + 7] & NEW_TASK != 0;
            quick.mac = MacCheck::Unknown;
            quick.known = false;
            quick.ports = u32::from_le_bytes([l4[0], l4[1], l4[2], l4[3]]);
            quick.hash = flows.hash_of(addresses, quick.ports, chain.protocol);
            flows.prefetch_bucket(quick.hash);
        } else if port.inside
            && *destination == self.sid
            && let Some(chain) = self.chain(frame, head[20], REPORT)
            && chain.protocol == protocol::IPV6
        {
            quick.kind = Kind::Reply;
            quick.mac = MacCheck::Unknown;
            quick.known = false;
            quick.l4 = chain.l4 as u16;
            quick.object_len = chain.object_len as u16;
        }
    }

    /// The upper layer directly behind the fixed header, or behind one Destination Options header that an object of this
    /// `kind` fills but for four bytes of padding at the most.
    #[inline(always)]
    fn chain(&self, frame: &[u8], next: u8, kind: u32) -> Option<Chain> {
        if next != protocol::DEST_OPTIONS {
            return Some(Chain {
                protocol: next,
                l4: BEHIND_IPV6,
                object_len: 0,
            });
        }
        let header = frame.get(BEHIND_IPV6..)?.first_chunk::<8>()?;
        let [behind, units, option, len, ..] = *header;
        let header_len = (usize::from(units) + 1) * 8;
        let object_len = usize::from(len);
        let head = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let l4 = BEHIND_IPV6 + header_len;
        if option != self.option_type || head & HEAD != kind || l4 > frame.len() {
            return None;
        }
        let fills = object_len + 4 == header_len
            || object_len + 8 == header_len && frame.get(l4 - 4..l4) == Some(&PAD_4);
        // Shorter than the common head is malformed.
        (fills && object_len >= afr_wire::HEAD_LEN).then_some(Chain {
            protocol: behind,
            l4,
            object_len,
        })
    }

    /// Second step, when the bucket is there: starts loading the entry that is probably the packet's flow.
    #[inline(always)]
    pub(crate) fn find(quick: &mut Quick, flows: &FlowTable) {
        if quick.kind == Kind::Request {
            quick.flow = if quick.new_task {
                None
            } else {
                flows.prefetch_guess(quick.hash)
            };
        }
    }
}

/// The object of `len` bytes in a frame that [`Plan::chain`] has found it in.
#[inline(always)]
pub(super) fn object(frame: &[u8], len: usize) -> &[u8] {
    frame
        .get(BEHIND_IPV6 + 4..BEHIND_IPV6 + 4 + len)
        .unwrap_or(&[])
}

//! Which packets the fast path may be for, told from their headers alone.

use afr_wire::carrier::SRH_PADN;
use afr_wire::{EXID, VERSION};
use dpdk::vector::{Level, Masked, all_match};

use super::macs::MacCheck;
use super::plan::{Plan, PlanPort};
use super::quick::{Kind, Quick, Shape};
use crate::flow::{Ahead, FlowRef, upper};
use crate::packet::bytes::{array, be16, be32};
use crate::packet::parse::{ETHERNET_LEN, IPV6_LEN, MAX_EXTENSION_BYTES, protocol};

/// Where the IPv6 header's successor begins in an untagged frame.
pub(super) const BEHIND_IPV6: usize = ETHERNET_LEN + IPV6_LEN;
/// What of a frame tells its shape: up to the first bytes of an object that is an option.
const HEAD_LEN: usize = BEHIND_IPV6 + 8;
/// Bytes that every upper layer has, of which the first are its ports.
const UPPER: usize = 8;
/// Bytes of the head that are compared at once, and where the last of them begin.
const PART: usize = 32;
const LAST_PART: usize = HEAD_LEN - PART;
/// Offset of the next header's number, and of the destination address.
pub(super) const NEXT_HEADER: usize = ETHERNET_LEN + 6;
const DESTINATION: usize = ETHERNET_LEN + 24;
/// Bytes directly before an object: of an option those of its header, of a TLV two of padding; its type; its length.
const FRONT: usize = 4;
/// Offset of an object that is an option, and of the flags in any object.
pub(super) const OPTION: usize = BEHIND_IPV6 + FRONT;
const FLAGS: usize = 3;
/// The routing header that is one of Segment Routing (RFC 8754 §2); its bytes before the segments, and a segment.
pub(super) const SRH: u8 = 4;
const SRH_LEN: usize = 8;
const SEGMENT: usize = 16;
/// Of these, what tells one from another: next header, length, type, segments left, last entry.
const SRH_HEAD: usize = 5;
/// A PadN of four bytes, as senders fill up a header that an object leaves four bytes of: an option, or a TLV of an SRH.
const PAD_4: [u8; 4] = [1, 2, 0, 0];
const TLV_PAD_4: [u8; 4] = [SRH_PADN, 2, 0, 0];
/// First bytes of an object: experiment identifier, version and kind.
const REQUEST: u32 = (EXID as u32) << 16 | (VERSION as u32) << 12 | 1 << 8;
const REPORT: u32 = (EXID as u32) << 16 | (VERSION as u32) << 12 | 2 << 8;
/// The destination address in a frame's first word.
const MAC: u64 = (1 << 48) - 1;
/// All but the flags, of an object's first four bytes and of those with what is before them.
const HEAD: u32 = 0xFFFF_FF00;
const FRONT_AND_HEAD: u64 = u64::MAX >> 8;

/// What a packet's first bytes must be like for it to have a certain shape: those of the last packet of the port whose shape
/// was told, for most look like the one before. It holds under the plan it was told by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    /// The first 32 bytes: Ethernet header, IP version, next header. The last 32: destination, and what follows the IPv6 header.
    parts: [Masked; 2],
    /// What is to be looked at besides.
    more: Option<More>,
    /// The flag, if it counts, by which a request asks to be dispatched anew.
    new_task: u8,
    /// What is hashed of a flow beside addresses and ports.
    upper: u64,
    shape: Shape,
}

impl Model {
    /// What no packet is like.
    pub(crate) const NOTHING: Self = Self {
        parts: [Masked::NOTHING; 2],
        more: None,
        new_task: 0,
        upper: 0,
        shape: Shape::NOTHING,
    };

    /// The model of packets like the one with this head, if they have that shape, and this besides.
    fn new(head: &[u8; HEAD_LEN], shape: Shape, more: Option<More>) -> Self {
        // Neither the source, nor what follows the version but for the next header.
        let mut first = [0; PART];
        first[..6].fill(0xFF);
        first[12..ETHERNET_LEN].fill(0xFF);
        first[ETHERNET_LEN] = 0xF0;
        first[NEXT_HEADER] = 0xFF;
        let mut last = [0; PART];
        let counted = match shape.object_len {
            _ if head[NEXT_HEADER] == protocol::ROUTING => BEHIND_IPV6 + SRH_HEAD,
            0 => BEHIND_IPV6,
            _ => OPTION + FLAGS,
        };
        last[DESTINATION - LAST_PART..counted - LAST_PART].fill(0xFF);
        let renewable =
            shape.kind == Kind::Request && shape.protocol == protocol::UDP && shape.object_len != 0;
        let [start, end] = Self::of(head);
        Self {
            parts: [Masked::new(*start, first), Masked::new(*end, last)],
            more,
            new_task: if renewable {
                afr_wire::RequestFlags::NEW_TASK.0
            } else {
                0
            },
            upper: upper(0, shape.protocol),
            shape,
        }
    }

    #[inline(always)]
    fn of(head: &[u8; HEAD_LEN]) -> [&[u8; PART]; 2] {
        [0, LAST_PART].map(|at| head[at..].first_chunk().unwrap_or(&[0; PART]))
    }

    #[inline(always)]
    fn is_like(&self, level: Level, head: &[u8; HEAD_LEN]) -> bool {
        all_match(level, &self.parts, Self::of(head))
    }

    /// Whether packets like it are clients'.
    #[inline(always)]
    pub(super) fn is_request(&self) -> bool {
        self.shape.kind == Kind::Request
    }

    /// What packets like it are, where all that tells so is in the head.
    #[inline(always)]
    pub(super) fn simply(&self) -> Option<Kind> {
        self.more.is_none().then_some(self.shape.kind)
    }

    /// The flags of the object in a packet with such a head, if it is like the model in all else; anything without an object.
    #[inline(always)]
    fn flags(&self, is_simple: bool, frame: &[u8], head: &[u8; HEAD_LEN]) -> Option<u8> {
        match &self.more {
            Some(more) if !is_simple => more.flags(&self.shape, frame, head),
            _ => Some(head[OPTION + FLAGS]),
        }
    }

    /// Says in `quick` what the packet of `frame` may be, and starts loading what it takes to find its flow, if it is like
    /// the model. `false`: it is not, and `quick` is as it was. `simply` is what the model says, asked once for many packets.
    #[inline(always)]
    pub(super) fn recognise(
        &self,
        simply: Option<Kind>,
        level: Level,
        frame: &[u8],
        flows: Ahead<'_>,
        quick: &mut Quick,
    ) -> bool {
        let Some(head) = head_of(frame) else {
            return false;
        };
        if !self.is_like(level, head) {
            return false;
        }
        let Some(flags) = self.flags(simply.is_some(), frame, head) else {
            return false;
        };
        let kind = simply.unwrap_or(self.shape.kind);
        let mut is_sought = false;
        if kind == Kind::Request {
            let l4 = usize::from(self.shape.l4);
            let upper = frame.get(l4..l4 + UPPER);
            let addresses = head[ETHERNET_LEN + 8..].first_chunk::<32>();
            let Some((upper, addresses)) = upper.zip(addresses) else {
                return false;
            };
            quick.ports = u32::from_le_bytes(array(upper, 0));
            quick.hash = flows.hash(level, addresses, u64::from(quick.ports) | self.upper);
            flows.prefetch_bucket(quick.hash);
            is_sought = flags & self.new_task == 0;
        }
        quick.shape = self.shape;
        quick.ip_len = (frame.len() - ETHERNET_LEN) as u16;
        quick.known = false;
        quick.mac = MacCheck::Unknown;
        quick.is_sought = is_sought;
        true
    }
}

/// The head of a frame, if there is no padding behind the packet in it.
#[inline(always)]
fn head_of(frame: &[u8]) -> Option<&[u8; HEAD_LEN]> {
    let head = frame.first_chunk::<HEAD_LEN>()?;
    let len = BEHIND_IPV6 + usize::from(be16(head, ETHERNET_LEN + 4));
    (frame.len() == len).then_some(head)
}

/// What a packet must have behind its head, to be like the one before.
#[derive(Debug, Clone, Copy)]
struct More {
    /// Of an object that is a TLV the bytes before it and its first four, but for the flags. An option's are in the head.
    front: Option<u64>,
    /// The four bytes before the upper layer, where the object leaves as many.
    padding: Option<[u8; 4]>,
}

impl More {
    /// The flags of the object in a frame of this shape, if the frame has all that.
    #[inline(always)]
    fn flags(&self, shape: &Shape, frame: &[u8], head: &[u8; HEAD_LEN]) -> Option<u8> {
        if let Some(padding) = self.padding {
            let at = usize::from(shape.l4).checked_sub(padding.len())?;
            if frame.get(at..)?.first_chunk() != Some(&padding) {
                return None;
            }
        }
        let Some(expected) = self.front else {
            return Some(head[OPTION + FLAGS]);
        };
        let at = usize::from(shape.object_at).checked_sub(FRONT)?;
        let front = frame.get(at..)?.first_chunk::<8>()?;
        let is_like = u64::from_le_bytes(*front) & FRONT_AND_HEAD == expected;
        is_like.then_some(front[FRONT + FLAGS])
    }
}

impl Plan {
    /// What packets are like that look like the one of `frame`, where the fast path may be for such.
    #[inline(never)]
    pub(crate) fn look(&self, port: &PlanPort, frame: &[u8]) -> Option<Model> {
        let head = head_of(frame)?;
        let first = u64::from_le_bytes(array(head, 0));
        // To this port, IPv6 behind an untagged Ethernet header.
        if first & MAC != port.mac || be32(head, 12) & 0xFFFF_F000 != 0x86DD_6000 {
            return None;
        }
        let destination = array(head, DESTINATION);
        let (kind, object) = if self.is_service(&destination) {
            (Kind::Request, REQUEST)
        } else if port.inside && destination == self.sid {
            (Kind::Reply, REPORT)
        } else {
            return None;
        };
        let (shape, more) = self.shape(kind, frame, head, object)?;
        let upper = [protocol::UDP, protocol::TCP];
        let fits = match kind {
            Kind::Request => {
                upper.contains(&shape.protocol) && (shape.object_len == 0 || port.trusts_requests)
            }
            Kind::Reply => shape.protocol == protocol::IPV6,
            Kind::Whole => false,
        };
        fits.then(|| Model::new(head, shape, more))
    }

    /// The shape of a packet whose upper layer is directly behind the fixed header, or behind one header of options
    /// (Destination or Hop-by-Hop) that an `object` of this kind fills, or behind a Segment Routing Header with no segments left
    /// whose TLVs are such an object or none. There may be four bytes of padding behind the object.
    fn shape(
        &self,
        kind: Kind,
        frame: &[u8],
        head: &[u8; HEAD_LEN],
        object: u32,
    ) -> Option<(Shape, Option<More>)> {
        let next = head[NEXT_HEADER];
        let [behind, units, routing, left, last] = array(head, BEHIND_IPV6);
        let front_at = match next {
            protocol::DEST_OPTIONS | protocol::HOP_BY_HOP => BEHIND_IPV6,
            protocol::ROUTING if routing == SRH && left == 0 => {
                BEHIND_IPV6 + SRH_LEN + SEGMENT * (usize::from(last) + 1)
            }
            protocol::ROUTING => return None,
            _ => {
                let shape = Shape {
                    kind,
                    protocol: next,
                    l4: BEHIND_IPV6 as u16,
                    ..Shape::NOTHING
                };
                return Some((shape, None));
            }
        };
        let header_len = (usize::from(units) + 1) * 8;
        let l4 = BEHIND_IPV6 + header_len;
        if l4 > frame.len() || header_len > MAX_EXTENSION_BYTES {
            return None;
        }
        let shape = Shape {
            kind,
            protocol: behind,
            l4: l4 as u16,
            ..Shape::NOTHING
        };
        if front_at == l4 {
            return Some((shape, None));
        }
        let front = *frame.get(front_at..l4)?.first_chunk::<8>()?;
        let [first, second, option, len] = array(&front, 0);
        let has_srh = next == protocol::ROUTING;
        let is_ours = if has_srh {
            [first, second, option] == [SRH_PADN, 0, self.tlv_type]
        } else {
            option == self.option_type
        };
        let object_at = front_at + FRONT;
        let end = object_at + usize::from(len);
        // Shorter than the common head is malformed.
        let fits = is_ours
            && be32(&front, FRONT) & HEAD == object
            && (end == l4 || end + PAD_4.len() == l4)
            && usize::from(len) >= afr_wire::HEAD_LEN;
        let shape = Shape {
            object_len: len,
            object_at: object_at as u16,
            ..shape
        };
        let more = More {
            front: has_srh.then_some(u64::from_le_bytes(front) & FRONT_AND_HEAD),
            padding: (end != l4).then_some(if has_srh { TLV_PAD_4 } else { PAD_4 }),
        };
        let more = (has_srh || end != l4).then_some(more);
        fits.then_some((shape, more))
    }

    /// Second step, when the bucket is there: starts loading the entry that is probably the packet's flow.
    #[inline(always)]
    pub(crate) fn find(quick: &mut Quick, flows: Ahead<'_>) {
        quick.flow = if quick.is_sought {
            flows.prefetch_guess(quick.hash)
        } else {
            FlowRef::UNSURE
        };
    }
}

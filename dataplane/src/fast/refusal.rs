//! A packet that would open a flow under a wrong MAC: dropped.
//!
//! A flood of these is what an attacker sends, so each is to cost little.

use afr_wire::{RequestForm, RequestView};
use dpdk::vector::wide;

use super::MacCheck;
use super::quick::{Quick, addresses, object_in};
use crate::counters::Figure;
use crate::flow::FlowRef;
use crate::packet::PacketBuf;
use crate::packet::bytes::address;
use crate::packet::parse::{ETHERNET_LEN, protocol};
use crate::packet::tcp::flag;
use crate::path::{BURST, Burst, Path, Target, is_client};
use crate::verdict::DropReason;

impl Quick {
    /// Whether the packet may be such a one, by its MAC.
    #[inline(always)]
    pub(super) fn may_be_refused(&self) -> bool {
        self.mac == MacCheck::Wrong
    }

    /// Whether the packet would open a flow if there is none: a datagram does, and a well-formed segment with SYN alone.
    #[inline(always)]
    fn opens(&self, frame: &[u8]) -> bool {
        self.shape.protocol == protocol::UDP || is_syn(frame, self.shape.l4)
    }
}

impl Path<'_> {
    /// Drops the packets from `at` on that are to be dropped for their MAC and nothing else, up to the first that is not. Returns
    /// its place.
    #[inline(never)]
    pub(crate) fn fast_refusals<B: PacketBuf>(
        &mut self,
        packets: &Burst<B>,
        quick: &[Quick; BURST],
        at: usize,
    ) -> usize {
        wide(
            #[inline(always)]
            |_| {
                let mut refused = 0_u64;
                let mut last = Last::default();
                for (packet, quick) in packets[at..].iter().zip(&quick[at..]) {
                    if !self.is_refused(packet.data(), quick, &mut last) {
                        break;
                    }
                    refused += 1;
                }
                let counters = &mut self.own.counters;
                counters.add(Figure::FastPath, refused);
                counters.add(Figure::Drop(DropReason::MacInvalid), refused);
                at + refused as usize
            },
        )
    }

    /// Whether it is a well-formed request that is not its sender's, on a packet that would open a flow.
    #[inline(always)]
    fn is_refused(&self, frame: &[u8], quick: &Quick, last: &mut Last) -> bool {
        if !quick.may_be_refused() {
            return false;
        }
        let Some(addresses) = addresses(frame) else {
            return false;
        };
        frame[ETHERNET_LEN + 7] > 1
            && quick.opens(frame)
            && (is_global(addresses) || is_client(address(addresses, 0)))
            && self.has_class(addresses, last)
            && !self.is_of_a_flow(addresses, quick)
            && object_in(frame, &quick.shape).is_some_and(|object| last.is_well_formed(object))
    }

    /// Whether there is a flow that the packet is of.
    #[inline(always)]
    fn is_of_a_flow(&self, addresses: &[u8; 32], quick: &Quick) -> bool {
        let flows = &self.own.flows;
        let is_known = || {
            let protocol = quick.shape.protocol;
            flows.knows(quick.hash, addresses, quick.ports, protocol)
        };
        if quick.flow == FlowRef::NONE && flows.changes() == self.found_at {
            debug_assert!(!is_known(), "there was none, and nothing changed");
            return false;
        }
        is_known()
    }

    /// Whether the destination, a service's, is of a class or of none in particular. Most packets of a burst have the same.
    #[inline(always)]
    fn has_class(&self, addresses: &[u8; 32], last: &mut Last) -> bool {
        let destination = addresses.last_chunk::<16>();
        if destination == last.destination.as_ref() {
            return true;
        }
        let has_class = Target::of(self.config, address(addresses, 16)) != Target::UnknownClass;
        if has_class {
            last.destination = destination.copied();
        }
        has_class
    }
}

/// What was found of a packet that was refused, for the next, which mostly is like it.
#[derive(Default)]
struct Last {
    /// A destination that has a class.
    destination: Option<[u8; 16]>,
    /// The form of a well-formed request.
    form: Option<RequestForm>,
}

impl Last {
    /// Whether the object is a well-formed request.
    #[inline(always)]
    fn is_well_formed(&mut self, object: &[u8]) -> bool {
        let form = RequestForm::of(object);
        if form.is_some() && form == self.form {
            return true;
        }
        let is_well_formed = RequestView::of(object).is_some();
        if is_well_formed {
            self.form = form;
        }
        is_well_formed
    }
}

/// Whether the segment that begins there is well-formed, with SYN and neither ACK nor RST nor FIN.
// A function of its own: it would take registers from the loop.
#[inline(never)]
fn is_syn(frame: &[u8], l4: u16) -> bool {
    const CONTROL: u8 = flag::SYN | flag::ACK | flag::RST | flag::FIN;
    let segment = frame.get(usize::from(l4)..).unwrap_or(&[]);
    let Some(tcp) = segment.first_chunk::<20>() else {
        return false;
    };
    let header_len = usize::from(tcp[12] >> 4) * 4;
    (20..=segment.len()).contains(&header_len) && tcp[13] & CONTROL == flag::SYN
}

/// Whether the source is a global unicast address (2000::/3), as most clients' are ([`is_client`]).
#[inline(always)]
const fn is_global(addresses: &[u8; 32]) -> bool {
    addresses[0] >> 5 == 1
}

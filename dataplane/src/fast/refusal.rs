//! A packet that would open a flow under a wrong MAC: dropped.
//!
//! A flood of these is what an attacker sends, so each is to cost little.

use afr_wire::RequestView;
use dpdk::vector::wide;

use super::MacCheck;
use super::shape::{Quick, addresses, object};
use crate::counters::Figure;
use crate::flow::FlowRef;
use crate::packet::PacketBuf;
use crate::packet::bytes::address;
use crate::packet::parse::{ETHERNET_LEN, protocol};
use crate::path::{BURST, Burst, Path, Target, is_client};
use crate::verdict::DropReason;

impl Quick {
    /// Whether the packet may be such a one, by its MAC and protocol.
    #[inline(always)]
    pub(super) fn may_be_refused(&self) -> bool {
        self.mac == MacCheck::Wrong && self.shape.protocol == protocol::UDP
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
                for (packet, quick) in packets[at..].iter().zip(&quick[at..]) {
                    if !self.is_refused(packet.data(), quick) {
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
    fn is_refused(&mut self, frame: &[u8], quick: &Quick) -> bool {
        if !quick.may_be_refused() {
            return false;
        }
        let Some(addresses) = addresses(frame) else {
            return false;
        };
        let source = address(addresses, 0);
        let destination = address(addresses, 16);
        frame[ETHERNET_LEN + 7] > 1
            && is_client(source)
            && self.target_of(destination) != Target::UnknownClass
            && !self.is_of_a_flow(addresses, quick)
            && RequestView::of(object(frame, quick.shape.object_len)).is_some()
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

    /// What `destination` is. Most packets of a burst have the same.
    #[inline(always)]
    fn target_of(&mut self, destination: u128) -> Target {
        match self.target {
            Some((of, target)) if of == destination => target,
            _ => {
                let target = Target::of(self.config, destination);
                self.target = Some((destination, target));
                target
            }
        }
    }
}

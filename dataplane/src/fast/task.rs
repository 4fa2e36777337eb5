//! A datagram to be dispatched anew that claims what the one before it did: placed like any other, but neither parsed nor read.
//!
//! Exits: forwarded, or refused as every new flow is; `None`: the whole path is to decide, and nothing was changed.

use super::Tally;
use super::quick::Quick;
use super::request::leave;
use crate::flow::{FlowKey, Pin};
use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::packet::bytes::{address, array};
use crate::packet::parse::ETHERNET_LEN;
use crate::path::{Item, Path};
use crate::verdict::Verdict;

impl Path<'_> {
    /// Dispatches the packet if it is such a one, to the class of the one before.
    #[inline(never)]
    pub(crate) fn fast_task<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        port: PortIx,
        quick: &Quick,
        item: &mut Item,
        tally: &mut Tally,
    ) -> Option<Verdict> {
        let frame = buf.data();
        let (class, usable) = self.claimed_alike(frame, quick)?;
        let source = address(frame, ETHERNET_LEN + 8);
        Self::note_believed(&mut self.own.counters, &quick.shape);
        if let Err(reason) = self.admit_new(source, class) {
            self.item_of(buf, port, quick, item);
            return Some(self.refuse(buf, item, reason));
        }
        if !self.may_charge(quick.session) {
            self.item_of(buf, port, quick, item);
            return Some(self.dispatch_as(buf, item, &item.key, class, None));
        }
        let key = || flow_key(frame, quick);
        let placement = match self.placed(class, Some(&usable), true, quick.hash, key) {
            Ok(placement) => placement,
            Err(reason) => {
                self.item_of(buf, port, quick, item);
                return Some(self.refuse(buf, item, reason));
            }
        };
        self.remember(class, &placement, Some(&usable));
        self.commit_at_once(&placement);
        if let Some(port) = self.leave_pinned(buf, quick, placement.pin) {
            tally.requests += 1;
            return Some(Verdict::Forward(port));
        }
        self.item_of(buf, port, quick, item);
        Some(self.forward_pinned(buf, item, placement.pin, class, quick.hash))
    }

    /// Where the packet leaves, with the headers for it. `None`: not by the straight way, and nothing was changed.
    #[inline(always)]
    fn leave_pinned<B: PacketBuf>(&self, buf: &mut B, quick: &Quick, pin: Pin) -> Option<PortIx> {
        let Pin::Instance(slot, incarnation) = pin else {
            return None;
        };
        let path = self.paths.get(slot.index())?;
        let leaves = path.takes(incarnation, quick.ip_len) && leave(buf, quick, path);
        leaves.then_some(path.port)
    }
}

#[inline]
fn flow_key(frame: &[u8], quick: &Quick) -> FlowKey {
    FlowKey {
        src: array(frame, ETHERNET_LEN + 8),
        dst: array(frame, ETHERNET_LEN + 24),
        sport: quick.source_port(),
        dport: quick.destination_port(),
        proto: quick.shape.protocol,
    }
}

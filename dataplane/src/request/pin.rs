//! What a dispatch leaves behind: a charge, what its instance will hold, and the flow.

use afr_wire::Prefix;
use dpdk::vector::Level;

use super::dispatch::{Placement, opens};
use super::score::View;
use super::verify::Usable;
use crate::aft::SigKey;
use crate::aft::residency::Said;
use crate::death;
use crate::fingerprint::Fingerprint;
use crate::flow::{FlowEntry, FlowKey, FlowState, Pin};
use crate::id::{ClassIx, Slot};
use crate::message::WorkerMsg;
use crate::packet::PacketBuf;
use crate::packet::bytes::be32;
use crate::packet::parse::Upper;
use crate::packet::tcp::flag;
use crate::path::{Item, Path};
use crate::verdict::MetadataNote;

impl Path<'_> {
    /// Counts the dispatch and notes what the instance will hold.
    pub(crate) fn remember(
        &mut self,
        class: ClassIx,
        placement: &Placement,
        usable: Option<&Usable>,
    ) {
        let Pin::Instance(slot, _) = placement.pin else {
            self.dispatches.dispatched(class, None, placement.why);
            return;
        };
        self.dispatches.dispatched(class, Some(slot), placement.why);
        if let Some(usable) = usable {
            self.learn_dispatch(slot, usable);
        }
    }

    /// What was just sent to `slot` will be cached there: known to this worker at once, and to the others by the next
    /// generation.
    pub(crate) fn learn_dispatch(&mut self, slot: Slot, usable: &Usable) {
        if usable.prefixes.is_empty() {
            return;
        }
        let position = self.tell(WorkerMsg::Dispatched {
            slot,
            catalogue: usable.catalogue,
            domain: usable.domain,
            prefixes: usable.prefixes.clone(),
        });
        for prefix in &usable.prefixes {
            self.enter(usable, *prefix, slot, position);
        }
    }

    fn enter(&mut self, usable: &Usable, prefix: Prefix, slot: Slot, position: u64) {
        let key = SigKey::new(usable.catalogue, usable.domain, prefix);
        self.own.residency.insert(key, slot, Said::Stored, position);
    }

    pub(crate) fn commit_at_once(&mut self, placement: &Placement) {
        if let Pin::Instance(slot, _) = placement.pin {
            self.commit(slot, placement.charge);
            self.count_charges();
        }
    }

    /// Own dispatches count in the next decision.
    fn count_charges(&mut self) {
        let own = &mut *self.own;
        let view = View {
            aft: self.aft,
            loads: &own.loads,
            inflight: &self.shared.inflight,
            charges: &own.charges,
        };
        own.scratch.standing.count(&view);
    }

    /// Charges the instance for work that is sent.
    #[inline(always)]
    pub(crate) fn commit(&mut self, slot: Slot, tokens: u32) {
        let inflight = &self.shared.inflight;
        self.own.charges.commit(inflight, slot, tokens);
    }

    /// Enters the flow, with its charge: for TCP open until the first payload. The option bytes that came with it were
    /// looked at, whatever they were worth.
    pub(super) fn pin<B: PacketBuf>(
        &mut self,
        buf: &B,
        item: &Item,
        key: &FlowKey,
        class: ClassIx,
        placement: &Placement,
        usable: bool,
    ) {
        let now_ms = self.now.mono_ms();
        let mut entry = FlowEntry::new(key, placement.pin, class, now_ms);
        if let Upper::Tcp { flags, payload, .. } = item.parsed.upper {
            if flags & flag::ACK != 0 {
                entry.last_ack = be32(buf.data(), item.parsed.l4 as usize + 8);
            }
            if payload != 0 || !opens(item) {
                entry.set_state(FlowState::Established);
            }
        }
        if let (Pin::Instance(slot, _), true) = (placement.pin, placement.charge != 0) {
            if entry.state() == FlowState::Opening {
                let inflight = &self.shared.inflight;
                self.own.charges.open(inflight, slot, placement.charge);
                self.count_charges();
                // A new entry: nothing was charged before.
                let _ = entry.charge_opening(placement.charge, now_ms);
            } else {
                self.commit_at_once(placement);
            }
        }
        if let Upper::Tcp { flags, payload, .. } = item.parsed.upper {
            let seq = be32(buf.data(), item.parsed.l4 as usize + 4);
            let len = u32::from(payload) + u32::from(flags & flag::SYN != 0);
            entry.note_sent(seq.wrapping_add(len));
        }
        if let Some(found) = item.parsed.request {
            let print = self.own.fingerprint.of(Level::here(), found.of(buf.data()));
            entry.fingerprint = Fingerprint::mark(print, usable);
            if usable {
                entry.note_metadata();
            }
        }
        let inserted = self.own.flows.insert(item.hash, entry, now_ms);
        self.note(MetadataNote::FlowCreated);
        if let Some(evicted) = inserted.evicted {
            if !evicted.is(key) {
                self.note(MetadataNote::FlowEvicted);
            }
            death::release(self.aft, &self.shared.inflight, &evicted);
        }
    }
}

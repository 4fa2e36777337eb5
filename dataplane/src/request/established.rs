//! A packet of a flow that is known: it goes where the flow is pinned, whatever happens to scores, capabilities or
//! weights.
//!
//! Exits: forwarded; a new flow after all (a SYN on a closing or idle entry); [`DropReason::InstanceDead`], answered
//! as the class says.

use super::boundary::Boundary;
use super::verify::Verified;
use crate::config::OnDeath;
use crate::death;
use crate::flow::{FlowKey, FlowRef, FlowState, Pin};
use crate::packet::PacketBuf;
use crate::packet::bytes::be32;
use crate::packet::parse::{Found, Upper};
use crate::packet::tcp::{self, flag};
use crate::path::{Item, Path};
use crate::verdict::{DropReason, MetadataNote, Verdict};

impl Path<'_> {
    /// Takes a packet of a client to a service address its way: by its flow, or as a new one.
    #[inline]
    pub(crate) fn by_flow<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        boundary: Boundary,
    ) -> Verdict {
        let found = item
            .parsed
            .request
            .filter(|_| boundary == Boundary::Trusted);
        let datagram = !matches!(item.parsed.upper, Upper::Tcp { .. });
        // NEW_TASK: "each datagram may be dispatched anew", so no flow is asked.
        if datagram && found.is_some_and(|found| is_new_task(found.of(buf.data()))) {
            return self.new_flow(buf, item, key, boundary);
        }
        let Some(flow) = self.own.flows.lookup(item.hash, key) else {
            return self.new_flow(buf, item, key, boundary);
        };
        if let Upper::Tcp { flags, .. } = item.parsed.upper
            && flags & (flag::SYN | flag::ACK) == flag::SYN
            && self
                .own
                .timeouts
                .syn_reopens(self.own.flows.entry(flow), self.now.mono_ms())
        {
            let former = self.own.flows.remove(flow);
            death::release(self.aft, &self.shared.inflight, &former);
            return self.new_flow(buf, item, key, boundary);
        }
        self.follow(buf, item, key, flow, found)
    }

    #[inline]
    fn follow<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        flow: FlowRef,
        found: Option<Found>,
    ) -> Verdict {
        self.advance(buf, item, flow);
        if let Some(found) = found {
            let bytes = found.of(buf.data());
            if self.own.fingerprint.of(bytes) == self.own.flows.entry(flow).fingerprint {
                self.note(MetadataNote::RequestUnchanged);
            } else if let Err(reason) = self.changed(buf, item, flow, found) {
                return Verdict::Drop(reason, None);
            }
        }
        let entry = self.own.flows.entry(flow);
        let (pin, class) = (entry.pin(), entry.class);
        if let Pin::Instance(slot, incarnation) = pin
            && !self.shared.live.alive(slot, incarnation)
        {
            return self.orphaned(buf, item, key, flow);
        }
        self.forward_pinned(buf, item, pin, class, item.hash as u32)
    }

    /// What a client's packet says of its flow.
    #[inline]
    fn advance<B: PacketBuf>(&mut self, buf: &B, item: &Item, flow: FlowRef) {
        let now_ms = self.now.mono_ms();
        let entry = self.own.flows.entry_mut(flow);
        entry.touch(now_ms);
        let Upper::Tcp { flags, payload, .. } = item.parsed.upper else {
            return;
        };
        if flags & flag::ACK != 0 {
            entry.last_ack = be32(buf.data(), item.parsed.l4 as usize + 8);
        }
        let state = entry.state();
        if flags & flag::RST != 0 {
            entry.set_state(FlowState::Reset);
        } else if flags & flag::FIN != 0 && state != FlowState::Reset {
            entry.set_state(FlowState::ClientClosing);
        } else if state == FlowState::Opening && payload != 0 {
            entry.set_state(FlowState::Established);
        }
        if entry.opening_tokens() != 0 && (payload != 0 || flags & flag::RST != 0) {
            let tokens = entry.take_opening();
            entry.touch(now_ms);
            if let Pin::Instance(slot, incarnation) = entry.pin()
                && self.aft.incarnation(slot) == incarnation
            {
                if payload != 0 {
                    self.shared.inflight.commit(slot, tokens);
                } else {
                    self.shared.inflight.release(slot, tokens);
                }
            }
        }
    }

    /// Other metadata than before on an established flow. It never re-dispatches: valid, its work is charged; invalid,
    /// it is counted and the packet goes on. Only what is malformed is dropped.
    #[cold]
    fn changed<B: PacketBuf>(
        &mut self,
        buf: &B,
        item: &Item,
        flow: FlowRef,
        found: Found,
    ) -> Result<(), DropReason> {
        let bytes = found.of(buf.data());
        match self.verify(&item.parsed, bytes) {
            Verified::Usable(usable) => {
                let fingerprint = self.own.fingerprint.of(bytes);
                let entry = self.own.flows.entry_mut(flow);
                let pin = entry.pin();
                // The first request seen on the flow, or another: either way new work.
                entry.fingerprint = fingerprint;
                entry.note_metadata();
                let may = self.own.replay.charge(
                    self.now.mono_us / 1_000_000,
                    item.parsed.source,
                    usable.session,
                );
                if !may {
                    self.note(MetadataNote::Replayed);
                } else if let Pin::Instance(slot, incarnation) = pin
                    && self.aft.incarnation(slot) == incarnation
                {
                    let tokens = self.uncached(slot, &usable);
                    self.shared.inflight.commit_direct(slot, tokens);
                    self.learn_dispatch(slot, &usable);
                }
                Ok(())
            }
            Verified::Drop(DropReason::MetadataMalformed) => Err(DropReason::MetadataMalformed),
            Verified::Unusable(_) | Verified::Drop(_) => {
                self.note(MetadataNote::RequestChangedInvalid);
                Ok(())
            }
        }
    }

    /// Tokens of a request that its instance does not hold yet.
    fn uncached(&mut self, slot: crate::id::Slot, usable: &super::verify::Usable) -> u32 {
        let own = &mut *self.own;
        own.scratch.reuse.compute(
            &self.aft.known(own.id, &own.residency),
            usable.catalogue,
            usable.domain,
            &usable.prefixes,
        );
        let held = u32::from(own.scratch.reuse.depth(slot)) * afr_wire::UNIT_TOKENS as u32;
        usable.prompt_tokens.saturating_sub(held)
    }

    /// A packet of a flow whose instance is dead.
    #[cold]
    fn orphaned<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        flow: FlowRef,
    ) -> Verdict {
        let class = self.own.flows.entry(flow).class;
        let policy = self.class(class).map_or(OnDeath::Drop, |c| c.on_death);
        match policy {
            OnDeath::Drop => Verdict::Drop(DropReason::InstanceDead, None),
            OnDeath::Rehash => {
                let Some((slot, incarnation)) = self.rehash(class, key) else {
                    return self.refuse(buf, item, DropReason::NoCandidate);
                };
                let pin = Pin::Instance(slot, incarnation);
                let entry = self.own.flows.entry_mut(flow);
                let _ = entry.take_opening();
                entry.repin(pin);
                self.forward_pinned(buf, item, pin, class, item.hash as u32)
            }
            OnDeath::Reset => {
                let entry = self.own.flows.entry_mut(flow);
                entry.set_state(FlowState::Reset);
                entry.note_death_told();
                let _ = entry.take_opening();
                match tcp::answer(buf.data(), &item.parsed) {
                    Some(reset) => {
                        let out = self.answer_reset(buf, item, reset);
                        Verdict::Drop(DropReason::InstanceDead, out)
                    }
                    None => self.refuse(buf, item, DropReason::InstanceDead),
                }
            }
        }
    }

    /// Counts a note only where metadata was found.
    pub(crate) fn note_foreign(&mut self, item: &Item) {
        use crate::packet::parse::Foreign;
        if let Some(foreign) = item.parsed.foreign {
            self.note(match foreign {
                Foreign::NotOurs => MetadataNote::NotOurs,
                Foreign::Version => MetadataNote::UnknownVersion,
                Foreign::Kind => MetadataNote::UnknownKind,
            });
        }
    }
}

/// Whether a request's flags say NEW_TASK.
#[inline]
fn is_new_task(bytes: &[u8]) -> bool {
    bytes.get(3).is_some_and(|flags| {
        afr_wire::RequestFlags(*flags).contains(afr_wire::RequestFlags::NEW_TASK)
    })
}

//! A packet of a flow that is known: it goes where the flow is pinned, whatever happens to scores, capabilities or
//! weights.
//!
//! Exits: forwarded; a new flow after all (a SYN on a closing or idle entry, or on one whose instance is dead);
//! [`DropReason::InstanceDead`], answered as the class says.

use afr_wire::RequestView;
use dpdk::vector::Level;

use super::boundary::Boundary;
use super::dispatch::{opens, prompt_tokens};
use super::verify::{Origin, Usable, origin_of};
use crate::config::{Class, OnDeath};
use crate::death;
use crate::fingerprint::Fingerprint;
use crate::flow::{FlowKey, FlowRef, FlowState, Pin};
use crate::id::Slot;
use crate::packet::PacketBuf;
use crate::packet::bytes::be32;
use crate::packet::parse::{Foreign, Found, Upper};
use crate::packet::tcp::{self, flag};
use crate::path::{Item, Path};
use crate::verdict::{DropReason, MetadataNote, Verdict};

impl Path<'_> {
    /// Takes a packet of a client to a service address its way: by its flow, or as a new one.
    #[inline(always)]
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
        if datagram && found.is_some_and(|found| is_new_task(found.of(buf.data()))) {
            return self.new_task(buf, item, key, found);
        }
        let Some(flow) = self.own.flows.lookup(item.hash, key) else {
            return self.new_flow(buf, item, key, found);
        };
        if opens(item) && !datagram && self.is_over(flow) {
            let former = self.own.flows.remove(flow);
            death::release(self.aft, &self.shared.inflight, &former);
            return self.new_flow(buf, item, key, found);
        }
        self.follow(buf, item, key, flow, found)
    }

    /// NEW_TASK: "each datagram may be dispatched anew". Only one that verifies is; another goes with its flow.
    fn new_task<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        found: Option<Found>,
    ) -> Verdict {
        let mut usable = Usable::NOTHING;
        match self.usable(buf, item, found, &mut usable) {
            Ok(()) => self.dispatch(buf, item, key, Some(&usable)),
            Err(Some(reason)) => Verdict::Drop(reason, None),
            Err(None) => match self.own.flows.lookup(item.hash, key) {
                Some(flow) => self.follow(buf, item, key, flow, None),
                None => self.dispatch(buf, item, key, None),
            },
        }
    }

    /// Whether a SYN means that the client has done with the flow: it is closing, or idle and not yet swept, or its
    /// instance is dead.
    fn is_over(&self, flow: FlowRef) -> bool {
        let entry = self.own.flows.entry(flow);
        self.own.timeouts.syn_reopens(entry, self.now.mono_ms()) || !self.is_served(entry.pin())
    }

    /// Whether the flow's instance is alive, or another cluster's affair.
    #[inline]
    pub(crate) fn is_served(&self, pin: Pin) -> bool {
        match pin {
            Pin::Instance(slot, incarnation) => self.live.alive(slot, incarnation),
            Pin::Spill => true,
        }
    }

    #[inline(always)]
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
            let (print, usable) = Fingerprint::read(self.own.flows.entry(flow).fingerprint);
            let new = self.own.fingerprint.of(Level::here(), bytes);
            if new != print {
                if let Err(reason) = self.changed(&origin_of(item), flow, new, bytes) {
                    return Verdict::Drop(reason, None);
                }
            } else if usable {
                self.note(MetadataNote::RequestUnchanged);
            }
        }
        let entry = self.own.flows.entry(flow);
        let (pin, class) = (entry.pin(), entry.class);
        if !self.is_served(pin) {
            return self.orphaned(buf, item, key, flow);
        }
        self.forward_pinned(buf, item, pin, class, item.hash)
    }

    /// What a client's packet says of its flow.
    #[inline(always)]
    fn advance<B: PacketBuf>(&mut self, buf: &B, item: &Item, flow: FlowRef) {
        let now_ms = self.now.mono_ms();
        let entry = self.own.flows.entry_mut(flow);
        entry.touch(now_ms);
        let Upper::Tcp { flags, payload, .. } = item.parsed.upper else {
            return;
        };
        // Not a RST's: the client needs none any more, and a forged one would spoil the RST that tells of a death.
        if flags & (flag::ACK | flag::RST) == flag::ACK {
            let acknowledges = be32(buf.data(), item.parsed.l4 as usize + 8);
            if entry.is_answered_by(acknowledges) {
                death::stop_waiting(self.aft, &self.shared.inflight, entry);
            }
            entry.last_ack = acknowledges;
        }
        let state = entry.state();
        if flags & flag::RST != 0 {
            // Anybody can send one. The instance looks at its window (RFC 5961 §3.2); here it must not shorten the flow's
            // life where it is nowhere near to what the client has sent.
            if !entry.is_plausible(be32(buf.data(), item.parsed.l4 as usize + 4)) {
                self.note(MetadataNote::ResetImplausible);
                return;
            }
            entry.set_state(FlowState::Reset);
            death::stop_waiting(self.aft, &self.shared.inflight, entry);
        } else if entry.death_told() {
            // The AFR has reset it: nothing brings it back.
        } else if flags & flag::FIN != 0 {
            entry.set_state(FlowState::ClientClosing);
            death::stop_waiting(self.aft, &self.shared.inflight, entry);
        } else if (state == FlowState::Opening && payload != 0)
            || (state == FlowState::Reset && flags & flag::ACK != 0)
        {
            // Who has reset a connection sends nothing more on it: that RST was not the client's.
            entry.set_state(FlowState::Established);
        }
        if entry.opening_tokens() != 0 && (payload != 0 || flags & flag::RST != 0) {
            let tokens = entry.take_opening();
            entry.touch(now_ms);
            if let Pin::Instance(slot, incarnation) = entry.pin()
                && self.aft.incarnation(slot) == incarnation
            {
                if payload != 0 {
                    self.shared.inflight.waits(slot, tokens);
                    self.shared.inflight.commit(slot, tokens);
                    entry.begin_waiting();
                } else {
                    self.shared.inflight.release(slot, tokens);
                }
            }
        }
        if payload != 0 && flags & flag::RST == 0 {
            let seq = be32(buf.data(), item.parsed.l4 as usize + 4);
            entry.note_sent(seq.wrapping_add(u32::from(payload)));
        }
    }

    /// Other metadata than before on an established flow. It never re-dispatches: valid, its work is charged; invalid,
    /// it is counted and the packet goes on. Only what is malformed is dropped. Either way the same bytes are not
    /// looked at again.
    #[inline(never)]
    pub(crate) fn changed(
        &mut self,
        origin: &Origin,
        flow: FlowRef,
        print: u64,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let view = RequestView::of(bytes).ok_or(DropReason::MetadataMalformed)?;
        let mut usable = Usable::NOTHING;
        let believed = self.believe(origin, &view, &mut usable).is_ok();
        let entry = self.own.flows.entry(flow);
        let (pin, class) = (entry.pin(), self.class(entry.class));
        // Work of another class than the flow's is not what its instance was chosen for.
        let class = class.filter(|class| believed && class.id == usable.class);
        let entry = self.own.flows.entry_mut(flow);
        entry.fingerprint = Fingerprint::mark(print, class.is_some());
        let Some(class) = class else {
            self.note(MetadataNote::RequestChangedInvalid);
            return Ok(());
        };
        entry.note_metadata();
        let sender = u128::from_be_bytes(origin.context.source);
        let session = self.own.replay.fingerprint(sender, usable.session);
        if self.may_charge(session)
            && let Pin::Instance(slot, incarnation) = pin
            && self.aft.incarnation(slot) == incarnation
        {
            let tokens = self.uncached(slot, class, &usable);
            self.commit(slot, tokens);
            self.learn_dispatch(slot, &usable);
        }
        Ok(())
    }

    /// Tokens of a request that its instance does not hold yet.
    fn uncached(&self, slot: Slot, class: &Class, usable: &Usable) -> u32 {
        let prompt_tokens = prompt_tokens(class, Some(usable));
        if usable.prefixes.is_empty() {
            return prompt_tokens;
        }
        let own = &*self.own;
        let known = self.aft.known(own.id, &own.residency);
        let depth = known.depth_of(slot, usable.catalogue, usable.domain, &usable.prefixes);
        prompt_tokens - super::score::reused_tokens(prompt_tokens, depth)
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
                death::release(self.aft, &self.shared.inflight, entry);
                let _ = entry.take_opening();
                let _ = entry.end_waiting();
                entry.repin(pin);
                self.forward_pinned(buf, item, pin, class, item.hash)
            }
            OnDeath::Reset => {
                if !matches!(item.parsed.upper, Upper::Tcp { .. }) {
                    // Nothing is established: the sender hears of it once, and its next datagram is dispatched anew.
                    let former = self.own.flows.remove(flow);
                    death::release(self.aft, &self.shared.inflight, &former);
                    return self.refuse(buf, item, DropReason::InstanceDead);
                }
                let entry = self.own.flows.entry_mut(flow);
                death::close(self.aft, &self.shared.inflight, entry);
                let out = tcp::answer(buf.data(), &item.parsed)
                    .and_then(|reset| self.answer_reset(buf, item, reset));
                Verdict::Drop(DropReason::InstanceDead, out)
            }
        }
    }

    /// Counts an object that is not usable for what its first bytes say.
    pub(crate) fn note_foreign(&mut self, item: &Item) {
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

//! A new flow: which instance gets it, what it is charged, and what is remembered.
//!
//! Exits: the packet forwarded to the chosen instance (or the alternate cluster), or refused so that the sender hears
//! of it: [`DropReason::ClassUnknown`], [`DropReason::ClassContradicts`], [`DropReason::AdmitSource`],
//! [`DropReason::AdmitClass`], [`DropReason::NoCandidate`], [`DropReason::Saturated`], and those of [`super::verify`].

use afr_wire::{PolicyScope, Prefix, RequestFlags};

use super::admit::Admission;
use super::boundary::Boundary;
use super::matching::{Need, candidates};
use super::policy::{self, Task};
use super::score::View;
use super::verify::{Usable, Verified};
use crate::aft::SigKey;
use crate::aft::maglev::Maglev;
use crate::aft::residency::Said;
use crate::config::{Class, PlainDispatch, PolicyKind, Saturation};
use crate::counters::Figure;
use crate::death;
use crate::flow::{FlowEntry, FlowKey, Pin};
use crate::id::{ClassIx, Incarnation, Slot};
use crate::message::WorkerMsg;
use crate::packet::PacketBuf;
use crate::packet::parse::Upper;
use crate::packet::tcp::flag;
use crate::path::{Item, Path, Target};
use crate::verdict::{DispatchReason, DropReason, MetadataNote, Verdict};

/// Where a new flow goes, and at what charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placement {
    pin: Pin,
    why: DispatchReason,
    /// Uncached tokens of the prompt.
    charge: u32,
}

impl Path<'_> {
    /// Places the packet's flow and forwards the packet.
    pub(crate) fn new_flow<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        boundary: Boundary,
    ) -> Verdict {
        let tcp_flags = match item.parsed.upper {
            Upper::Tcp { flags, .. } => Some(flags),
            _ => None,
        };
        let opens = tcp_flags.is_none_or(|flags| flags & (flag::SYN | flag::ACK) == flag::SYN);
        let usable = match self.usable(buf, item, boundary, opens) {
            Ok(usable) => usable,
            Err(reason) => return Verdict::Drop(reason, None),
        };
        let class = match class_of(self, item.target, usable.as_ref()) {
            Ok(class) => class,
            Err(DropReason::ClassContradicts) => {
                return Verdict::Drop(DropReason::ClassContradicts, None);
            }
            Err(reason) => return self.refuse(buf, item, reason),
        };
        if let Err(reason) = self.admit_new(item, class) {
            return self.refuse(buf, item, reason);
        }
        let seed = &self.config.maglev_seed;
        let flow_hash =
            Maglev::flow_hash(seed, &key.src, &key.dst, key.proto, key.sport, key.dport);
        let usable = usable.filter(|usable| self.may_charge(item, usable));
        let placed = match &usable {
            Some(usable) => self.place(class, usable, flow_hash),
            None if opens => self.place_plain(class, flow_hash),
            None => self.place_by_maglev(class, flow_hash),
        };
        let placement = match placed {
            Ok(placement) => placement,
            Err(reason) => return self.refuse(buf, item, reason),
        };
        self.remember(class, &placement, usable.as_ref());
        let each_anew = usable.as_ref().is_some_and(|usable| {
            tcp_flags.is_none() && usable.flags.contains(RequestFlags::NEW_TASK)
        });
        // A reset or FIN without a flow ends something; there is nothing to remember.
        let ends = tcp_flags.is_some_and(|flags| flags & (flag::RST | flag::FIN) != 0);
        if each_anew || ends {
            self.commit_at_once(&placement);
        } else {
            self.pin(buf, item, key, class, &placement, usable.is_some());
        }
        self.forward_pinned(buf, item, placement.pin, class, flow_hash as u32)
    }

    /// The request of the packet, if there is one that may be acted on.
    fn usable<B: PacketBuf>(
        &mut self,
        buf: &B,
        item: &Item,
        boundary: Boundary,
        opens: bool,
    ) -> Result<Option<Usable>, DropReason> {
        let found = item
            .parsed
            .request
            .filter(|_| boundary == Boundary::Trusted);
        let Some(found) = found else {
            self.note(MetadataNote::Absent);
            return Ok(None);
        };
        if !opens {
            self.note(MetadataNote::NotAtSyn);
            return Ok(None);
        }
        match self.verify(&item.parsed, found.of(buf.data())) {
            Verified::Usable(usable) => Ok(Some(usable)),
            Verified::Unusable(note) => {
                self.note(note);
                Ok(None)
            }
            Verified::Drop(reason) => Err(reason),
        }
    }

    /// Rate control.
    fn admit_new(&mut self, item: &Item, class: ClassIx) -> Result<(), DropReason> {
        let (rate, burst) = self
            .class(class)
            .map_or((0, 0), |c| (c.admit_per_s, c.admit_burst));
        match self
            .own
            .admit
            .admit(self.now.mono_us, item.parsed.source, class, rate, burst)
        {
            Admission::Admitted => Ok(()),
            Admission::SourceLimited => Err(DropReason::AdmitSource),
            Admission::ClassLimited => Err(DropReason::AdmitClass),
        }
    }

    /// Whether the (sender, session) may have another charged dispatch. Where not, the flow is placed as a plain one.
    fn may_charge(&mut self, item: &Item, usable: &Usable) -> bool {
        let may = self.own.replay.charge(
            self.now.mono_us / 1_000_000,
            item.parsed.source,
            usable.session,
        );
        if !may {
            self.note(MetadataNote::Replayed);
        }
        may
    }

    pub(crate) fn class(&self, class: ClassIx) -> Option<&Class> {
        self.config.classes.get(usize::from(class.0))
    }

    /// The class's policy over the candidates, with affinity.
    fn place(
        &mut self,
        class_ix: ClassIx,
        usable: &Usable,
        flow_hash: u64,
    ) -> Result<Placement, DropReason> {
        let config = self.config;
        let Some(class) = config.classes.get(usize::from(class_ix.0)) else {
            return Err(DropReason::ClassUnknown);
        };
        let need = Need {
            class: class_ix,
            policy: usable.policy,
            bloom: usable.bloom.words(),
        };
        let own = &mut *self.own;
        let scratch = &mut own.scratch;
        let mut left = candidates(
            self.aft,
            &self.shared.live,
            &need,
            self.now.mono_us,
            scratch,
        );
        scratch.reuse.compute(
            &self.aft.known(own.id, &own.residency),
            usable.catalogue,
            usable.domain,
            &usable.prefixes,
        );
        let prompt_tokens = match usable.prompt_tokens {
            0 => class.default_prompt_tokens,
            told => told.min(class.max_prompt_tokens),
        };
        let task = Task {
            class: class_ix,
            prompt_tokens,
            flow_hash,
        };
        let view = View {
            aft: self.aft,
            loads: &own.loads,
            inflight: &self.shared.inflight,
        };
        let slot = loop {
            let Some(slot) = policy::pick(class.policy, &view, &task, &config.dispatch, scratch)
            else {
                return Err(DropReason::NoCandidate);
            };
            if self.aft.has_labels(slot, &usable.labels) {
                break slot;
            }
            own.counters
                .count(Figure::Note(MetadataNote::BloomFalsePositive));
            scratch.exclude(slot);
            left = left.saturating_sub(1);
            if left == 0 {
                return Err(DropReason::NoCandidate);
            }
        };
        let (slot, over) = match class.objective_us {
            None => (slot, false),
            Some(objective_us) => self.within(objective_us, slot, &task, usable),
        };
        if over && usable.flags.contains(RequestFlags::SPILL_OK) && class.spill.is_some() {
            return Ok(Placement {
                pin: Pin::Spill,
                why: DispatchReason::Spill,
                charge: 0,
            });
        }
        if over && class.saturation == Saturation::Reject {
            return Err(DropReason::Saturated);
        }
        let depth = self.own.scratch.reuse.depth(slot);
        let reuse = (u32::from(depth) * afr_wire::UNIT_TOKENS as u32).min(prompt_tokens);
        let counters = &mut self.own.counters;
        counters.add(Figure::PromptTokens, u64::from(prompt_tokens));
        counters.add(Figure::AffinityTokens, u64::from(reuse));
        Ok(Placement {
            pin: Pin::Instance(slot, self.aft.incarnation(slot)),
            why: match (over, depth) {
                (true, _) => DispatchReason::LeastBad,
                (false, 0) => DispatchReason::Load,
                (false, _) => DispatchReason::Affinity,
            },
            charge: prompt_tokens - reuse,
        })
    }

    /// Keeps to the objective: `slot` where it does, else the smallest estimate; and whether that is over it too.
    fn within(
        &mut self,
        objective_us: u32,
        slot: Slot,
        task: &Task,
        usable: &Usable,
    ) -> (Slot, bool) {
        let own = &mut *self.own;
        let view = View {
            aft: self.aft,
            loads: &own.loads,
            inflight: &self.shared.inflight,
        };
        let over = |slot: Slot, depth: u16| {
            let estimate = view.estimate(slot, task.prompt_tokens, depth);
            estimate.total_us() > u64::from(objective_us)
        };
        if !over(slot, own.scratch.reuse.depth(slot)) {
            return (slot, false);
        }
        let knobs = &self.config.dispatch;
        let least = policy::pick(PolicyKind::Ttft, &view, task, knobs, &mut own.scratch)
            .filter(|least| self.aft.has_labels(*least, &usable.labels))
            .unwrap_or(slot);
        (least, over(least, own.scratch.reuse.depth(least)))
    }

    /// A flow without usable metadata.
    fn place_plain(&mut self, class_ix: ClassIx, flow_hash: u64) -> Result<Placement, DropReason> {
        let config = self.config;
        let Some(class) = config.classes.get(usize::from(class_ix.0)) else {
            return Err(DropReason::ClassUnknown);
        };
        if class.plain == PlainDispatch::Maglev {
            return self.place_by_maglev(class_ix, flow_hash);
        }
        let need = Need {
            class: class_ix,
            policy: PolicyScope(0),
            bloom: &[0; 4],
        };
        let own = &mut *self.own;
        let now_us = self.now.mono_us;
        candidates(self.aft, &self.shared.live, &need, now_us, &mut own.scratch);
        own.scratch.reuse.reset();
        let task = Task {
            class: class_ix,
            prompt_tokens: class.default_prompt_tokens,
            flow_hash,
        };
        let view = View {
            aft: self.aft,
            loads: &own.loads,
            inflight: &self.shared.inflight,
        };
        let knobs = &config.dispatch;
        policy::pick(class.policy, &view, &task, knobs, &mut own.scratch)
            .map(|slot| Placement {
                pin: Pin::Instance(slot, self.aft.incarnation(slot)),
                why: DispatchReason::FallbackLoad,
                charge: class.default_prompt_tokens,
            })
            .ok_or(DropReason::NoCandidate)
    }

    /// The deterministic fallback, the same on every AFR.
    fn place_by_maglev(&self, class_ix: ClassIx, flow_hash: u64) -> Result<Placement, DropReason> {
        let state = self
            .aft
            .classes
            .get(usize::from(class_ix.0))
            .ok_or(DropReason::ClassUnknown)?;
        let alive = |slot: Slot| {
            let incarnation = self.aft.incarnation(slot);
            self.shared.live.accepts_new(slot, incarnation)
        };
        state
            .maglev
            .pick(flow_hash, alive)
            .map(|slot| Placement {
                pin: Pin::Instance(slot, self.aft.incarnation(slot)),
                why: DispatchReason::FallbackMaglev,
                charge: 0,
            })
            .ok_or(DropReason::NoCandidate)
    }

    /// Where the flow of a dead instance goes on, under [`crate::config::OnDeath::Rehash`].
    pub(crate) fn rehash(&mut self, class: ClassIx, key: &FlowKey) -> Option<(Slot, Incarnation)> {
        let seed = &self.config.maglev_seed;
        let hash = Maglev::flow_hash(seed, &key.src, &key.dst, key.proto, key.sport, key.dport);
        match self.place_by_maglev(class, hash).ok()?.pin {
            Pin::Instance(slot, incarnation) => {
                self.dispatches
                    .dispatched(class, Some(slot), DispatchReason::Rehash);
                Some((slot, incarnation))
            }
            Pin::Spill => None,
        }
    }

    /// Counts the dispatch and notes what the instance will hold.
    fn remember(&mut self, class: ClassIx, placement: &Placement, usable: Option<&Usable>) {
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

    fn commit_at_once(&self, placement: &Placement) {
        if let Pin::Instance(slot, _) = placement.pin {
            self.shared.inflight.commit_direct(slot, placement.charge);
        }
    }

    /// Enters the flow, with its charge: for TCP open until the first payload.
    fn pin<B: PacketBuf>(
        &mut self,
        buf: &B,
        item: &Item,
        key: &FlowKey,
        class: ClassIx,
        placement: &Placement,
        verified: bool,
    ) {
        let now_ms = self.now.mono_ms();
        let mut entry = FlowEntry::new(key, placement.pin, class, now_ms);
        if let (Pin::Instance(slot, _), true) = (placement.pin, placement.charge != 0) {
            match item.parsed.upper {
                Upper::Tcp { payload: 0, .. } => {
                    self.shared.inflight.open(slot, placement.charge);
                    // A new entry: nothing was charged before.
                    let _ = entry.charge_opening(placement.charge, now_ms);
                }
                _ => self.shared.inflight.commit_direct(slot, placement.charge),
            }
        }
        if verified && let Some(found) = item.parsed.request {
            entry.fingerprint = self.own.fingerprint.of(found.of(buf.data()));
            entry.note_metadata();
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

/// The class that the packet's flow is for.
fn class_of(
    path: &Path<'_>,
    target: Target,
    usable: Option<&Usable>,
) -> Result<ClassIx, DropReason> {
    let claimed = usable.map(|usable| usable.class);
    match (target, claimed) {
        (Target::Service(class), Some(claimed)) => {
            if path.class(class).is_some_and(|c| c.id == claimed) {
                Ok(class)
            } else {
                Err(DropReason::ClassContradicts)
            }
        }
        (Target::Service(class), None) => Ok(class),
        (Target::Generic, Some(claimed)) => {
            path.config.class(claimed).ok_or(DropReason::ClassUnknown)
        }
        _ => Err(DropReason::ClassUnknown),
    }
}

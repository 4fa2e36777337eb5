//! A new flow: which instance gets it, what it is charged, and what is remembered.
//!
//! Exits: the packet forwarded to the chosen instance (or the alternate cluster), or refused so that the sender hears
//! of it: [`DropReason::ClassUnknown`], [`DropReason::ClassContradicts`], [`DropReason::AdmitSource`],
//! [`DropReason::AdmitClass`], [`DropReason::NoCandidate`], [`DropReason::Saturated`], and those of [`super::verify`].

use afr_wire::{PolicyScope, RequestFlags};

use super::admit::Admission;
use super::choose::{Choice, Chooser};
use super::matching::{Need, candidates};
use super::policy::Task;
use super::replay_guard::Session;
use super::score::{View, reused_tokens};
use super::verify::{Unbelieved, Usable, origin_of};
use crate::aft::maglev::Maglev;
use crate::config::{Class, PlainDispatch, PolicyKind, Saturation};
use crate::counters::Figure;
use crate::fast::Claims;
use crate::flow::{FlowKey, Pin};
use crate::id::{ClassIx, Incarnation, Slot};
use crate::packet::PacketBuf;
use crate::packet::parse::{Found, Upper};
use crate::packet::tcp::flag;
use crate::path::{Item, Path, Target};
use crate::verdict::{DispatchReason, DropReason, MetadataNote, Verdict};

/// Where a new flow goes, and at what charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) pin: Pin,
    pub(super) why: DispatchReason,
    /// Uncached tokens of the prompt.
    pub(super) charge: u32,
}

/// Whether the packet begins something: it is a TCP segment with SYN alone, or no TCP segment at all.
#[inline]
pub(super) fn opens(item: &Item) -> bool {
    const CONTROL: u8 = flag::SYN | flag::ACK | flag::RST | flag::FIN;
    match item.parsed.upper {
        Upper::Tcp { flags, .. } => flags & CONTROL == flag::SYN,
        _ => true,
    }
}

impl Path<'_> {
    /// Places the packet's flow and forwards the packet.
    pub(crate) fn new_flow<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        found: Option<Found>,
    ) -> Verdict {
        let mut usable = Usable::NOTHING;
        match self.usable(buf, item, found, &mut usable) {
            Ok(()) => self.dispatch(buf, item, key, Some(&usable)),
            Err(None) => self.dispatch(buf, item, key, None),
            Err(Some(reason)) => Verdict::Drop(reason, None),
        }
    }

    /// The same once it is known what of its request may be acted on.
    pub(crate) fn dispatch<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        usable: Option<&Usable>,
    ) -> Verdict {
        let class = match class_of(self, item.target, usable) {
            Ok(class) => class,
            Err(DropReason::ClassContradicts) => {
                return Verdict::Drop(DropReason::ClassContradicts, None);
            }
            Err(reason) => return self.refuse(buf, item, reason),
        };
        if let Some(usable) = usable {
            self.note_claims(buf, item, class, usable);
        }
        let source = item.parsed.source;
        if let Err(reason) = self.admit_new(source, class) {
            return self.refuse(buf, item, reason);
        }
        let usable = usable.filter(|usable| {
            let session = self.own.replay.fingerprint(source, usable.session);
            self.may_charge(session)
        });
        self.dispatch_as(buf, item, key, class, usable)
    }

    /// Keeps what a task claims that is believed: the next may claim the same.
    #[inline(always)]
    fn note_claims<B: PacketBuf>(&mut self, buf: &B, item: &Item, ix: ClassIx, usable: &Usable) {
        if usable.flags.contains(RequestFlags::NEW_TASK)
            && let (Some(found), Some(class)) = (item.parsed.request, self.class(ix))
        {
            let destination = item.parsed.final_destination;
            let claims = Claims::of_task(found.of(buf.data()), ix, class, destination, usable);
            Claims::take_up(self.claims, claims);
        }
    }

    /// The same once it is known to be of this class, admitted, and what of its request is charged.
    pub(crate) fn dispatch_as<B: PacketBuf>(
        &mut self,
        buf: &mut B,
        item: &Item,
        key: &FlowKey,
        class: ClassIx,
        usable: Option<&Usable>,
    ) -> Verdict {
        let placement = match self.placed(class, usable, opens(item), item.hash, || *key) {
            Ok(placement) => placement,
            Err(reason) => return self.refuse(buf, item, reason),
        };
        self.remember(class, &placement, usable);
        let datagram = !matches!(item.parsed.upper, Upper::Tcp { .. });
        let each_anew =
            datagram && usable.is_some_and(|usable| usable.flags.contains(RequestFlags::NEW_TASK));
        if each_anew || ends(item) {
            self.commit_at_once(&placement);
        } else {
            self.pin(buf, item, key, class, &placement, usable.is_some());
        }
        self.forward_pinned(buf, item, placement.pin, class, item.hash)
    }

    /// Where a new flow goes, whose hash at this AFR is `hash`.
    #[inline(always)]
    pub(crate) fn placed(
        &mut self,
        class: ClassIx,
        usable: Option<&Usable>,
        opens: bool,
        hash: u64,
        key: impl Fn() -> FlowKey,
    ) -> Result<Placement, DropReason> {
        let Some(settings) = self.class(class) else {
            return Err(DropReason::ClassUnknown);
        };
        if !opens {
            return self.place_by_maglev(class, self.shared_hash(&key()), false);
        }
        if usable.is_none() && settings.plain != PlainDispatch::Load {
            return self.place_by_maglev(class, self.shared_hash(&key()), true);
        }
        // Only consistent hashing has to be the same on every AFR; near-ties are better spread differently.
        let flow_hash = match settings.policy {
            PolicyKind::Maglev => self.shared_hash(&key()),
            _ => hash,
        };
        self.place(class, settings, usable, flow_hash)
    }

    /// Reads the request of the packet into `usable`, if there is one that may be acted on. Without, the reason to drop the packet,
    /// if that is one.
    #[inline(always)]
    pub(crate) fn usable<B: PacketBuf>(
        &mut self,
        buf: &B,
        item: &Item,
        found: Option<Found>,
        usable: &mut Usable,
    ) -> Result<(), Option<DropReason>> {
        let Some(found) = found else {
            self.note(MetadataNote::Absent);
            return Err(None);
        };
        if !opens(item) {
            self.note(MetadataNote::NotAtSyn);
            return Err(None);
        }
        match self.verify(&origin_of(item), found.of(buf.data()), usable) {
            Ok(()) => Ok(()),
            Err(Unbelieved::Unusable(note)) => {
                self.note(note);
                Err(None)
            }
            Err(Unbelieved::Refused(reason)) => Err(Some(reason)),
        }
    }

    /// Rate control.
    pub(crate) fn admit_new(&mut self, source: u128, class: ClassIx) -> Result<(), DropReason> {
        let (rate, burst) = self
            .class(class)
            .map_or((0, 0), |c| (c.admit_per_s, c.admit_burst));
        let now_us = self.now.mono_us;
        match self.own.admit.admit(now_us, source, class, rate, burst) {
            Admission::Admitted => Ok(()),
            Admission::SourceLimited => Err(DropReason::AdmitSource),
            Admission::ClassLimited => Err(DropReason::AdmitClass),
        }
    }

    /// Whether the sender's session may have another charged dispatch. Where not, the flow is placed as a plain one.
    #[inline(always)]
    pub(crate) fn may_charge(&mut self, session: Session) -> bool {
        let may = self.own.replay.charge_to(self.mono_s, session);
        if !may {
            self.note(MetadataNote::Replayed);
        }
        may
    }

    /// The flow's hash that is the same on every AFR of the cluster.
    fn shared_hash(&self, key: &FlowKey) -> u64 {
        let seed = &self.config.maglev_seed;
        Maglev::flow_hash(seed, &key.src, &key.dst, key.proto, key.sport, key.dport)
    }

    /// The class's policy over the candidates: with affinity for a request, by load alone without one.
    fn place(
        &mut self,
        class_ix: ClassIx,
        class: &Class,
        usable: Option<&Usable>,
        flow_hash: u64,
    ) -> Result<Placement, DropReason> {
        let own = &mut *self.own;
        let need = Need {
            class: class_ix,
            policy: usable.map_or(PolicyScope(0), |usable| usable.policy),
            bloom: usable.map_or(&[0; 4], |usable| usable.bloom.words()),
        };
        let (live, now_us) = (&self.shared.live, self.now.mono_us);
        candidates(self.aft, live, &own.loads, &need, now_us, &mut own.scratch);
        match usable {
            Some(usable) => own.scratch.reuse.compute_within(
                own.scratch.candidates.len(),
                &self.aft.known(own.id, &own.residency),
                usable.catalogue,
                usable.domain,
                &usable.prefixes,
            ),
            None => own.scratch.reuse.reset(),
        }
        let prompt_tokens = prompt_tokens(class, usable);
        let mut chooser = Chooser {
            view: View {
                aft: self.aft,
                loads: &own.loads,
                inflight: &self.shared.inflight,
                charges: &own.charges,
            },
            task: Task {
                class: class_ix,
                prompt_tokens,
                flow_hash,
            },
            knobs: &self.config.dispatch,
            live,
            labels: usable.map_or(&[], |usable| &usable.labels),
            scratch: &mut own.scratch,
            false_positives: 0,
        };
        let choice = chooser.choose(class);
        let false_positives = chooser.false_positives;
        let counters = &mut own.counters;
        counters.add(
            Figure::Note(MetadataNote::BloomFalsePositive),
            false_positives,
        );
        let may_spill = class.spill.is_some()
            && usable.is_some_and(|usable| usable.flags.contains(RequestFlags::SPILL_OK));
        let slot = match choice {
            Choice::Within(slot) => slot,
            Choice::Over(_) | Choice::Nobody if may_spill => {
                return Ok(Placement {
                    pin: Pin::Spill,
                    why: DispatchReason::Spill,
                    charge: 0,
                });
            }
            Choice::Over(_) if class.saturation == Saturation::Reject => {
                return Err(DropReason::Saturated);
            }
            Choice::Over(slot) => slot,
            Choice::Nobody => return Err(DropReason::NoCandidate),
        };
        // Two lines that are seldom in the inner caches, and would be waited for one after the other.
        self.aft.prefetch_path(slot);
        self.shared.inflight.prefetch(slot);
        let depth = own.scratch.reuse.depth(slot);
        let reused = reused_tokens(prompt_tokens, depth);
        if usable.is_some() {
            counters.add(Figure::PromptTokens, u64::from(prompt_tokens));
            counters.add(Figure::AffinityTokens, u64::from(reused));
        }
        Ok(Placement {
            pin: Pin::Instance(slot, self.aft.incarnation(slot)),
            why: match choice {
                Choice::Over(_) => DispatchReason::LeastBad,
                _ if usable.is_none() => DispatchReason::FallbackLoad,
                _ if depth == 0 => DispatchReason::Load,
                _ => DispatchReason::Affinity,
            },
            charge: prompt_tokens - reused,
        })
    }

    /// The deterministic fallback, the same on every AFR. What is under way already may be so with an instance that
    /// takes nothing new any more.
    fn place_by_maglev(
        &self,
        class_ix: ClassIx,
        flow_hash: u64,
        opens: bool,
    ) -> Result<Placement, DropReason> {
        let state = self.aft.class(class_ix).ok_or(DropReason::ClassUnknown)?;
        let live = &self.shared.live;
        let takes = |slot: Slot| {
            let tenant = self.aft.incarnation(slot);
            // The table may be older than the generation around it.
            state.members.test(slot)
                && if opens {
                    live.accepts_new(slot, tenant)
                        && self.own.loads.is_available(self.aft, slot)
                        && !state.is_refused(slot, self.now.mono_us)
                } else {
                    live.alive(slot, tenant)
                }
        };
        state
            .maglev
            .pick(flow_hash, takes)
            .map(|slot| Placement {
                pin: Pin::Instance(slot, self.aft.incarnation(slot)),
                why: DispatchReason::FallbackMaglev,
                charge: 0,
            })
            .ok_or(DropReason::NoCandidate)
    }

    /// Where the flow of a dead instance goes on, under [`crate::config::OnDeath::Rehash`].
    pub(crate) fn rehash(&mut self, class: ClassIx, key: &FlowKey) -> Option<(Slot, Incarnation)> {
        let hash = self.shared_hash(key);
        match self.place_by_maglev(class, hash, true).ok()?.pin {
            Pin::Instance(slot, incarnation) => {
                self.dispatches
                    .dispatched(class, Some(slot), DispatchReason::Rehash);
                Some((slot, incarnation))
            }
            Pin::Spill => None,
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

/// Whether the packet ends something that is not known: there is nothing to remember.
#[inline]
fn ends(item: &Item) -> bool {
    match item.parsed.upper {
        Upper::Tcp { flags, .. } => flags & (flag::RST | flag::FIN) != 0,
        _ => false,
    }
}

/// Length of a request's prompt, as far as it is believed.
pub(super) fn prompt_tokens(class: &Class, usable: Option<&Usable>) -> u32 {
    class.prompt_tokens(usable.map_or(0, |usable| usable.prompt_tokens))
}

//! News of an instance: verified, dated, put to use by this worker at once, and told to the control core.
//!
//! Exits, each a note: applied, same as before (one comparison), malformed, wrongly keyed, stale, or of an instance
//! that is not registered. A report never decides what becomes of the packet that carried it.

use afr_wire::{
    EXID, InstanceId, KeyId, Place, REPORT_FIXED_LEN, ReportFlags, ReportView, Role, VERSION,
};
use arrayvec::ArrayVec;

use super::overlay::{Learned, UNTOLD};
use crate::aft::residency::Said;
use crate::aft::{Load, ReportOrder, SigKey};
use crate::fast::MacCheck;
use crate::id::Slot;
use crate::message::{EVENTS_PER_MESSAGE, KvEvent, WorkerMsg};
use crate::packet::bytes::{array, be32};
use crate::path::Path;
use crate::request::verify::{Name, valid_key};
use crate::verdict::MetadataNote;

impl Path<'_> {
    /// Takes the report in `bytes` that arrived from inside the trust domain.
    pub(crate) fn learn(&mut self, bytes: &[u8], place: Place) {
        let note = match self.reporter(bytes) {
            Some((slot, order)) => self.learn_ordered(slot, order, bytes, place),
            None if ReportView::of(bytes, place).is_some() => MetadataNote::ReportUnknownInstance,
            None => MetadataNote::ReportMalformed,
        };
        self.note(note);
    }

    /// The same of a report whose reporter is known to be the instance in `slot`.
    #[inline(always)]
    pub(crate) fn learn_checked(&mut self, slot: Slot, bytes: &[u8]) {
        let note = match Self::order_of(bytes) {
            Some(order) => self.learn_ordered(slot, order, bytes, Place::InBand),
            None => MetadataNote::ReportMalformed,
        };
        self.note(note);
    }

    #[inline(always)]
    fn learn_ordered(
        &mut self,
        slot: Slot,
        order: ReportOrder,
        bytes: &[u8],
        place: Place,
    ) -> MetadataNote {
        let known = self.last_applied(slot, order);
        if order == known {
            return MetadataNote::ReportSame;
        }
        match ReportView::of(bytes, place) {
            Some(_) if order < known => MetadataNote::ReportStale,
            Some(view) => self.learn_view(slot, order, &view),
            None => MetadataNote::ReportMalformed,
        }
    }

    /// Whether `bytes` are the report last applied, told by its order alone: "equal to the last: already applied, one
    /// comparison". Nothing is done with them, so nothing else of them matters. It is probably of the tenant of `likely`.
    #[inline(always)]
    pub(crate) fn is_applied(&self, likely: Slot, bytes: &[u8]) -> bool {
        let reporter = self.reporter_by(
            bytes,
            #[inline(always)]
            |id| self.aft.slot_near(likely, id),
        );
        reporter.is_some_and(|(slot, order)| self.is_last(slot, order))
    }

    /// Whose report it is, and which: by its first bytes.
    #[inline(always)]
    pub(crate) fn reporter(&self, bytes: &[u8]) -> Option<(Slot, ReportOrder)> {
        self.reporter_by(
            bytes,
            #[inline(always)]
            |id| self.aft.slot_of(id),
        )
    }

    /// The same, the slot of the instance's id told by `slot_of`.
    #[inline(always)]
    fn reporter_by(
        &self,
        bytes: &[u8],
        slot_of: impl FnOnce(InstanceId) -> Option<Slot>,
    ) -> Option<(Slot, ReportOrder)> {
        const HEAD: u32 = (EXID as u32) << 16 | (VERSION as u32) << 12 | 2 << 8;
        let fixed = bytes.first_chunk::<REPORT_FIXED_LEN>()?;
        let order = Self::order_of(fixed)?;
        let slot = slot_of(InstanceId(be32(fixed, 8)))?;
        (be32(fixed, 0) & 0xFFFF_FF00 == HEAD).then_some((slot, order))
    }

    /// Which of its reporter's reports it is.
    #[inline(always)]
    fn order_of(bytes: &[u8]) -> Option<ReportOrder> {
        let fixed = bytes.first_chunk::<REPORT_FIXED_LEN>()?;
        Some(ReportOrder::from_be_bytes(array(fixed, 12)))
    }

    /// Whether that report of the slot's tenant was the last to be applied.
    #[inline]
    pub(crate) fn is_last(&self, slot: Slot, order: ReportOrder) -> bool {
        order == self.last_applied(slot, order)
    }

    /// Which report of the slot's tenant was applied last, by this worker or in its generation. It is asked for because of `news`.
    #[inline]
    fn last_applied(&self, slot: Slot, news: ReportOrder) -> ReportOrder {
        let published = self.aft.order.get(slot.index()).copied();
        let tenant = self.aft.incarnation(slot);
        let own = self.own.loads.last(slot, tenant);
        let known = own.max(published.unwrap_or_default());
        #[cfg(not(feature = "bench-hooks"))]
        let _ = news;
        #[cfg(feature = "bench-hooks")]
        let known = crate::bench_hooks::known(news, known);
        known
    }

    /// Takes a report that is newer than the last.
    #[inline]
    fn learn_view(
        &mut self,
        slot: Slot,
        order: ReportOrder,
        view: &ReportView<'_>,
    ) -> MetadataNote {
        if !self.is_authentic(slot, view) {
            return MetadataNote::ReportMacInvalid;
        }
        let sampled_at_ms = view.sampled_at_ms();
        #[cfg(feature = "bench-hooks")]
        let sampled_at_ms = crate::bench_hooks::sampled_at(sampled_at_ms, self.now);
        // Both clocks count Unix milliseconds modulo 2^32: the difference is signed and small, or it is stale.
        let age_ms = (self.now.unix_ms as u32).wrapping_sub(sampled_at_ms) as i32;
        if age_ms.unsigned_abs() > self.config.dispatch.report_skew_ms {
            return MetadataNote::ReportStale;
        }
        self.apply(slot, order, sampled_at_ms, view);
        MetadataNote::ReportApplied
    }

    /// Whether the report is under the key that its instance must use: "an instance that has a key is believed only under
    /// it".
    fn is_authentic(&mut self, slot: Slot, view: &ReportView<'_>) -> bool {
        if !self.aft.registered.test(slot) {
            return false;
        }
        let Some(own) = self.aft.report_key(slot) else {
            return view.key_id() == KeyId::NONE;
        };
        // During a rotation the instance may be on its key's successor already. Any other entry of the ring may be known
        // to those whom this instance's key was to keep out.
        let successor = || self.config.key(own).and_then(|key| key.successor);
        if view.key_id() != own && Some(view.key_id()) != successor() {
            return false;
        }
        if self.mac != MacCheck::Unknown {
            return self.mac == MacCheck::Right;
        }
        let Ok(key) = valid_key(self.config, view.key_id(), self.unix_s) else {
            return false;
        };
        let name = Name {
            role: Role::Report,
            cluster: self.config.cluster,
            sender: u128::from(view.instance_id().0),
        };
        let keys = &mut self.own.keys;
        keys.derived(self.config, key, name)
            .is_some_and(|key| key.verify_report(view))
    }

    fn apply(&mut self, slot: Slot, order: ReportOrder, sampled_at_ms: u32, view: &ReportView<'_>) {
        self.learned = true;
        let now_us = self.now.mono_us;
        let (clocks, trust) = (&self.shared.clocks, self.config.dispatch.clock_trust());
        let sampled_us = clocks.observe(slot, sampled_at_ms, self.now, trust);
        let (pending_tokens, base_tokens) = self.reckon(slot, view, sampled_us);
        let load = Load {
            order,
            queue_depth: view.queue_depth(),
            running: view.running(),
            pending_tokens,
            prefill_rate_tokens_s: view.prefill_rate_tokens_s(),
            kv_used: view.kv_used(),
            load_class: view.load_class(),
            draining: view.flags().contains(ReportFlags::DRAINING),
            refusing: view.flags().contains(ReportFlags::REFUSING),
            base_tokens,
            received_us: now_us,
        };
        let cache_generation = view.cache_generation();
        let tenant = self.aft.incarnation(slot);
        let loads = &self.own.loads;
        let at_once = loads.is_due(slot, now_us)
            || view.n_events() != 0
            || view.refusals().len() != 0
            || loads.cache_generation(slot, tenant) != Some(cache_generation);
        // Before it goes into the ring: reading it once more behind those writes would wait for them, and the ring's lines are
        // another core's.
        let learned = Learned {
            position: if at_once {
                self.own.next_position()
            } else {
                UNTOLD
            },
            tenant,
            load,
            cache_generation,
        };
        self.own.loads.enter(slot, learned, now_us);
        self.own.scratch.standing.forget_slot(slot);
        if at_once {
            self.tell_report(slot, view);
        }
    }

    /// Tells the control core what was just learned of `slot`.
    // Apart, so that what is learned need not be kept besides where it is entered.
    #[inline(never)]
    fn tell_report(&mut self, slot: Slot, view: &ReportView<'_>) {
        let Some(Learned {
            load,
            cache_generation,
            ..
        }) = self.own.loads.learned(slot)
        else {
            return;
        };
        self.tell(WorkerMsg::Load {
            slot,
            load,
            cache_generation,
            refusals: view.refusals().take(4).collect(),
        });
        let mut batch = ArrayVec::<KvEvent, EVENTS_PER_MESSAGE>::new();
        for event in view.events() {
            batch.push(KvEvent {
                prefix: event.prefix,
                stored: event.op == afr_wire::EventOp::Stored,
            });
            if batch.is_full() {
                self.tell_events(slot, view, &mut batch);
            }
        }
        self.tell_events(slot, view, &mut batch);
    }

    /// What waits now by a report sampled at `sampled_us`, and how much of what was sent is covered by it. While the report was
    /// on its way, the instance worked: on what waited, and then on what was sent in the first half of that time.
    fn reckon(&self, slot: Slot, view: &ReportView<'_>, sampled_us: u64) -> (u32, u64) {
        let inflight = &self.shared.inflight;
        let settled_us = sampled_us.saturating_sub(self.config.dispatch.guard_us);
        let base = inflight.committed_at(slot, settled_us);
        let pending = view.pending_prefill_tokens();
        let age_us = self.now.mono_us.saturating_sub(sampled_us);
        let rate_tokens_s = u64::from(view.prefill_rate_tokens_s());
        let done = age_us.saturating_mul(rate_tokens_s) / 1_000_000;
        match done.checked_sub(u64::from(pending)) {
            None => (pending - done as u32, base),
            Some(0) => (0, base),
            Some(more) => {
                let half_us = sampled_us.midpoint(self.now.mono_us);
                let sent = inflight.committed_at(slot, half_us).saturating_sub(base);
                (0, base + more.min(sent))
            }
        }
    }

    fn tell_events(
        &mut self,
        slot: Slot,
        view: &ReportView<'_>,
        batch: &mut ArrayVec<KvEvent, EVENTS_PER_MESSAGE>,
    ) {
        if batch.is_empty() {
            return;
        }
        let position = self.tell(WorkerMsg::Events {
            slot,
            catalogue: view.catalogue(),
            domain: view.domain(),
            events: batch.clone(),
        });
        for event in batch.drain(..) {
            let key = SigKey::new(view.catalogue(), view.domain(), event.prefix);
            let said = if event.stored {
                Said::Stored
            } else {
                Said::Evicted
            };
            self.own.residency.insert(key, slot, said, position);
        }
    }
}

//! A state report as a plain value, and the writing of it.

use super::{Event, EventOp, OPS_PER_WORD, RATE_UNIT_TOKENS_S, Sections, at};
use crate::error::EmitError;
use crate::object::{Kind, emit_head, mac_len};
use crate::{
    CatalogueVersion, ClassId, DomainId, InstanceId, KeyId, List, MAX_EVENTS_DATAGRAM,
    MAX_REFUSALS, REPORT_FIXED_LEN, ReportFlags, ReportView,
};

/// A state report as a value (about 2 kB: it has room for a datagram's events).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Flags.
    pub flags: ReportFlags,
    /// Entry of the key ring to sign with; [`KeyId::NONE`] for an unauthenticated report.
    pub key_id: KeyId,
    /// Version of the label catalogue.
    pub catalogue: CatalogueVersion,
    /// Who reports.
    pub instance_id: InstanceId,
    /// Start of the reporting agent, in Unix seconds and never below the last one used.
    pub boot_epoch: u32,
    /// Orders the reports of one boot epoch.
    pub seq: u32,
    /// When the engine was sampled: low 32 bits of Unix milliseconds.
    pub sampled_at_ms: u32,
    /// Requests waiting.
    pub queue_depth: u16,
    /// Requests running.
    pub running: u16,
    /// Uncached tokens still to prefill.
    pub pending_prefill_tokens: u32,
    /// Prefill rate in tokens per second; 0 if unknown. Written in steps of 16, rounded to the
    /// nearest but never to 0, at most 1,048,560.
    pub prefill_rate_tokens_s: u32,
    /// Use of the KV capacity, 0–255.
    pub kv_used: u8,
    /// One normalised load score, 0–255.
    pub load_class: u8,
    /// Signature domain of the events.
    pub domain: DomainId,
    /// KV events. More than [`crate::MAX_EVENTS_IN_BAND`] are for a datagram only.
    pub events: List<Event, MAX_EVENTS_DATAGRAM>,
    /// Classes the instance refuses.
    pub refusals: List<ClassId, MAX_REFUSALS>,
    /// Changes when the cache is cleared.
    pub cache_generation: u32,
}

impl Report {
    /// The value of a view, without its MAC.
    pub fn from_view(view: &ReportView<'_>) -> Self {
        Self {
            flags: view.flags(),
            key_id: view.key_id(),
            catalogue: view.catalogue(),
            instance_id: view.instance_id(),
            boot_epoch: view.boot_epoch(),
            seq: view.seq(),
            sampled_at_ms: view.sampled_at_ms(),
            queue_depth: view.queue_depth(),
            running: view.running(),
            pending_prefill_tokens: view.pending_prefill_tokens(),
            prefill_rate_tokens_s: view.prefill_rate_tokens_s(),
            kv_used: view.kv_used(),
            load_class: view.load_class(),
            domain: view.domain(),
            events: List::take_from(view.events()),
            refusals: List::take_from(view.refusals()),
            cache_generation: view.cache_generation(),
        }
    }

    /// Bytes [`Report::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        let sections = Sections::of(self.events.len(), self.refusals.len());
        REPORT_FIXED_LEN + sections.end + mac_len(self.key_id)
    }

    /// Writes the object to the front of `out` and says how long it is. The MAC, where there is
    /// one, is zero until [`crate::SenderKey::sign_report`].
    ///
    /// # Errors
    ///
    /// [`EmitError::NoRoom`], or [`EmitError::DepthZero`] for an event that no receiver would
    /// accept. Nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        if self.events.iter().any(|event| event.prefix.depth == 0) {
            return Err(EmitError::DepthZero);
        }
        let needed = self.buffer_len();
        let available = out.len();
        let no_room = EmitError::NoRoom { needed, available };
        let object = out.get_mut(..needed).ok_or(no_room)?;
        object.fill(0);
        let (fixed, rest) = object.split_first_chunk_mut().ok_or(no_room)?;
        *fixed = self.emit_fixed();

        let sections = Sections::of(self.events.len(), self.refusals.len());
        let (events, rest) = rest.split_at_mut(sections.ops_at);
        let (ops, rest) = rest.split_at_mut(sections.refusals_at - sections.ops_at);
        for (slot, event) in events.as_chunks_mut().0.iter_mut().zip(&self.events) {
            *slot = event.prefix.to_wire();
        }
        for (slot, events) in ops
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(self.events.chunks(OPS_PER_WORD))
        {
            let bit =
                |(bit, event): (usize, &Event)| u32::from(event.op == EventOp::Evicted) << bit;
            *slot = events
                .iter()
                .enumerate()
                .map(bit)
                .sum::<u32>()
                .to_be_bytes();
        }
        for (slot, class) in rest.as_chunks_mut().0.iter_mut().zip(&self.refusals) {
            *slot = class.0.to_be_bytes();
        }
        Ok(needed)
    }

    fn emit_fixed(&self) -> [u8; REPORT_FIXED_LEN] {
        let mut fixed = [0; REPORT_FIXED_LEN];
        fixed[..at::INSTANCE_ID].copy_from_slice(&emit_head(
            Kind::Report,
            self.flags.0,
            self.key_id,
            self.catalogue,
        ));
        fixed[at::INSTANCE_ID..at::BOOT_EPOCH].copy_from_slice(&self.instance_id.0.to_be_bytes());
        fixed[at::BOOT_EPOCH..at::SEQ].copy_from_slice(&self.boot_epoch.to_be_bytes());
        fixed[at::SEQ..at::SAMPLED_AT].copy_from_slice(&self.seq.to_be_bytes());
        fixed[at::SAMPLED_AT..at::QUEUE_DEPTH].copy_from_slice(&self.sampled_at_ms.to_be_bytes());
        fixed[at::QUEUE_DEPTH..at::RUNNING].copy_from_slice(&self.queue_depth.to_be_bytes());
        fixed[at::RUNNING..at::PENDING_PREFILL_TOKENS].copy_from_slice(&self.running.to_be_bytes());
        fixed[at::PENDING_PREFILL_TOKENS..at::PREFILL_RATE]
            .copy_from_slice(&self.pending_prefill_tokens.to_be_bytes());
        fixed[at::PREFILL_RATE..at::KV_USED]
            .copy_from_slice(&rate_field(self.prefill_rate_tokens_s).to_be_bytes());
        fixed[at::KV_USED] = self.kv_used;
        fixed[at::LOAD_CLASS] = self.load_class;
        fixed[at::DOMAIN..at::N_EVENTS].copy_from_slice(&self.domain.0.to_be_bytes());
        fixed[at::N_EVENTS] = self.events.len() as u8;
        fixed[at::N_REFUSALS] = self.refusals.len() as u8;
        fixed[at::CACHE_GENERATION..].copy_from_slice(&self.cache_generation.to_be_bytes());
        fixed
    }
}

/// The prefill rate in steps of 16 tokens/s. A rate below half a step is written as one step,
/// because 0 would say that it is unknown.
fn rate_field(tokens_s: u32) -> u16 {
    let steps = tokens_s.saturating_add(RATE_UNIT_TOKENS_S / 2) / RATE_UNIT_TOKENS_S;
    steps.clamp(u32::from(tokens_s > 0), u32::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_rate_is_never_written_as_unknown() {
        assert_eq!(rate_field(0), 0);
        assert_eq!(rate_field(1), 1);
        assert_eq!(rate_field(23), 1);
        assert_eq!(rate_field(24), 2);
        assert_eq!(rate_field(u32::MAX), u16::MAX);
    }
}

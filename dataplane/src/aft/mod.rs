//! The Agent Forwarding Table: what Stage 2 decides from.
//!
//! A worker reads one *generation* of it at a time (see [`epoch`]); only the control core writes, by [`Op`]s that are
//! applied to the two copies in turn. What must not wait for the next generation stands beside it, in atomics:
//! tokens in flight ([`inflight`]) and whether an instance is alive ([`live`]).

pub mod bitmap;
pub mod maglev;
pub mod residency;
pub mod reuse;
pub mod inflight;
pub mod live;
pub mod epoch;
mod sync;
mod table;

use std::sync::Arc;

use afr_wire::{CatalogueVersion, ClassId, DomainId, Prefix, Signature};

use crate::config::{Config, Instance};
use crate::id::{Slot, WorkerId};

pub use table::{
    Aft, ClassState, Coalescing, MAX_REFUSALS, PathEntry, PathKind, Policies, RATE_SHIFT,
};

/// Names a prefix of a prompt: what residency is keyed by. Never matches across catalogues or domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SigKey {
    /// Catalogue version, which the domain key rotates with.
    pub catalogue: CatalogueVersion,
    /// Tenant.
    pub domain: DomainId,
    /// Depth in units of 256 tokens.
    pub depth: u16,
    /// The signature at that depth.
    pub signature: Signature,
}

impl SigKey {
    /// The key of `prefix` under a catalogue and domain.
    #[inline]
    #[must_use]
    pub const fn new(catalogue: CatalogueVersion, domain: DomainId, prefix: Prefix) -> Self {
        Self {
            catalogue,
            domain,
            depth: prefix.depth,
            signature: prefix.signature,
        }
    }
}

/// Orders an instance's reports: agent start, then number. In one figure, which is read, compared and kept in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReportOrder(u64);

impl ReportOrder {
    /// The order of report number `seq` since the agent's start at `boot_epoch`, Unix seconds.
    #[inline]
    #[must_use]
    pub const fn new(boot_epoch: u32, seq: u32) -> Self {
        Self((boot_epoch as u64) << 32 | seq as u64)
    }

    /// The same as reports have it: both in network byte order, one behind the other.
    #[inline(always)]
    #[must_use]
    pub const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Unix seconds of the agent's start.
    #[inline]
    #[must_use]
    pub const fn boot_epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Number of the report since.
    #[inline]
    #[must_use]
    pub const fn seq(self) -> u32 {
        self.0 as u32
    }
}

/// An instance's load as of one report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Which report this is from.
    pub order: ReportOrder,
    /// Requests waiting.
    pub queue_depth: u16,
    /// Requests running.
    pub running: u16,
    /// Uncached tokens still to prefill.
    pub pending_tokens: u32,
    /// Tokens a second; 0: keep the rate known so far.
    pub prefill_rate_tokens_s: u32,
    /// KV capacity in use, 0–255.
    pub kv_used: u8,
    /// Normalised score, 0–255.
    pub load_class: u8,
    /// No new flows, the agent says.
    pub draining: bool,
    /// Refuses new requests at the moment.
    pub refusing: bool,
    /// Tokens committed by this AFR up to the report's date less the guard ([`inflight`]).
    pub base_tokens: u64,
    /// When it was received, microseconds of the monotonic clock.
    pub received_us: u64,
}

/// One change of the AFT. A batch of them makes a generation.
#[derive(Debug, Clone)]
pub enum Op {
    /// Another configuration.
    Config(Arc<Config>),
    /// An instance appears or changes, in a free slot or its own.
    Instance {
        /// Its slot.
        slot: Slot,
        /// What it is.
        instance: Arc<Instance>,
    },
    /// An instance is gone.
    Remove {
        /// Its slot.
        slot: Slot,
    },
    /// Maglev table of a class, built by the control core over the registered instances.
    Maglev {
        /// The class.
        class: ClassId,
        /// Its table.
        table: Arc<maglev::Maglev>,
    },
    /// News of an instance's load. An older one than the AFT holds is left out.
    Load {
        /// Whose.
        slot: Slot,
        /// What.
        load: Load,
    },
    /// What a silent instance is reckoned to have done since its last report: it works at its prefill rate.
    Reckoned {
        /// Whose.
        slot: Slot,
        /// The report this goes on from; without effect if the AFT holds another.
        order: ReportOrder,
        /// Tokens left of what the report said was waiting.
        pending_tokens: u32,
        /// Tokens committed by this AFR that are covered or done ([`inflight`]).
        base_tokens: u64,
    },
    /// An instance holds a prefix.
    Stored {
        /// Who.
        slot: Slot,
        /// What.
        key: SigKey,
        /// Entered by an own dispatch, not yet confirmed by a report.
        provisional: bool,
        /// When, in seconds of the monotonic clock.
        now_s: u32,
    },
    /// An instance no longer holds a prefix.
    Evicted {
        /// Who.
        slot: Slot,
        /// What.
        key: SigKey,
    },
    /// An instance's whole cache was cleared.
    Cleared {
        /// Whose.
        slot: Slot,
    },
    /// An instance refuses a class for now.
    Refused {
        /// Who.
        slot: Slot,
        /// What.
        class: ClassId,
        /// Until when, microseconds of the monotonic clock.
        until_us: u64,
    },
    /// Position in a worker's ring up to which this generation includes what the worker said.
    Consumed {
        /// Which worker.
        worker: WorkerId,
        /// Messages taken from its ring since the start.
        position: u64,
    },
    /// Time passes: the AFT's own idea of now, by which residency ages.
    Tick {
        /// Seconds of the monotonic clock.
        now_s: u32,
    },
}

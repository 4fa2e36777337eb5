//! One copy of the Agent Forwarding Table: everything that dispatch reads, laid out by slot.
//!
//! What the scoring loop reads of every candidate is a structure of arrays, one vector a quantity. What forwarding reads of
//! one instance is one cache line ([`PathEntry`]). Operations about slots or classes that do not exist are ignored.

mod absorb;
mod class;
mod names;
mod op;
mod path;
mod policy;

use std::net::Ipv6Addr;
use std::sync::Arc;

use afr_wire::{Bloom, InstanceId, KeyId, Label32, PolicyScope};
use dpdk::prefetch::prefetch_read;

use super::bitmap::Bitmap;
use super::residency::{Holders, Overlay, Residency, Ttl};
use super::reuse::Known;
use super::{ReportOrder, SigKey};
use crate::config::{Config, Instance};
use crate::id::{ClassIx, Incarnation, Slot, WorkerId};

use names::Names;

pub use class::{ClassState, MAX_REFUSALS};
pub use op::Coalescing;
pub use path::{PathEntry, PathKind};
pub use policy::Policies;

/// Fractional bits of [`Aft::us_per_token_q`].
pub const RATE_SHIFT: u32 = 16;

/// The Agent Forwarding Table. Vectors without another length are over the slots.
#[derive(Debug)]
pub struct Aft {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Who has each slot.
    pub instances: Vec<Option<Arc<Instance>>>,
    /// How packets reach each instance.
    pub path: Vec<PathEntry>,

    /// Slots with an instance.
    pub registered: Bitmap,
    /// Registered, and neither draining nor refusing by the last report.
    pub available: Bitmap,
    /// By [`ClassIx`]; ask [`Aft::class`].
    pub classes: Vec<Option<ClassState>>,
    /// Which instances accept which policy scope.
    pub policies: Policies,
    /// Counts the changes of classes, members, scopes and labels.
    pub capabilities: u64,
    /// Bloom filters of 256 bits over each instance's labels: word *w* of slot *s* is `bloom[w][s]`.
    pub bloom: [Vec<u64>; 4],

    /// Uncached tokens still to prefill, as reported.
    pub pending_tokens: Vec<u32>,
    /// Microseconds that an instance takes to prefill a token, in units of 2^-[`RATE_SHIFT`]; saturated.
    pub us_per_token_q: Vec<u32>,
    /// Tokens that this AFR had committed and that the last report covers ([`crate::aft::inflight`]).
    pub base_tokens: Vec<u64>,
    /// What admitting more work costs because the KV store or the batch is nearly full, in microseconds.
    pub pressure_us: Vec<u32>,
    /// KV capacity in use, 0–255.
    pub kv_used: Vec<u8>,
    /// Requests running.
    pub running: Vec<u16>,
    /// Requests waiting.
    pub queue: Vec<u16>,
    /// Normalised score of the instance's own, 0–255.
    pub load_class: Vec<u8>,
    /// Which report the load is from; the default before the first.
    pub order: Vec<ReportOrder>,
    /// When that report came, microseconds of the monotonic clock; 0 before the first.
    pub received_us: Vec<u64>,

    /// Who holds which prefix.
    pub residency: Residency,
    /// Messages that this generation includes, by worker.
    pub consumed: Vec<u64>,
    /// The generation's time, seconds of the monotonic clock.
    pub now_s: u32,

    /// Whose path each slot has: closer together than the paths are.
    tenants: Vec<Incarnation>,
    /// The key that each slot's instance reports under, if it needs one.
    report_keys: Vec<Option<KeyId>>,
    /// Whose rate is from a report; the others' is configured.
    rate_reported: Bitmap,
    by_id: Names<InstanceId>,
    /// Addresses as numbers, which are hashed in one step.
    by_tunnel_source: Names<u128>,
}

impl Aft {
    /// The table of no instances, its sizes taken from the configuration's limits for good.
    #[must_use]
    pub fn new(config: Arc<Config>, workers: usize) -> Self {
        let slots = usize::from(config.limits.instances);
        let ttl = ttl(&config);
        let classes = class::states_of(&config, &mut [], slots);
        Self {
            instances: vec![None; slots],
            path: vec![PathEntry::NONE; slots],
            tenants: vec![PathEntry::NONE.incarnation; slots],
            report_keys: vec![None; slots],
            registered: Bitmap::new(slots),
            available: Bitmap::new(slots),
            classes,
            policies: Policies::new(slots),
            capabilities: 0,
            bloom: std::array::from_fn(|_| vec![0; slots]),
            pending_tokens: vec![0; slots],
            us_per_token_q: vec![0; slots],
            base_tokens: vec![0; slots],
            pressure_us: vec![0; slots],
            kv_used: vec![0; slots],
            running: vec![0; slots],
            queue: vec![0; slots],
            load_class: vec![0; slots],
            order: vec![ReportOrder::default(); slots],
            received_us: vec![0; slots],
            residency: Residency::new(config.limits.signatures as usize, slots, ttl),
            consumed: vec![0; workers],
            now_s: 0,
            rate_reported: Bitmap::new(slots),
            by_id: Names::new(slots),
            by_tunnel_source: Names::new(slots),
            config,
        }
    }

    /// Number of slots.
    #[inline]
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.instances.len()
    }

    /// The instance in `slot`.
    #[inline]
    #[must_use]
    pub fn instance(&self, slot: Slot) -> Option<&Arc<Instance>> {
        self.instances.get(slot.index())?.as_ref()
    }

    /// The slot of an instance. Of two with the same id the one registered last.
    #[inline(always)]
    #[must_use]
    pub fn slot_of(&self, id: InstanceId) -> Option<Slot> {
        self.by_id.get(id)
    }

    /// The same where it is probably in `likely`, a slot that has a tenant.
    #[inline(always)]
    pub(crate) fn slot_near(&self, likely: Slot, id: InstanceId) -> Option<Slot> {
        self.by_id.get_near(likely, id)
    }

    /// The instance whose encapsulated replies come from `source`. Of two the one registered last.
    #[inline]
    #[must_use]
    pub fn slot_by_tunnel_source(&self, source: Ipv6Addr) -> Option<Slot> {
        self.slot_behind(u128::from(source))
    }

    /// The same for an address as a number.
    #[inline(always)]
    pub(crate) fn slot_behind(&self, source: u128) -> Option<Slot> {
        self.by_tunnel_source.get(source)
    }

    /// The same where it is probably `likely`, a slot that has a tenant. Of two behind one address either.
    #[inline(always)]
    pub(crate) fn slot_behind_near(&self, likely: Slot, source: u128) -> Option<Slot> {
        self.by_tunnel_source.get_near(likely, source)
    }

    /// Brings nearer what a packet to `slot` will read.
    #[inline]
    pub(crate) fn prefetch_path(&self, slot: Slot) {
        if let Some(path) = self.path.get(slot.index()) {
            prefetch_read(path);
        }
    }

    /// Which tenant the generation has in `slot`.
    #[inline]
    #[must_use]
    pub fn incarnation(&self, slot: Slot) -> Incarnation {
        let tenant = self.tenants.get(slot.index()).copied();
        tenant.unwrap_or(Incarnation(0))
    }

    /// The key that the instance in `slot` reports under, if it needs one.
    #[inline]
    pub(crate) fn report_key(&self, slot: Slot) -> Option<KeyId> {
        self.report_keys.get(slot.index()).copied().flatten()
    }

    /// Messages of `worker` that the generation includes.
    #[inline]
    #[must_use]
    pub fn consumed_of(&self, worker: WorkerId) -> u64 {
        self.consumed
            .get(usize::from(worker.0))
            .copied()
            .unwrap_or(0)
    }

    /// The state of a class.
    #[inline]
    #[must_use]
    pub fn class(&self, class: ClassIx) -> Option<&ClassState> {
        self.classes.get(usize::from(class.0))?.as_ref()
    }

    /// The instances that accept a policy scope; `None` if all do.
    #[inline]
    #[must_use]
    pub fn policy_mask(&self, scope: PolicyScope) -> Option<&Bitmap> {
        self.policies.mask(scope)
    }

    /// Whether the instance carries every one of `labels`: exactly, where its Bloom filter may be wrong.
    #[must_use]
    pub fn has_labels(&self, slot: Slot, labels: &[Label32]) -> bool {
        self.instance(slot)
            .is_some_and(|instance| labels.iter().all(|label| instance.labels.contains(label)))
    }

    /// Whether the instance may carry every label of `request`. Never false for one that does.
    #[inline]
    #[must_use]
    pub fn may_have(&self, slot: Slot, request: &Bloom<4>) -> bool {
        let missing = self
            .bloom
            .iter()
            .zip(request.words())
            .map(|(words, wanted)| wanted & !words.get(slot.index()).copied().unwrap_or(0));
        missing.fold(0, |all, word| all | word) == 0
    }

    /// Who holds `key` at the generation's time.
    #[inline]
    #[must_use]
    pub fn holders(&self, key: SigKey) -> Holders<'_> {
        self.residency.holders(key, self.now_s)
    }

    /// What `worker` knows of residency, with its own `overlay`.
    #[inline]
    #[must_use]
    pub fn known<'a>(&'a self, worker: WorkerId, overlay: &'a Overlay) -> Known<'a> {
        Known {
            residency: &self.residency,
            now_s: self.now_s,
            overlay,
            consumed: self.consumed_of(worker),
        }
    }
}

fn ttl(config: &Config) -> Ttl {
    Ttl {
        confirmed_s: config.dispatch.residency_ttl_s,
        provisional_s: config.dispatch.provisional_ttl_s,
    }
}

impl PartialEq for Aft {
    /// Whether the two are copies of each other: the same operations were applied to both.
    fn eq(&self, other: &Self) -> bool {
        let same_instance = |(a, b): (&Option<Arc<Instance>>, &Option<Arc<Instance>>)| match (a, b)
        {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.config, &other.config)
            && self.slots() == other.slots()
            && self
                .instances
                .iter()
                .zip(&other.instances)
                .all(same_instance)
            && self.path == other.path
            && self.tenants == other.tenants
            && self.report_keys == other.report_keys
            && self.registered == other.registered
            && self.available == other.available
            && self.classes == other.classes
            && self.policies == other.policies
            && self.capabilities == other.capabilities
            && self.bloom == other.bloom
            && self.pending_tokens == other.pending_tokens
            && self.us_per_token_q == other.us_per_token_q
            && self.base_tokens == other.base_tokens
            && self.pressure_us == other.pressure_us
            && self.kv_used == other.kv_used
            && self.running == other.running
            && self.queue == other.queue
            && self.load_class == other.load_class
            && self.order == other.order
            && self.received_us == other.received_us
            && self.residency == other.residency
            && self.consumed == other.consumed
            && self.now_s == other.now_s
            && self.rate_reported == other.rate_reported
            && self.by_id == other.by_id
            && self.by_tunnel_source == other.by_tunnel_source
    }
}

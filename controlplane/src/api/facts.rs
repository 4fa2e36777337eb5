//! What the control core tells of instances and classes: figures, copied between two of its steps, for the API and the
//! metrics alike.

use std::sync::Arc;

use afr_dataplane::aft::{Aft, RATE_SHIFT, ReportOrder};
use afr_dataplane::config::Instance;
use afr_dataplane::id::{ClassIx, Slot};
use afr_dataplane::message::Shared;
use afr_dataplane::reply::overlay::LoadOverlay;
use afr_dataplane::request::charges::Charges;
use afr_dataplane::request::score::{Estimate, View};
use afr_wire::ClassId;

use super::core::{CoreState, Standing};
use super::resolve::tenants;
use super::tally;

/// What the control core tells of an instance: figures, copied between two of its steps.
pub(crate) struct InstanceFacts {
    pub(crate) slot: Slot,
    pub(crate) instance: Arc<Instance>,
    pub(crate) standing: Standing,
    pub(crate) available: bool,
    pub(crate) refuses: Vec<ClassId>,
    pub(crate) estimate: Estimate,
    pub(crate) prefill_rate_tokens_s: u64,
    pub(crate) pressure_us: u32,
    pub(crate) waiting_requests: u16,
    pub(crate) running_requests: u16,
    pub(crate) kv_used_ratio: f64,
    pub(crate) load_class: u8,
    pub(crate) order: ReportOrder,
    pub(crate) report_age_us: Option<u64>,
}

/// The facts of every instance, by slot.
pub(crate) fn instances(core: &dyn CoreState, shared: &Shared) -> Vec<InstanceFacts> {
    let aft = core.aft();
    let now_us = core.now().mono_us;
    let loads = LoadOverlay::new(aft.slots());
    let view = View {
        aft,
        loads: &loads,
        inflight: &shared.inflight,
        charges: Charges::NONE,
    };
    let of = |(slot, instance): (Slot, &Arc<Instance>)| {
        let at = slot.index();
        InstanceFacts {
            slot,
            instance: Arc::clone(instance),
            standing: core.standing(slot),
            available: aft.available.test(slot),
            refuses: refuses(aft, slot, now_us),
            estimate: view.estimate(slot, 0, 0),
            prefill_rate_tokens_s: rate(aft.us_per_token_q.get(at).copied().unwrap_or(0)),
            pressure_us: aft.pressure_us.get(at).copied().unwrap_or(0),
            waiting_requests: aft.queue.get(at).copied().unwrap_or(0),
            running_requests: aft.running.get(at).copied().unwrap_or(0),
            kv_used_ratio: f64::from(aft.kv_used.get(at).copied().unwrap_or(0)) / 255.0,
            load_class: aft.load_class.get(at).copied().unwrap_or(0),
            order: aft.order.get(at).copied().unwrap_or_default(),
            report_age_us: tally::report_age_us(aft, slot, now_us),
        }
    };
    tenants(aft).map(of).collect()
}

/// Classes that the slot's tenant refuses at the moment.
fn refuses(aft: &Aft, slot: Slot, now_us: u64) -> Vec<ClassId> {
    let refused = aft
        .classes
        .iter()
        .flatten()
        .filter(|c| c.is_refused(slot, now_us));
    refused.map(|class| class.id).collect()
}

/// Tokens a second, rounded, from the AFT's microseconds a token.
fn rate(us_per_token_q: u32) -> u64 {
    let q = u64::from(us_per_token_q);
    ((1_000_000 << RATE_SHIFT) + q / 2)
        .checked_div(q)
        .unwrap_or(0)
}

/// How many instances a class has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClassUsage {
    /// That serve it.
    pub(crate) members: usize,
    /// Of these, that take new flows.
    pub(crate) usable: usize,
    /// That refuse it at the moment.
    pub(crate) refusing: usize,
    /// Entries of its Maglev table.
    pub(crate) maglev_entries: usize,
}

impl ClassUsage {
    /// Of the class at a place, at a time.
    pub(crate) fn of(aft: &Aft, shared: &Shared, at: ClassIx, now_us: u64) -> Self {
        let Some(state) = aft.class(at) else {
            return Self::default();
        };
        let refusing = |slot| state.is_refused(slot, now_us);
        let usable = |slot| {
            aft.available.test(slot)
                && shared.live.accepts_new(slot, aft.incarnation(slot))
                && !refusing(slot)
        };
        Self {
            members: state.members.count(),
            usable: state.members.iter().filter(|slot| usable(*slot)).count(),
            refusing: state.members.iter().filter(|slot| refusing(*slot)).count(),
            maglev_entries: state.maglev.table().len(),
        }
    }
}

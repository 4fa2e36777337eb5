//! Sums over the workers' counters.

use afr_dataplane::aft::Aft;
use afr_dataplane::config::Config;
use afr_dataplane::counters::{Figure, LocalCounters, WorkerCounters};
use afr_dataplane::id::Slot;
use afr_dataplane::message::Shared;
use afr_dataplane::verdict::DispatchReason;

use super::facts::InstanceFacts;

/// TSC cycles a packet; `None` before the first.
pub(crate) fn cycles_per_packet(counters: &LocalCounters) -> Option<f64> {
    let packets = counters.received();
    (packets != 0).then(|| counters.figure(Figure::BusyCycles) as f64 / packets as f64)
}

/// A figure over all workers.
pub(crate) fn total(shared: &Shared, figure: Figure) -> u64 {
    shared.counters.iter().map(|c| c.figure(figure)).sum()
}

/// Dispatches by all workers of each configured class that the instance serves, where there were any. Not those of whom
/// the slot had before.
pub(crate) fn dispatches_to<'a>(
    shared: &'a Shared,
    config: &'a Config,
    of: &'a InstanceFacts,
) -> impl Iterator<Item = (&'a str, u64)> {
    let classes = of.instance.classes.iter();
    let places = classes.filter_map(|id| config.class(*id));
    places.filter_map(move |at| {
        let counters = shared.counters.iter();
        let all: u64 = counters.map(|c| c.dispatches(at, of.slot)).sum();
        let mut before = of.standing.predecessors.iter();
        let before = before.find(|(class, _)| *class == at);
        let count = all.saturating_sub(before.map_or(0, |(_, count)| *count));
        let class = config.classes.get(at)?;
        (count != 0).then_some((class.name.as_str(), count))
    })
}

/// Dispatches by some workers of each configured class, for every reason.
pub(crate) fn dispatches_why<'a>(
    counters: &'a [&'a WorkerCounters],
    config: &'a Config,
) -> impl Iterator<Item = (&'a str, DispatchReason, u64)> {
    config.classes.iter().flat_map(move |(at, class)| {
        DispatchReason::ALL.iter().map(move |reason| {
            let count = counters.iter().map(|c| c.dispatches_why(at, *reason)).sum();
            (class.name.as_str(), *reason, count)
        })
    })
}

/// Microseconds since the slot's last report; `None` before the first.
pub(crate) fn report_age_us(aft: &Aft, slot: Slot, now_us: u64) -> Option<u64> {
    let received_us = aft.received_us.get(slot.index()).copied().unwrap_or(0);
    (received_us != 0).then(|| now_us.saturating_sub(received_us))
}

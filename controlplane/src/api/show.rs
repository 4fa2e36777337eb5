//! The `show` commands. The control core is asked for as little as will do, and names are put to it here.

mod instances;

use std::net::Ipv6Addr;
use std::sync::Arc;

use afr_dataplane::aft::Aft;
use afr_dataplane::config::{Class, Config};
use afr_dataplane::counters::{Figure, LocalCounters, WorkerCounters};
use afr_dataplane::id::{ClassIx, PortIx, WorkerId};
use afr_dataplane::message::Shared;
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote, PuntReason};

use super::error::{ApiError, Entity};
use super::facts::ClassUsage;
use super::platform::Site;
use super::protocol::CounterFilter;
use super::view::{
    AftView, ClassReasonCount, ClassView, CountersView, PortView, ReasonCount, WorkerView,
};
use super::{names, tally};

pub(super) use instances::instances;

/// The configuration in force.
pub(super) async fn config(site: &Site) -> Result<Arc<Config>, ApiError> {
    site.core.look(|core| Arc::clone(&core.aft().config)).await
}

/// `show ports`.
pub(super) async fn ports(site: &Site) -> Result<Vec<PortView>, ApiError> {
    let config = config(site).await?;
    let total = |figure| tally::total(&site.shared, figure);
    let view = |(at, port): (usize, &afr_dataplane::config::Port)| {
        let ix = PortIx(at as u8);
        let hardware = site.platform.ports.get(at).cloned().unwrap_or_default();
        let status = (site.platform.probe)(ix).unwrap_or_default();
        PortView {
            index: ix.0,
            name: port.name.clone(),
            role: names::role(port.role).to_owned(),
            boundary: names::boundary(port.boundary).to_owned(),
            device: hardware.device,
            driver: hardware.driver,
            queues: hardware.queues,
            mac: names::mac(port.mac),
            mtu_bytes: port.mtu,
            vlan: port.vlan,
            link_up: status.link_up,
            link_speed_mbps: status.link_speed_mbps,
            receive_packets: total(Figure::RxPackets(ix)),
            receive_bytes: total(Figure::RxBytes(ix)),
            transmit_packets: total(Figure::TxPackets(ix)),
            transmit_bytes: total(Figure::TxBytes(ix)),
            transmit_full_packets: total(Figure::TxFull(ix)),
            device_counters: status.counters,
        }
    };
    Ok(config.ports.iter().enumerate().map(view).collect())
}

/// `show workers`.
pub(super) async fn workers(site: &Site) -> Result<Vec<WorkerView>, ApiError> {
    let newest = site.core.look(|core| core.publishing().epoch).await?;
    let rings = site.shared.counters.iter().zip(&site.shared.rings);
    let view = |(at, (counters, ring)): (usize, (&Arc<WorkerCounters>, &Arc<_>))| {
        let ring: &crossbeam_queue::ArrayQueue<_> = ring;
        let counters = counters.snapshot();
        let epoch = counters.figure(Figure::Epoch);
        WorkerView {
            worker: at as u16,
            lcore: site.platform.lcores.get(at).copied(),
            epoch,
            epochs_behind: newest.saturating_sub(epoch),
            received_packets: counters.received(),
            forwarded_request_packets: counters.figure(Figure::ForwardedRequest),
            forwarded_reply_packets: counters.figure(Figure::ForwardedReply),
            punted_packets: counters.punted(),
            dropped_packets: counters.dropped(),
            originated_packets: counters.figure(Figure::Originated),
            handed_packets: counters.figure(Figure::Handed),
            steered_out_packets: counters.figure(Figure::SteeredOut),
            steered_in_packets: counters.figure(Figure::SteeredIn),
            flows: counters.figure(Figure::FlowsUsed),
            flows_capacity: counters.figure(Figure::FlowsCapacity),
            busy_cycles: counters.figure(Figure::BusyCycles),
            busy_bursts: counters.figure(Figure::BusyBursts),
            idle_polls: counters.figure(Figure::IdlePolls),
            cycles_per_packet: tally::cycles_per_packet(&counters),
            ring_messages: ring.len(),
            ring_capacity: ring.capacity(),
            ring_pushed: counters.figure(Figure::RingPushed),
            ring_full: counters.figure(Figure::Note(MetadataNote::ReportRingFull)),
        }
    };
    Ok(rings.enumerate().map(view).collect())
}

/// `show counters`.
pub(super) async fn counters(site: &Site, filter: CounterFilter) -> Result<CountersView, ApiError> {
    let config = config(site).await?;
    let shared = &*site.shared;
    let of: Vec<&WorkerCounters> = match filter.worker {
        None => shared.counters.iter().map(|counters| &**counters).collect(),
        Some(worker) => match shared.counters_of(WorkerId(worker)) {
            Some(counters) => vec![counters],
            None => {
                let numbers = (0..shared.counters.len()).map(|worker| worker.to_string());
                let given = worker.to_string();
                return Err(ApiError::unknown(Entity::Worker, given, numbers));
            }
        },
    };
    let counts: Vec<_> = of.iter().map(|counters| counters.snapshot()).collect();
    let figure = |figure| counts.iter().map(|c| c.figure(figure)).sum::<u64>();
    let count = |name: &str, help: &str, of| ReasonCount {
        name: name.to_owned(),
        help: help.to_owned(),
        count: figure(of),
    };
    let dispatches = tally::dispatches_why(&of, &config);
    let dispatches = dispatches.map(|(class, reason, count)| ClassReasonCount {
        class: class.to_owned(),
        reason: reason.name().to_owned(),
        count,
    });
    Ok(CountersView {
        worker: filter.worker,
        received_packets: counts.iter().map(LocalCounters::received).sum(),
        forwarded_request_packets: figure(Figure::ForwardedRequest),
        forwarded_reply_packets: figure(Figure::ForwardedReply),
        originated_packets: figure(Figure::Originated),
        prompt_tokens: figure(Figure::PromptTokens),
        affinity_tokens: figure(Figure::AffinityTokens),
        drops: (DropReason::ALL.iter().copied())
            .map(|reason| count(reason.name(), reason.help(), Figure::Drop(reason)))
            .collect(),
        punts: (PuntReason::ALL.iter().copied())
            .map(|reason| count(reason.name(), reason.help(), Figure::Punt(reason)))
            .collect(),
        notes: (MetadataNote::ALL.iter().copied())
            .map(|note| count(note.name(), note.help(), Figure::Note(note)))
            .collect(),
        dispatches: dispatches.collect(),
    })
}

/// `show aft`.
pub(super) async fn aft(site: &Site) -> Result<AftView, ApiError> {
    let view = site.core.look(|core| {
        let (aft, publishing) = (core.aft(), core.publishing());
        AftView {
            epoch: publishing.epoch,
            epoch_age_us: core.now().mono_us.saturating_sub(publishing.published_us),
            config_revision: aft.config.revision,
            cluster: aft.config.cluster.0,
            instances: aft.registered.count(),
            instance_slots: aft.slots(),
            instances_waiting: publishing.instances_waiting,
            classes: aft.config.classes.len(),
            signatures: aft.residency.len(),
            signatures_capacity: aft.residency.capacity(),
            signature_evictions: aft.residency.evictions(),
            holder_overflows: aft.residency.overflows(),
            consumed_messages: aft.consumed.clone(),
            pending_changes: publishing.pending_ops,
            dropped_changes: publishing.dropped_ops,
            publish_stalls: publishing.stalls,
            publish_stalled_us: publishing.stalled_us,
            workers_behind: publishing.workers_behind,
        }
    });
    view.await
}

/// `show classes`.
pub(super) async fn classes(site: &Site) -> Result<Vec<ClassView>, ApiError> {
    let shared = Arc::clone(&site.shared);
    let view = site.core.look(move |core| {
        let (aft, now_us) = (core.aft(), core.now().mono_us);
        let classes = aft.config.classes.iter();
        classes
            .map(|(at, class)| class_view(aft, &shared, at, class, now_us))
            .collect()
    });
    view.await
}

fn class_view(aft: &Aft, shared: &Shared, at: ClassIx, class: &Class, now_us: u64) -> ClassView {
    let usage = ClassUsage::of(aft, shared, at, now_us);
    let services = aft.config.services.iter();
    let under_services = services.map(|service| {
        let base = u128::from(service.address());
        Ipv6Addr::from(base | u128::from(class.id.0))
    });
    let reasons = DispatchReason::ALL.iter();
    let dispatches = reasons.flat_map(|why| {
        let by_workers = shared.counters.iter();
        by_workers.map(|counters| counters.dispatches_why(at, *why))
    });
    ClassView {
        id: class.id.0,
        name: class.name.clone(),
        policy: names::policy(class.policy).to_owned(),
        plain: names::plain(class.plain).to_owned(),
        objective_us: class.objective_us,
        saturation: names::saturation(class.saturation).to_owned(),
        spill: class.spill.map(|spill| spill.sid),
        on_death: names::on_death(class.on_death).to_owned(),
        addresses: under_services
            .chain(class.addresses.iter().copied())
            .collect(),
        instances: usage.members,
        usable_instances: usage.usable,
        refusing_instances: usage.refusing,
        maglev_entries: usage.maglev_entries,
        dispatches: dispatches.sum(),
    }
}

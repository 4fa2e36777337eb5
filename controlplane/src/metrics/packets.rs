//! Ports and workers.

use afr_dataplane::config::Config;
use afr_dataplane::counters::{Figure, LocalCounters};
use afr_dataplane::id::PortIx;
use afr_dataplane::memory::Table;
use afr_dataplane::message::Shared;
use afr_dataplane::verdict::{DropReason, MetadataNote, PuntReason};

use super::families::{Families, flag};
use crate::api::Platform;
use crate::api::balance::{Balance, Share};
use crate::api::platform::PortStatus;
use crate::api::tally;

/// Packets and bytes of each port by worker, and how the devices are.
pub(super) fn ports(
    families: &mut Families,
    config: &Config,
    counts: &[LocalCounters],
    platform: &Platform,
) {
    type OfPort = fn(PortIx) -> Figure;
    let counted: [(&str, &str, OfPort); 5] = [
        (
            "afr_port_receive_packets_total",
            "Packets received from a port.",
            Figure::RxPackets,
        ),
        (
            "afr_port_receive_bytes_total",
            "Bytes received from a port, from the Ethernet header on.",
            Figure::RxBytes,
        ),
        (
            "afr_port_transmit_packets_total",
            "Packets handed to a port's driver.",
            Figure::TxPackets,
        ),
        (
            "afr_port_transmit_bytes_total",
            "Bytes handed to a port's driver, from the Ethernet header on.",
            Figure::TxBytes,
        ),
        (
            "afr_port_transmit_full_packets_total",
            "Forwarded packets that a port's driver had no room for.",
            Figure::TxFull,
        ),
    ];
    let ports = || {
        config
            .ports
            .iter()
            .zip(0..)
            .map(|(p, at)| (&*p.name, PortIx(at)))
    };
    for (name, help, figure) in counted {
        let mut family = families.counter(name, help);
        for (worker, counters) in counts.iter().enumerate() {
            let worker = worker.to_string();
            for (port, at) in ports() {
                let labels = [("port", port), ("worker", &*worker)];
                family.at(&labels, counters.figure(figure(at)) as f64);
            }
        }
    }
    let mtus = config
        .ports
        .iter()
        .map(|port| (&*port.name, f64::from(port.mtu)));
    families
        .gauge("afr_port_mtu_bytes", "Largest IPv6 packet of a port.")
        .each("port", mtus);
    let probed = ports().filter_map(|(port, at)| Some((port, (platform.probe)(at)?)));
    devices(families, &probed.collect::<Vec<_>>());
}

fn devices(families: &mut Families, probed: &[(&str, PortStatus)]) {
    let mut gauge = |name, help, of: fn(&PortStatus) -> Option<f64>| {
        let known = probed
            .iter()
            .filter_map(|(port, is)| Some((*port, of(is)?)));
        families.gauge(name, help).each("port", known);
    };
    gauge(
        "afr_port_link_up",
        "Whether a port's link is up (1) or not (0).",
        |is| is.link_up.map(flag),
    );
    gauge(
        "afr_port_link_speed_bytes_per_second",
        "Speed of a port's link.",
        |is| is.link_speed_mbps.map(|mbps| f64::from(mbps) * 125_000.0),
    );
    let mut counter = |name, help, of: fn(&PortStatus) -> Option<u64>| {
        let known = probed
            .iter()
            .filter_map(|(port, is)| Some((*port, of(is)? as f64)));
        families.counter(name, help).each("port", known);
    };
    counter(
        "afr_port_receive_missed_packets_total",
        "Packets a port's device lost because no receive queue had room.",
        |is| Some(is.counters.as_ref()?.receive_missed_packets),
    );
    counter(
        "afr_port_receive_error_packets_total",
        "Packets a port's device received in error.",
        |is| Some(is.counters.as_ref()?.receive_error_packets),
    );
    counter(
        "afr_port_transmit_error_packets_total",
        "Packets a port's device failed to transmit.",
        |is| Some(is.counters.as_ref()?.transmit_error_packets),
    );
    counter(
        "afr_port_receive_no_buffer_total",
        "Times a port's device wanted a receive buffer and the pool was empty.",
        |is| Some(is.counters.as_ref()?.receive_no_buffer),
    );
}

/// What each worker counts: verdicts with every reason, flows, cycles, its ring.
pub(super) fn workers(families: &mut Families, shared: &Shared, counts: &[LocalCounters]) {
    verdicts(families, counts);
    let plain: [(&str, &str, Figure); 11] = [
        (
            "afr_originated_packets_total",
            "Packets the AFR made itself: answers and errors.",
            Figure::Originated,
        ),
        (
            "afr_handed_packets_total",
            "ICMPv6 errors handed over by other workers.",
            Figure::Handed,
        ),
        (
            "afr_steered_out_packets_total",
            "Packets handed to the workers whose flows they are of. Those that a full ring refused are dropped, by the reason steering_full.",
            Figure::SteeredOut,
        ),
        (
            "afr_steered_in_packets_total",
            "Packets that other workers handed over because they are of this one's flows.",
            Figure::SteeredIn,
        ),
        (
            "afr_fast_path_packets_total",
            "Packets forwarded or dropped by the fast path, the others having gone through every stage.",
            Figure::FastPath,
        ),
        (
            "afr_prompt_tokens_total",
            "Prompt tokens of dispatched requests.",
            Figure::PromptTokens,
        ),
        (
            "afr_affinity_tokens_total",
            "Prompt tokens of dispatched requests that the chosen instance was believed to hold.",
            Figure::AffinityTokens,
        ),
        (
            "afr_worker_busy_cycles_total",
            "TSC cycles spent on bursts that were not empty.",
            Figure::BusyCycles,
        ),
        (
            "afr_worker_busy_bursts_total",
            "Bursts that were not empty.",
            Figure::BusyBursts,
        ),
        (
            "afr_worker_idle_polls_total",
            "Polls that found nothing.",
            Figure::IdlePolls,
        ),
        (
            "afr_ring_pushed_messages_total",
            "Messages pushed to the control core.",
            Figure::RingPushed,
        ),
    ];
    for (name, help, figure) in plain {
        let figures = by_worker(counts, |counters| counters.figure(figure) as f64);
        families.counter(name, help).each("worker", figures);
    }
    let levels: [(&str, &str, Figure); 3] = [
        ("afr_flows", "Flows in the table.", Figure::FlowsUsed),
        (
            "afr_flows_capacity",
            "Size of the flow table.",
            Figure::FlowsCapacity,
        ),
        (
            "afr_worker_epoch",
            "Generation of the AFT that a worker uses.",
            Figure::Epoch,
        ),
    ];
    for (name, help, figure) in levels {
        let figures = by_worker(counts, |counters| counters.figure(figure) as f64);
        families.gauge(name, help).each("worker", figures);
    }
    let mut tables = families.gauge(
        "afr_worker_table_bytes",
        "Memory of a worker's own tables, all of it taken at the start. Packet buffers and what workers share are apart.",
    );
    for table in Table::ALL {
        let bytes = by_worker(counts, |counters| {
            counters.figure(Figure::TableBytes(*table)) as f64
        });
        for (worker, bytes) in bytes {
            tables.at(&[("table", table.name()), ("worker", &worker)], bytes);
        }
    }
    let cycles = counts.iter().enumerate();
    let cycles = cycles.filter_map(|(at, c)| Some((at.to_string(), tally::cycles_per_packet(c)?)));
    families
        .gauge(
            "afr_worker_cycles_per_packet",
            "TSC cycles a received packet, since the start. For the last minutes divide the rates of \
             afr_worker_busy_cycles_total and afr_received_packets_total.",
        )
        .each("worker", cycles);
    rings(families, shared);
}

/// How evenly the workers are loaded.
pub(super) fn balance(families: &mut Families, balance: &Balance) {
    let shares = [("received", Share::Received), ("handled", Share::Handled)];
    let known = shares
        .into_iter()
        .filter_map(|(name, share)| Some((name, balance.imbalance(share)?)));
    families
        .gauge(
            "afr_worker_imbalance",
            "Packets of the busiest worker over the mean of all, in the last ten seconds: 1 is even, the number of workers says that \
             one has everything. Of those received from queues, which is what RSS does, and of those handled, which is the same but for \
             steering. Absent where there were too few.",
        )
        .each("packets", known);
}

fn verdicts(families: &mut Families, counts: &[LocalCounters]) {
    families
        .counter(
            "afr_received_packets_total",
            "Packets taken in, from ports and from other workers, without what was handed on to them: the sum of forwarded, punted and dropped.",
        )
        .each("worker", by_worker(counts, |c| c.received() as f64));
    let mut forwarded = families.counter(
        "afr_forwarded_packets_total",
        "Packets forwarded: requests towards instances, replies from them or passing through.",
    );
    for (direction, figure) in [
        ("request", Figure::ForwardedRequest),
        ("reply", Figure::ForwardedReply),
    ] {
        for (worker, packets) in by_worker(counts, |c| c.figure(figure) as f64) {
            forwarded.at(&[("direction", direction), ("worker", &worker)], packets);
        }
    }
    let drops = DropReason::ALL.iter().map(|r| (r.name(), Figure::Drop(*r)));
    reasons(
        families,
        counts,
        ("afr_dropped_packets_total", "Packets dropped, by reason."),
        drops,
    );
    let punts = PuntReason::ALL.iter().map(|r| (r.name(), Figure::Punt(*r)));
    reasons(
        families,
        counts,
        (
            "afr_punted_packets_total",
            "Packets taken by the AFR itself, by reason.",
        ),
        punts,
    );
    let notes = MetadataNote::ALL
        .iter()
        .map(|n| (n.name(), Figure::Note(*n)));
    reasons(
        families,
        counts,
        (
            "afr_notes_total",
            "What was found about metadata, flows and originated packets.",
        ),
        notes,
    );
}

/// Every reason there is, also those at 0: a series that only appears with its first event has no rate for it.
fn reasons(
    families: &mut Families,
    counts: &[LocalCounters],
    (name, help): (&str, &str),
    reasons: impl Iterator<Item = (&'static str, Figure)>,
) {
    let mut family = families.counter(name, help);
    for (reason, figure) in reasons {
        for (worker, count) in by_worker(counts, |c| c.figure(figure) as f64) {
            family.at(&[("reason", reason), ("worker", &worker)], count);
        }
    }
}

fn rings(families: &mut Families, shared: &Shared) {
    let rings = || {
        let rings = shared.rings.iter().enumerate();
        rings.map(|(at, ring)| (at.to_string(), ring))
    };
    families
        .gauge(
            "afr_ring_messages",
            "Messages that wait in the ring to the control core.",
        )
        .each("worker", rings().map(|(at, ring)| (at, ring.len() as f64)));
    families
        .gauge(
            "afr_ring_capacity_messages",
            "Size of the ring to the control core.",
        )
        .each(
            "worker",
            rings().map(|(at, ring)| (at, ring.capacity() as f64)),
        );
}

fn by_worker(
    counts: &[LocalCounters],
    figure: impl Fn(&LocalCounters) -> f64,
) -> impl Iterator<Item = (String, f64)> {
    let workers = counts.iter().enumerate();
    workers.map(move |(at, counters)| (at.to_string(), figure(counters)))
}

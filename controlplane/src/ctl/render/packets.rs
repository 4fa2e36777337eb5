//! Ports, workers, counters, flows.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use crate::api::view::{CountersView, FlowView, FlowsView, PortView, ReasonCount, WorkerView};
use crate::ctl::render::Detail;
use crate::ctl::table::{Table, list};
use crate::ctl::units::{count, or_dash, percent, time};

pub(super) fn ports(ports: &[PortView], detail: Detail) -> String {
    let mut table = Table::new(&[
        "PORT",
        "ROLE",
        "BOUNDARY",
        "DEVICE",
        "DRIVER",
        ">QUEUES",
        "LINK",
        ">MTU",
        "VLAN",
        "MAC",
        ">RX PACKETS",
        ">RX BYTES",
        ">TX PACKETS",
        ">TX BYTES",
        ">TX FULL",
        ">RX MISSED",
    ]);
    for port in ports {
        let device = port.device_counters.as_ref();
        table.row(vec![
            port.name.clone(),
            port.role.clone(),
            port.boundary.clone(),
            or_dash(Some(port.device.clone())),
            or_dash(Some(port.driver.clone())),
            port.queues.to_string(),
            link(port),
            port.mtu_bytes.to_string(),
            or_dash(port.vlan.map(|vlan| vlan.to_string())),
            port.mac.clone(),
            count(port.receive_packets),
            count(port.receive_bytes),
            count(port.transmit_packets),
            count(port.transmit_bytes),
            count(port.transmit_full_packets),
            or_dash(device.map(|device| count(device.receive_missed_packets))),
        ]);
    }
    let mut text = table.lines("no ports");
    if detail == Detail::All {
        for port in ports {
            extended(&mut text, port);
        }
    }
    text
}

fn link(port: &PortView) -> String {
    match (port.link_up, port.link_speed_mbps) {
        (None, _) => "-".to_owned(),
        (Some(false), _) => "down".to_owned(),
        (Some(true), None) => "up".to_owned(),
        (Some(true), Some(mbps)) => format!("up, {} Mbit/s", count(u64::from(mbps))),
    }
}

/// What the device counts and is not 0.
fn extended(text: &mut String, port: &PortView) {
    let mut table = Table::new(&["DEVICE COUNTER", ">COUNT"]);
    let counters = port
        .device_counters
        .iter()
        .flat_map(|device| &device.extended);
    for counter in counters.filter(|counter| counter.count != 0) {
        table.row(vec![counter.name.clone(), count(counter.count)]);
    }
    let lines = table.lines("the device counts nothing else");
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{}:\n{lines}", port.name);
}

pub(super) fn workers(workers: &[WorkerView]) -> String {
    let mut table = Table::new(&[
        ">WORKER",
        ">CPU",
        ">RECEIVED",
        ">STEERED IN",
        ">STEERED OUT",
        ">REQUESTS",
        ">REPLIES",
        ">PUNTED",
        ">DROPPED",
        ">MADE",
        ">FLOWS",
        ">USED",
        ">CYCLES/PKT",
        ">IDLE",
        ">EPOCH",
        ">BEHIND",
        ">RING",
        ">RING FULL",
    ]);
    for worker in workers {
        let used = ratio(worker.flows, worker.flows_capacity);
        let polls = worker.busy_bursts + worker.idle_polls;
        table.row(vec![
            worker.worker.to_string(),
            or_dash(worker.lcore.map(|lcore| lcore.to_string())),
            // What ports brought: steered packets have columns of their own.
            count(
                (worker.received_packets + worker.steered_out_packets)
                    .saturating_sub(worker.steered_in_packets),
            ),
            count(worker.steered_in_packets),
            count(worker.steered_out_packets),
            count(worker.forwarded_request_packets),
            count(worker.forwarded_reply_packets),
            count(worker.punted_packets),
            count(worker.dropped_packets),
            count(worker.originated_packets),
            count(worker.flows),
            percent(used),
            or_dash(
                worker
                    .cycles_per_packet
                    .map(|cycles| format!("{cycles:.0}")),
            ),
            percent(ratio(worker.idle_polls, polls)),
            worker.epoch.to_string(),
            worker.epochs_behind.to_string(),
            format!("{}/{}", worker.ring_messages, worker.ring_capacity),
            count(worker.ring_full),
        ]);
    }
    table.lines("no workers")
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

pub(super) fn counters(counters: &CountersView, detail: Detail) -> String {
    let forwarded = counters.forwarded_request_packets + counters.forwarded_reply_packets;
    let sum = |reasons: &[ReasonCount]| reasons.iter().map(|reason| reason.count).sum::<u64>();
    let affinity = ratio(counters.affinity_tokens, counters.prompt_tokens);
    let of = match counters.worker {
        None => "all workers".to_owned(),
        Some(worker) => format!("worker {worker}"),
    };
    let mut text = list(&[
        ("counters of", of),
        ("received", count(counters.received_packets)),
        (
            "forwarded",
            format!(
                "{} ({} requests, {} replies)",
                count(forwarded),
                count(counters.forwarded_request_packets),
                count(counters.forwarded_reply_packets)
            ),
        ),
        ("punted", count(sum(&counters.punts))),
        ("dropped", count(sum(&counters.drops))),
        ("made by the AFR", count(counters.originated_packets)),
        ("prompt tokens", count(counters.prompt_tokens)),
        (
            "held by winners",
            format!(
                "{} ({})",
                count(counters.affinity_tokens),
                percent(affinity)
            ),
        ),
    ]);
    reasons(&mut text, "DROPPED", &counters.drops, detail);
    reasons(&mut text, "PUNTED", &counters.punts, detail);
    reasons(&mut text, "NOTE", &counters.notes, detail);
    let mut table = Table::new(&["CLASS", "DISPATCHED FOR", ">FLOWS"]);
    let dispatches = counters.dispatches.iter();
    for row in dispatches.filter(|row| row.count != 0 || detail == Detail::All) {
        table.row(vec![
            row.class.clone(),
            row.reason.clone(),
            count(row.count),
        ]);
    }
    text.push('\n');
    text.push_str(&table.lines("nothing dispatched"));
    text
}

fn reasons(text: &mut String, what: &'static str, reasons: &[ReasonCount], detail: Detail) {
    let mut table = match detail {
        Detail::Brief => Table::new(&[what, ">COUNT"]),
        Detail::All => Table::new(&[what, ">COUNT", "MEANS"]),
    };
    for reason in reasons {
        let row = vec![reason.name.clone(), count(reason.count)];
        match detail {
            Detail::All => table.row([row, vec![reason.help.clone()]].concat()),
            Detail::Brief if reason.count != 0 => table.row(row),
            Detail::Brief => {}
        }
    }
    text.push('\n');
    text.push_str(&table.lines(&format!("{}: none", what.to_lowercase())));
}

pub(super) fn flows(flows: &FlowsView) -> String {
    let mut table = Table::new(&[
        ">WORKER", "CLIENT", "SERVICE", "PROTO", "CLASS", "INSTANCE", "STATE", "METADATA",
        ">OPENING", ">IDLE",
    ]);
    for flow in &flows.flows {
        table.row(vec![
            flow.worker.to_string(),
            end(flow.source, flow.source_port),
            end(flow.destination, flow.destination_port),
            protocol(flow.protocol),
            flow.class.clone(),
            instance(flow),
            flow.state.clone(),
            if flow.metadata { "yes" } else { "no" }.to_owned(),
            count(u64::from(flow.opening_tokens)),
            time(u64::from(flow.age_ms) * 1_000),
        ]);
    }
    let mut text = table.lines("no flows");
    let (shown, looked) = (flows.flows.len(), count(flows.scanned));
    let rest = if flows.complete {
        "all that match"
    } else {
        "there are more"
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{shown} shown, {rest}; {looked} looked at");
    text
}

fn end(address: Ipv6Addr, port: u16) -> String {
    format!("[{address}]:{port}")
}

/// By name what has one that everybody knows.
fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

fn instance(flow: &FlowView) -> String {
    match &flow.instance {
        Some(name) => name.clone(),
        None if flow.spilled => "(spilled)".to_owned(),
        None => "(gone)".to_owned(),
    }
}

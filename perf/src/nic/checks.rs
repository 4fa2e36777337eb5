//! What must hold after the traffic, by what the hosts saw and what `afrd` counted.

use std::fmt;

use crate::lab::Exposition;

use super::hosts::CARDS;
use super::model::Model;
use super::traffic::Outcome;

/// The least share of the clients' packets that each of two workers must have seen. A card that spreads several hundred
/// flows by their hash gives less once in many thousand runs.
const LEAST_SHARE: f64 = 0.2;
/// Why packets are dropped that nobody meant for the AFR: hosts that come up announce their groups and look for routers.
const NOISE: [&str; 2] = ["destination_invalid", "group_unattended"];
const RECEIVED: &str = "afr_port_receive_packets_total";

/// A claim and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The claim with its figures.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ok = if self.ok { "ok    " } else { "FAILED" };
        write!(f, "{ok} {}", self.name)
    }
}

/// Whether every packet received is accounted for.
pub(super) fn balances(metrics: &Exposition) -> bool {
    let sum = |name| metrics.sum(name, &[]);
    let received = sum("afr_received_packets_total");
    let told = sum("afr_forwarded_packets_total")
        + sum("afr_punted_packets_total")
        + sum("afr_dropped_packets_total");
    received > 0.0 && received == told
}

/// All checks of a run.
pub(super) fn decide(
    model: Model,
    outcome: &Outcome,
    warnings: &[String],
    metrics: &Exposition,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut claim = |ok: bool, name: String| checks.push(Check { name, ok });
    let sum = |name, labels: &[(&str, &str)]| metrics.sum(name, labels);

    let ports = warnings.iter().filter(|words| words.starts_with("port "));
    let refused: Vec<_> = ports.map(String::as_str).collect();
    claim(
        refused.is_empty(),
        format!("the cards grant all that afrd asks for: {refused:?}"),
    );
    claim(
        outcome.by_instance.len() == 2
            && outcome.by_instance.values().sum::<u32>() == outcome.flows,
        format!(
            "{} connections, {} kB each way, every byte right; by instance {:?}",
            outcome.flows,
            outcome.bytes / 1_000,
            outcome.by_instance
        ),
    );
    claim(
        outcome.misdispatched == 0,
        format!(
            "{} of {} connections with metadata reached an instance without their label",
            outcome.misdispatched, outcome.with_metadata
        ),
    );
    let verified = sum("afr_notes_total", &[("reason", "request_verified")]);
    claim(
        verified >= f64::from(outcome.with_metadata),
        format!(
            "{verified} requests verified for {} with metadata",
            outcome.with_metadata
        ),
    );
    let dispatched = sum("afr_dispatches_total", &[]);
    claim(
        dispatched == f64::from(outcome.flows),
        format!("{dispatched} dispatches for {} connections", outcome.flows),
    );
    shares(model, metrics, &mut claim);
    places(model, outcome, metrics, &mut claim);
    let reports = metrics.by("afr_instance_reports_total", "instance");
    claim(
        reports.len() == 2,
        format!("reports of both instances: {reports:?}"),
    );
    let punted = metrics.by("afr_punted_packets_total", "reason");
    claim(
        punted.contains_key("neighbor"),
        format!("solicitations answered: {punted:?} punted"),
    );
    claim(
        balances(metrics),
        format!(
            "received {} = forwarded {} + punted {} + dropped {}",
            sum("afr_received_packets_total", &[]),
            sum("afr_forwarded_packets_total", &[]),
            sum("afr_punted_packets_total", &[]),
            sum("afr_dropped_packets_total", &[]),
        ),
    );
    let mut dropped = metrics.by("afr_dropped_packets_total", "reason");
    let all = format!("{dropped:?}");
    dropped.retain(|reason, _| !NOISE.contains(&reason.as_str()));
    claim(
        dropped.is_empty(),
        format!("nothing dropped but hosts' announcements: {all}"),
    );
    for (port, _) in CARDS {
        devices(port, metrics, &mut claim);
    }
    checks
}

/// Each worker has a queue of each port, and the clients' port spread its packets over them.
fn shares(model: Model, metrics: &Exposition, claim: &mut impl FnMut(bool, String)) {
    let of = |port: &str, worker: u16| {
        let worker = worker.to_string();
        metrics.sum(RECEIVED, &[("port", port), ("worker", worker.as_str())])
    };
    let each = |port: &str| -> Vec<f64> { (0..model.queues()).map(|at| of(port, at)).collect() };
    let clients = each("clients");
    let all: f64 = clients.iter().sum();
    let least = if model.queues() > 1 { LEAST_SHARE } else { 1.0 };
    claim(
        all > 0.0 && clients.iter().all(|seen| *seen >= all * least),
        format!(
            "each worker saw its share of the clients' packets: {clients:?}; of the fabric's: {:?}",
            each("fabric")
        ),
    );
}

/// Each connection's first packet came by the queue of its hash. The kernel's tap spreads connections by a hash of its own
/// over the queues behind it, so shares alone would not tell that the card does.
fn places(
    model: Model,
    outcome: &Outcome,
    metrics: &Exposition,
    claim: &mut impl FnMut(bool, String),
) {
    if !model.spreads_as_expected() {
        return;
    }
    let created = |worker: u16| {
        let worker = worker.to_string();
        let labels = [("reason", "flow_created"), ("worker", worker.as_str())];
        metrics.sum("afr_notes_total", &labels)
    };
    let created: Vec<_> = (0..model.queues()).map(created).collect();
    let expected: Vec<_> = outcome.by_queue.iter().map(|n| f64::from(*n)).collect();
    claim(
        created == expected,
        format!(
            "connections by worker {created:?}, by the hash of addresses and ports {expected:?}"
        ),
    );
}

/// What the card itself says.
fn devices(port: &str, metrics: &Exposition, claim: &mut impl FnMut(bool, String)) {
    let sum = |name: &str| metrics.sum(name, &[("port", port)]);
    let wrong = sum("afr_port_receive_error_packets_total")
        + sum("afr_port_transmit_error_packets_total")
        + sum("afr_port_receive_no_buffer_total");
    claim(
        wrong == 0.0 && sum("afr_port_link_up") == 1.0,
        format!(
            "port {port}: link up, no errors; {} frames in, {} out, {} missed",
            sum(RECEIVED),
            sum("afr_port_transmit_packets_total"),
            sum("afr_port_receive_missed_packets_total"),
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            flows: 40,
            with_metadata: 26,
            misdispatched: 0,
            by_instance: [("inst-1".to_owned(), 20), ("inst-2".to_owned(), 20)].into(),
            by_queue: vec![22, 18],
            bytes: 240_000,
        }
    }

    const GOOD: &str = "\
afr_received_packets_total{worker=\"0\"} 60
afr_received_packets_total{worker=\"1\"} 43
afr_forwarded_packets_total{direction=\"request\",worker=\"0\"} 94
afr_punted_packets_total{reason=\"neighbor\",worker=\"0\"} 4
afr_dropped_packets_total{reason=\"destination_invalid\",worker=\"0\"} 5
afr_notes_total{reason=\"request_verified\",worker=\"0\"} 26
afr_notes_total{reason=\"flow_created\",worker=\"0\"} 22
afr_notes_total{reason=\"flow_created\",worker=\"1\"} 18
afr_dispatches_total{class=\"chat\",worker=\"0\"} 40
afr_instance_reports_total{instance=\"inst-1\"} 3
afr_instance_reports_total{instance=\"inst-2\"} 3
afr_port_receive_packets_total{port=\"clients\",worker=\"0\"} 30
afr_port_receive_packets_total{port=\"clients\",worker=\"1\"} 25
afr_port_receive_packets_total{port=\"fabric\",worker=\"0\"} 48
afr_port_receive_error_packets_total{port=\"fabric\"} 0
afr_port_link_up{port=\"clients\"} 1
afr_port_link_up{port=\"fabric\"} 1
";

    fn failed(outcome: &Outcome, text: &str) -> Vec<String> {
        failed_with(outcome, &[], text)
    }

    fn failed_with(outcome: &Outcome, warnings: &[String], text: &str) -> Vec<String> {
        let metrics = Exposition::parse(text).unwrap();
        let checks = decide(Model::VirtioNet, outcome, warnings, &metrics);
        let failed = checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| check.name).collect()
    }

    #[test]
    fn a_good_run_passes() {
        assert_eq!(failed(&outcome(), GOOD), [""; 0]);
    }

    #[test]
    fn each_way_to_fail_is_named() {
        let ways = [
            ("worker=\"1\"} 25", "worker=\"1\"} 0", "saw its share"),
            (
                "worker=\"0\"} 94",
                "worker=\"0\"} 93",
                "received 103 = forwarded 93",
            ),
            ("destination_invalid", "no_route", "nothing dropped but"),
            (
                "reason=\"neighbor\"",
                "reason=\"echo\"",
                "solicitations answered",
            ),
            ("inst-2\"} 3", "inst-2\"} 0", "reports of both"),
            (
                "error_packets_total{port=\"fabric\"} 0",
                "error_packets_total{port=\"fabric\"} 1",
                "port fabric",
            ),
            (
                "link_up{port=\"clients\"} 1",
                "link_up{port=\"clients\"} 0",
                "port clients",
            ),
            (
                "dispatches_total{class=\"chat\",worker=\"0\"} 40",
                "dispatches_total{class=\"chat\",worker=\"0\"} 41",
                "41 dispatches",
            ),
            (
                "request_verified\",worker=\"0\"} 26",
                "request_verified\",worker=\"0\"} 25",
                "25 requests verified",
            ),
        ];
        for (good, bad, expected) in ways {
            let failed = failed(&outcome(), &GOOD.replace(good, bad));
            assert!(
                failed.len() == 1 && failed[0].contains(expected),
                "{expected}: {failed:?}"
            );
        }
        let other_queues = Outcome {
            by_queue: vec![21, 19],
            ..outcome()
        };
        assert_eq!(failed(&other_queues, GOOD).len(), 1);
        let elsewhere = Outcome {
            misdispatched: 1,
            ..outcome()
        };
        assert_eq!(failed(&elsewhere, GOOD).len(), 1);
        let one_instance = Outcome {
            by_instance: [("inst-1".to_owned(), 40)].into(),
            ..outcome()
        };
        assert_eq!(failed(&one_instance, GOOD).len(), 1);
        let warnings = ["port clients: no RSS", "a worker is late"].map(str::to_owned);
        let failed = failed_with(&outcome(), &warnings, GOOD);
        assert!(
            failed.len() == 1 && failed[0].ends_with("[\"port clients: no RSS\"]"),
            "{failed:?}"
        );
    }
}

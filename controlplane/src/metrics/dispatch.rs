//! Classes and instances.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::config::Config;
use afr_dataplane::counters::WorkerCounters;
use afr_dataplane::message::Shared;

use super::families::{Families, flag, seconds};
use crate::api::facts::{ClassUsage, InstanceFacts};
use crate::api::tally;

/// Dispatches by class and reason, and the classes' instances. `usage` is by the classes' order.
pub(super) fn classes(
    families: &mut Families,
    config: &Config,
    shared: &Shared,
    usage: &[ClassUsage],
) {
    let counters: Vec<&WorkerCounters> = shared.counters.iter().map(|c| &**c).collect();
    let mut why = families.counter(
        "afr_class_dispatches_total",
        "New flows dispatched, by class and reason.",
    );
    for (class, reason, count) in tally::dispatches_why(&counters, config) {
        why.at(&[("class", class), ("reason", reason.name())], count as f64);
    }
    let mut gauge = |name, help, of: fn(&ClassUsage) -> usize| {
        let classes = config.classes.iter().zip(usage);
        let figures = classes.map(|((_, class), usage)| (&*class.name, of(usage) as f64));
        families.gauge(name, help).each("class", figures);
    };
    gauge(
        "afr_class_instances",
        "Instances that serve a class.",
        |usage| usage.members,
    );
    gauge(
        "afr_class_usable_instances",
        "Instances that take new flows of a class.",
        |usage| usage.usable,
    );
    gauge(
        "afr_class_refusing_instances",
        "Instances that refuse a class at the moment.",
        |usage| usage.refusing,
    );
}

/// Dispatches by class and instance, where there were any, and how the instances are.
pub(super) fn instances(
    families: &mut Families,
    config: &Config,
    shared: &Shared,
    facts: &[InstanceFacts],
) {
    let mut dispatches = families.counter(
        "afr_dispatches_total",
        "New flows dispatched, by class and instance. Pairs without one are left out.",
    );
    for of in facts {
        for (class, count) in tally::dispatches_to(shared, config, of) {
            let labels = [("class", class), ("instance", &*of.instance.name)];
            dispatches.at(&labels, count as f64);
        }
    }
    states(families, shared, facts);
    reports(families, facts);
    load(families, facts);
}

fn states(families: &mut Families, shared: &Shared, facts: &[InstanceFacts]) {
    let mut state = |name, help, holds: fn(LiveState) -> bool| {
        let figures = facts.iter().map(|of| {
            let holds = holds(shared.live.state(of.slot));
            (&*of.instance.name, flag(holds))
        });
        families.gauge(name, help).each("instance", figures);
    };
    state(
        "afr_instance_up",
        "Whether an instance is believed alive (1) or dead (0).",
        |state| matches!(state, LiveState::Up | LiveState::Draining),
    );
    state(
        "afr_instance_draining",
        "Whether an instance takes no new flows (1) while those it has go on.",
        |state| state == LiveState::Draining,
    );
}

fn reports(families: &mut Families, facts: &[InstanceFacts]) {
    let ages = facts.iter().filter_map(|of| {
        let age_us = of.report_age_us?;
        Some((&*of.instance.name, seconds(age_us)))
    });
    families
        .gauge(
            "afr_instance_report_age_seconds",
            "Time since an instance's last report. Absent before the first.",
        )
        .each("instance", ages);
    let mut counter = |name, help, of: fn(&InstanceFacts) -> u64| {
        let figures = facts
            .iter()
            .map(|facts| (&*facts.instance.name, of(facts) as f64));
        families.counter(name, help).each("instance", figures);
    };
    counter(
        "afr_instance_reports_total",
        "Reports received from an instance.",
        |of| of.standing.reports,
    );
    counter(
        "afr_instance_reports_lost_total",
        "Reports missing in an instance's numbering.",
        |of| of.standing.reports_lost,
    );
}

fn load(families: &mut Families, facts: &[InstanceFacts]) {
    let mut gauge = |name, help, of: fn(&InstanceFacts) -> f64| {
        let figures = facts.iter().map(|facts| (&*facts.instance.name, of(facts)));
        families.gauge(name, help).each("instance", figures);
    };
    gauge(
        "afr_instance_in_flight_tokens",
        "Tokens sent to an instance that no report covers yet.",
        |of| f64::from(of.estimate.in_flight_tokens),
    );
    gauge(
        "afr_instance_pending_tokens",
        "Tokens that wait at an instance, as reported.",
        |of| f64::from(of.estimate.pending_tokens),
    );
    gauge(
        "afr_instance_queue_seconds",
        "Time an instance takes for what waits and is in flight.",
        |of| seconds(of.estimate.queue_us),
    );
    gauge(
        "afr_instance_pressure_seconds",
        "Added to an instance's estimates for its nearly full KV store or batch.",
        |of| seconds(u64::from(of.pressure_us)),
    );
    gauge(
        "afr_instance_waiting_requests",
        "Requests that wait at an instance, as reported.",
        |of| f64::from(of.waiting_requests),
    );
    gauge(
        "afr_instance_running_requests",
        "Requests that run at an instance, as reported.",
        |of| f64::from(of.running_requests),
    );
    gauge(
        "afr_instance_kv_used_ratio",
        "KV capacity in use at an instance, 0 to 1, as reported.",
        |of| of.kv_used_ratio,
    );
    gauge(
        "afr_instance_prefill_tokens_per_second",
        "Prefill rate of an instance.",
        |of| of.prefill_rate_tokens_s as f64,
    );
}

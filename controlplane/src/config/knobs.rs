//! `[dispatch]`, `[flows]`, `[admit]`, `[limits]`, `[publish]`, and the freshness of `[trust]`.

use afr_dataplane::aft::maglev;
use afr_dataplane::aft::residency::MAX_TTL_S;
use afr_dataplane::config::{Admit, Dispatch, Flows, Limits};

use super::Control;
use super::document::Section;
use super::kind::{int, prime};
use super::problem::Fault;

/// Counters of dispatches by class and instance that a worker has at the most.
const MOST_PAIRS: u64 = 1 << 22;
/// A minute and a day in other units: what is sensible at the most.
const MINUTE_US: u32 = 60_000_000;
const DAY_MS: u32 = 86_400_000;
/// New tokens count for twice as much with every tenth of a millisecond of waiting: holders alone get anything.
const MOST_THRIFT: u32 = 10_000;

/// Everything that is a number with a default.
#[derive(Debug)]
pub(crate) struct Knobs {
    pub(crate) dispatch: Dispatch,
    pub(crate) flows: Flows,
    pub(crate) admit: Admit,
    pub(crate) limits: Limits,
    pub(crate) control: Control,
}

/// Reads them.
pub(crate) fn read(root: &Section<'_>, trust: &Section<'_>) -> Knobs {
    let section = root.section("dispatch");
    Knobs {
        dispatch: dispatch(&section, trust),
        flows: flows(&root.section("flows")),
        admit: admit(&root.section("admit")),
        limits: limits(&root.section("limits")),
        control: control(&root.section("publish"), &section),
    }
}

fn dispatch(section: &Section<'_>, trust: &Section<'_>) -> Dispatch {
    let default = Dispatch::default();
    let up_to_a_minute = int(0..=MINUTE_US);
    let ttl = int(1..=MAX_TTL_S - 1);
    let long = |key, default| u64::from(section.or(key, &up_to_a_minute, default));
    Dispatch {
        near_tie_us: section.or("near_tie_us", &up_to_a_minute, default.near_tie_us),
        thrift_per_s: section.or("thrift_per_s", &int(0..=MOST_THRIFT), default.thrift_per_s),
        recent_per_mille: section.or(
            "recent_per_mille",
            &int(0..=1_000),
            default.recent_per_mille,
        ),
        pressure_full_us: section.or(
            "pressure_full_us",
            &up_to_a_minute,
            default.pressure_full_us,
        ),
        pressure_from: section.or("pressure_from", &int(0..=u8::MAX), default.pressure_from),
        guard_us: long("guard_us", default.guard_us as u32),
        unanswered_us: section.or("unanswered_us", &up_to_a_minute, default.unanswered_us),
        opening_timeout_us: long("opening_timeout_us", default.opening_timeout_us as u32),
        request_skew_s: trust.or("request_skew_s", &int(1..=3_600), default.request_skew_s),
        report_skew_ms: trust.or("report_skew_ms", &int(1..=8_000), default.report_skew_ms),
        clock_error_ms: trust.or("clock_error_ms", &int(0..=8_000), default.clock_error_ms),
        replay_limit: trust.or("replay_limit", &int(1..=u16::MAX), default.replay_limit),
        refusal_ttl_us: long("refusal_ttl_us", default.refusal_ttl_us as u32),
        provisional_ttl_s: section.or("provisional_ttl_s", &ttl, default.provisional_ttl_s),
        residency_ttl_s: section.or("residency_ttl_s", &ttl, default.residency_ttl_s),
        stale_report_us: long("stale_report_us", default.stale_report_us as u32),
        weights: weights(section, default.weights),
    }
}

fn weights(section: &Section<'_>, default: [u16; 3]) -> [u16; 3] {
    if !section.has("weights") {
        return default;
    }
    let given = section.list("weights", &int(0..=u16::MAX));
    let given: Vec<_> = given.into_iter().map(|(_, weight)| weight).collect();
    match <[u16; 3]>::try_from(given) {
        Ok(weights) if weights != [0; 3] => weights,
        _ => {
            let expected = "three numbers from 0 to 65535, not all 0".to_owned();
            section.blame("weights", Fault::Expected { expected });
            default
        }
    }
}

fn flows(section: &Section<'_>) -> Flows {
    let default = Flows::default();
    let time = int(1..=DAY_MS);
    Flows {
        capacity: section.or("capacity", &int(1_024..=1 << 24), default.capacity),
        tcp_idle_ms: section.or("tcp_idle_ms", &time, default.tcp_idle_ms),
        tcp_opening_ms: section.or("tcp_opening_ms", &time, default.tcp_opening_ms),
        tcp_closing_ms: section.or("tcp_closing_ms", &time, default.tcp_closing_ms),
        other_idle_ms: section.or("other_idle_ms", &time, default.other_idle_ms),
    }
}

fn admit(section: &Section<'_>) -> Admit {
    let default = Admit::default();
    Admit {
        source_prefix_len: section.or(
            "source_prefix_len",
            &int(1..=128),
            default.source_prefix_len,
        ),
        per_source_per_s: section.or(
            "per_source_per_s",
            &int(0..=u32::MAX),
            default.per_source_per_s,
        ),
        per_source_burst: section.or(
            "per_source_burst",
            &int(1..=u32::MAX),
            default.per_source_burst,
        ),
        sources: section.or("sources", &int(64..=1 << 24), default.sources),
        errors_per_s: section.or("errors_per_s", &int(0..=1_000_000), default.errors_per_s),
    }
}

fn limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        instances: section.or("instances", &int(1..=4_096), default.instances),
        classes: section.or("classes", &int(1..=4_096), default.classes),
        signatures: section.or("signatures", &int(1_024..=1 << 24), default.signatures),
        overlay_signatures: section.or(
            "overlay_signatures",
            &int(64..=1 << 20),
            default.overlay_signatures,
        ),
        ring: section.or("ring", &int(64..=1 << 20), default.ring),
        sender_keys: section.or("sender_keys", &int(16..=1 << 20), default.sender_keys),
        sessions: section.or("sessions", &int(64..=1 << 24), default.sessions),
        maglev: section.or("maglev", &prime(2..=maglev::MAX_SIZE), default.maglev),
    };
    if u64::from(limits.classes) * u64::from(limits.instances) > MOST_PAIRS {
        let expected = format!(
            "at most {} with {} instances",
            MOST_PAIRS / u64::from(limits.instances),
            limits.instances
        );
        section.blame("classes", Fault::Expected { expected });
    }
    limits
}

fn control(publish: &Section<'_>, dispatch: &Section<'_>) -> Control {
    let dead_after_ms = dispatch.or("dead_after_ms", &int(0..=DAY_MS), 0);
    let stale_us = dispatch.optional("stale_report_us", &int(0..=MINUTE_US));
    let stale_us = stale_us.map_or(Dispatch::default().stale_report_us, u64::from);
    let dead_after_us = u64::from(dead_after_ms) * 1_000;
    if dead_after_us != 0 && dead_after_us < stale_us {
        let expected = format!("0, or at least stale_report_us ({} ms)", stale_us / 1_000);
        dispatch.blame("dead_after_ms", Fault::Expected { expected });
    }
    Control {
        publish_interval_us: publish.or("interval_us", &int(100..=1_000_000), 1_000),
        log: publish.or("log", &int(1_024_u32..=1 << 24), 1 << 18) as usize,
        watchdog_us: u64::from(publish.or("watchdog_ms", &int(1..=60_000_u32), 100)) * 1_000,
        dead_after_us: (dead_after_us != 0).then_some(dead_after_us),
    }
}

//! The AFT, its generations, its limits, the configuration, and the program.

use afr_dataplane::config::Limits;

use super::families::{Families, flag, seconds};
use crate::api::Site;
use crate::api::core::Publishing;

/// What the control core tells of the AFT as a whole.
pub(super) struct TableFacts {
    pub(super) publishing: Publishing,
    pub(super) epoch_age_us: u64,
    pub(super) instances: usize,
    pub(super) signatures: usize,
    pub(super) signatures_capacity: usize,
    pub(super) signature_evictions: u64,
    pub(super) holder_overflows: u64,
}

/// The program itself, and whether its control core answers.
pub(super) fn program(families: &mut Families, site: &Site, core_answers: bool) {
    families
        .gauge("afr_build_info", "The program's version, in a label.")
        .at(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    families
        .gauge(
            "afr_start_time_seconds",
            "When the program was started, in Unix time.",
        )
        .only(site.platform.started_unix_s as f64);
    families
        .gauge(
            "afr_control_core_up",
            "Whether the control core answered (1) or not (0): then classes, instances and the AFT are missing here.",
        )
        .only(flag(core_answers));
    let (applied, refused) = site.reloads();
    families
        .counter(
            "afr_config_reloads_total",
            "Configurations read again, by what became of them.",
        )
        .each(
            "result",
            [("applied", applied as f64), ("refused", refused as f64)],
        );
}

/// Generations, residency, and the configuration in force.
pub(super) fn table(families: &mut Families, facts: &TableFacts, revision: u64, limits: &Limits) {
    let publishing = &facts.publishing;
    let mut gauge = |name, help, value| families.gauge(name, help).only(value);
    gauge(
        "afr_config_revision",
        "Number of the configuration in force.",
        revision as f64,
    );
    gauge(
        "afr_epoch",
        "Number of the newest generation of the AFT.",
        publishing.epoch as f64,
    );
    gauge(
        "afr_epoch_age_seconds",
        "Time since the newest generation was published.",
        seconds(facts.epoch_age_us),
    );
    gauge(
        "afr_epoch_workers_behind",
        "Workers that have not taken up the newest generation.",
        publishing.workers_behind as f64,
    );
    gauge(
        "afr_publish_pending_changes",
        "Changes that no generation has yet.",
        publishing.pending_ops as f64,
    );
    gauge(
        "afr_publish_stalled_seconds",
        "How long a worker has been keeping the next generation waiting.",
        seconds(publishing.stalled_us),
    );
    gauge(
        "afr_instances",
        "Instances registered.",
        facts.instances as f64,
    );
    gauge(
        "afr_instances_waiting",
        "Instances that wait for a slot.",
        publishing.instances_waiting as f64,
    );
    gauge(
        "afr_residency_signatures",
        "Signatures in the residency table.",
        facts.signatures as f64,
    );
    gauge(
        "afr_residency_capacity_signatures",
        "Size of the residency table.",
        facts.signatures_capacity as f64,
    );
    let mut counter = |name, help, value: u64| families.counter(name, help).only(value as f64);
    counter(
        "afr_publish_dropped_changes_total",
        "Changes dropped or refused because too many waited for a worker.",
        publishing.dropped_ops,
    );
    counter(
        "afr_publish_stalls_total",
        "Times a worker kept the next generation waiting beyond the watchdog's time.",
        publishing.stalls,
    );
    counter(
        "afr_residency_evictions_total",
        "Signatures given up for others while they still counted.",
        facts.signature_evictions,
    );
    counter(
        "afr_residency_overflows_total",
        "Holders given up because a signature had no room for one more.",
        facts.holder_overflows,
    );
    self::limits(families, limits);
}

/// Every configured bound, so that use can be set against it.
fn limits(families: &mut Families, limits: &Limits) {
    let Limits {
        instances,
        classes,
        signatures,
        overlay_signatures,
        ring,
        sender_keys,
        sessions,
        maglev,
    } = *limits;
    families
        .gauge("afr_limit", "A configured bound, by its key in [limits].")
        .each(
            "key",
            [
                ("instances", u32::from(instances)),
                ("classes", u32::from(classes)),
                ("signatures", signatures),
                ("overlay_signatures", overlay_signatures),
                ("ring", ring),
                ("sender_keys", sender_keys),
                ("sessions", sessions),
                ("maglev", maglev),
            ]
            .map(|(key, bound)| (key, f64::from(bound))),
        );
}

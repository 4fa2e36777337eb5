//! The AFT as a whole, its classes, and the program.

use crate::api::view::{AftView, ClassView, HealthView, ReloadView, VersionView};
use crate::ctl::table::{Table, list};
use crate::ctl::units::{count, or_dash, time};

pub(super) fn version(version: &VersionView) -> String {
    format!(
        "{} {} (protocol {})\n",
        version.program, version.version, version.protocol
    )
}

pub(super) fn health(health: &HealthView) -> String {
    let mut table = Table::new(&["CHECK", "", "FOUND"]);
    for check in &health.checks {
        let mark = if check.ok { "ok" } else { "UNWELL" };
        table.row(vec![
            check.name.clone(),
            mark.to_owned(),
            check.detail.clone(),
        ]);
    }
    table.lines("nothing was checked")
}

pub(super) fn classes(classes: &[ClassView]) -> String {
    let mut table = Table::new(&[
        ">ID",
        "NAME",
        "POLICY",
        "PLAIN",
        ">OBJECTIVE",
        "BEYOND IT",
        "ON DEATH",
        ">INSTANCES",
        ">USABLE",
        ">REFUSING",
        ">DISPATCHES",
        "ADDRESSES",
    ]);
    for class in classes {
        let beyond = match class.spill {
            Some(sid) => format!("spill to {sid}, {}", class.saturation),
            None => class.saturation.clone(),
        };
        let addresses: Vec<_> = class.addresses.iter().map(ToString::to_string).collect();
        table.row(vec![
            class.id.to_string(),
            class.name.clone(),
            class.policy.clone(),
            class.plain.clone(),
            or_dash(class.objective_us.map(|us| time(u64::from(us)))),
            beyond,
            class.on_death.clone(),
            class.instances.to_string(),
            class.usable_instances.to_string(),
            class.refusing_instances.to_string(),
            count(class.dispatches),
            or_dash(Some(addresses.join(","))),
        ]);
    }
    table.lines("no classes")
}

pub(super) fn aft(aft: &AftView) -> String {
    let consumed: Vec<_> = aft.consumed_messages.iter().map(|n| count(*n)).collect();
    let stalled = match aft.publish_stalled_us {
        0 => format!("none now, {} since the start", count(aft.publish_stalls)),
        us => format!(
            "one for {} now, {} since the start",
            time(us),
            count(aft.publish_stalls)
        ),
    };
    list(&[
        (
            "generation",
            format!("{}, {} old", aft.epoch, time(aft.epoch_age_us)),
        ),
        ("configuration", format!("revision {}", aft.config_revision)),
        ("cluster", aft.cluster.to_string()),
        (
            "instances",
            format!(
                "{} of {}, {} waiting",
                aft.instances, aft.instance_slots, aft.instances_waiting
            ),
        ),
        ("classes", aft.classes.to_string()),
        (
            "signatures",
            format!(
                "{} of {}",
                count(aft.signatures as u64),
                count(aft.signatures_capacity as u64)
            ),
        ),
        ("evictions", count(aft.signature_evictions)),
        ("overflows", count(aft.holder_overflows)),
        ("messages taken", or_dash(Some(consumed.join(" ")))),
        ("pending changes", count(aft.pending_changes as u64)),
        ("dropped changes", count(aft.dropped_changes)),
        ("workers behind", aft.workers_behind.to_string()),
        ("stalls", stalled),
    ])
}

pub(super) fn reload(reload: &ReloadView) -> String {
    format!(
        "configuration {} is in force: {} instances added, {} changed, {} removed\n",
        reload.revision, reload.instances_added, reload.instances_changed, reload.instances_removed
    )
}

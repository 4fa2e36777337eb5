//! The AFT as a whole, its classes, and the program.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// A capability class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassView {
    /// Its identifier.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How new flows with metadata are dispatched.
    pub policy: String,
    /// How new flows without are.
    pub plain: String,
    /// Its latency objective, in microseconds.
    pub objective_us: Option<u32>,
    /// What happens when every candidate is beyond it.
    pub saturation: String,
    /// The alternate cluster's segment identifier.
    pub spill: Option<Ipv6Addr>,
    /// What flows get when their instance dies.
    pub on_death: String,
    /// Addresses it is reached at.
    pub addresses: Vec<Ipv6Addr>,
    /// Instances that serve it.
    pub instances: usize,
    /// Of these, those that take new flows.
    pub usable_instances: usize,
    /// Instances that refuse it at the moment.
    pub refusing_instances: usize,
    /// Entries of its Maglev table.
    pub maglev_entries: usize,
    /// Flows dispatched.
    pub dispatches: u64,
}

/// The Agent Forwarding Table and its publishing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AftView {
    /// The newest generation.
    pub epoch: u64,
    /// Its age, in microseconds.
    pub epoch_age_us: u64,
    /// Which configuration it has: 1, and one more with every reload.
    pub config_revision: u64,
    /// The cluster this AFR stands before.
    pub cluster: u32,
    /// Instances.
    pub instances: usize,
    /// Places for instances.
    pub instance_slots: usize,
    /// Instances that wait for a place.
    pub instances_waiting: usize,
    /// Classes.
    pub classes: usize,
    /// Signatures in the residency table.
    pub signatures: usize,
    /// Room in that table, in signatures.
    pub signatures_capacity: usize,
    /// Signatures given up for others while they still counted.
    pub signature_evictions: u64,
    /// Holders given up because a signature had no room for one more.
    pub holder_overflows: u64,
    /// Messages of each worker that it includes.
    pub consumed_messages: Vec<u64>,
    /// Changes that no generation has yet.
    pub pending_changes: usize,
    /// Changes dropped or refused because too many waited.
    pub dropped_changes: u64,
    /// Times a worker kept the next generation waiting beyond the watchdog's time.
    pub publish_stalls: u64,
    /// How long the next generation is being kept waiting, in microseconds.
    pub publish_stalled_us: u64,
    /// Workers that have not taken up the newest generation.
    pub workers_behind: usize,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Its name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Version of this protocol.
    pub protocol: u32,
    /// When it was started, in Unix seconds.
    pub started_unix_s: u64,
}

/// One thing that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Its name.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// Whether all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Every check is.
    pub ok: bool,
    /// Those are on which forwarding depends at all; a class without a usable instance is not among them.
    pub forwards: bool,
    /// The checks.
    pub checks: Vec<HealthCheck>,
}

/// What a reload changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// The configuration in force from now on.
    pub revision: u64,
    /// Instances that appeared.
    pub instances_added: usize,
    /// Instances whose entry changed.
    pub instances_changed: usize,
    /// Instances that are gone.
    pub instances_removed: usize,
}

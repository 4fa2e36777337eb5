//! Names of what the configuration has as enums and hashes: those that the configuration file uses.

use afr_dataplane::config::{
    BoundaryAction, Config, Instance, OnDeath, PlainDispatch, PolicyKind, PortRole, Saturation,
};
use afr_dataplane::flow::FlowState;
use afr_dataplane::id::{ClassIx, PortIx};
use afr_wire::ClassId;

pub(super) const fn policy(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Ttft => "ttft",
        PolicyKind::Weighted => "weighted",
        PolicyKind::LeastLoad => "least-load",
        PolicyKind::TwoChoices => "two-choices",
        PolicyKind::Maglev => "maglev",
        PolicyKind::RoundRobin => "round-robin",
    }
}

pub(super) const fn plain(plain: PlainDispatch) -> &'static str {
    match plain {
        PlainDispatch::Maglev => "maglev",
        PlainDispatch::Load => "load",
    }
}

pub(super) const fn saturation(saturation: Saturation) -> &'static str {
    match saturation {
        Saturation::LeastBad => "least-bad",
        Saturation::Reject => "reject",
    }
}

pub(super) const fn on_death(on_death: OnDeath) -> &'static str {
    match on_death {
        OnDeath::Reset => "reset",
        OnDeath::Rehash => "rehash",
        OnDeath::Drop => "drop",
    }
}

pub(super) const fn role(role: PortRole) -> &'static str {
    match role {
        PortRole::Inside => "inside",
        PortRole::Outside => "outside",
    }
}

pub(super) const fn boundary(action: BoundaryAction) -> &'static str {
    match action {
        BoundaryAction::Strip => "strip",
        BoundaryAction::Ignore => "ignore",
        BoundaryAction::Drop => "drop",
        BoundaryAction::Accept => "accept",
    }
}

pub(super) const fn flow_state(state: FlowState) -> &'static str {
    match state {
        FlowState::Opening => "opening",
        FlowState::Established => "established",
        FlowState::ClientClosing => "closing",
        FlowState::Reset => "reset",
    }
}

/// An Ethernet address.
pub(super) fn mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// A port's name.
pub(super) fn port(config: &Config, port: PortIx) -> String {
    let named = config.ports.get(usize::from(port.0));
    named.map_or_else(|| port.0.to_string(), |port| port.name.clone())
}

/// A class's name; its id where the configuration no longer has it.
pub(super) fn class(config: &Config, id: ClassId) -> String {
    let named = config.class(id).map(|at| class_at(config, at));
    named.unwrap_or_else(|| id.to_string())
}

/// The name of the class at an index; the index where the configuration no longer has it.
pub(super) fn class_at(config: &Config, at: ClassIx) -> String {
    let named = config.classes.get(at);
    named.map_or_else(|| format!("#{}", at.0), |class| class.name.clone())
}

/// An instance's labels by name. A label has another hash in each catalogue, and stands here once.
pub(super) fn labels(config: &Config, instance: &Instance) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for hash in &instance.labels {
        let mut labels = config.catalogues.iter().flat_map(|c| &c.labels);
        let named = labels.find(|(_, known)| known == hash);
        let name = named.map_or_else(|| hash.to_string(), |(name, _)| name.clone());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

//! Which keys a reload may not change.

use super::{Loaded, Process};

/// The keys that differ between the running configuration and `next` and take a restart, for the message that refuses the
/// reload; none: `next` can be put in force.
#[must_use]
pub fn needs_restart(running: &Loaded, next: &Loaded) -> Vec<&'static str> {
    let (was, is) = (&running.process, &next.process);
    let (plane, next_plane) = (&running.plane, &next.plane);
    let port_shape = |loaded: &Loaded| -> Vec<_> {
        let ports = loaded.plane.ports.iter();
        ports
            .map(|p| (p.name.clone(), p.role, p.mtu, p.vlan))
            .collect()
    };
    let mbufs = |process: &Process| (process.mbufs_per_socket(), process.mbufs.bytes);
    let checks = [
        ("[eal]", was.eal != is.eal || mbufs(was) != mbufs(is)),
        ("[workers]", was.workers != is.workers),
        (
            "[[port]]",
            was.devices != is.devices || port_shape(running) != port_shape(next),
        ),
        ("metrics.listen", was.metrics != is.metrics),
        ("api.socket", was.api_socket != is.api_socket),
        ("log.level", was.log != is.log),
        (
            "flows.capacity",
            plane.flows.capacity != next_plane.flows.capacity,
        ),
        (
            "admit.sources",
            plane.admit.sources != next_plane.admit.sources,
        ),
        ("[limits]", plane.limits != next_plane.limits),
        ("publish.log", running.control.log != next.control.log),
    ];
    let changed = checks.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| key).collect()
}

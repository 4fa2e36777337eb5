//! What an operator should know of a port that came up all the same.

use crate::config::Process;
use dpdk::{Applied, RssTypes, Setting, SocketId};

/// A worker's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its CPU.
    pub(super) cpu: u16,
    /// The NUMA socket of that.
    pub(super) socket: SocketId,
}

/// Which of the workers that poll a port are on another NUMA socket than its `device`, in words. `None` where all are near
/// it, or where the device is on no socket in particular, as on machines with one and for virtual devices.
pub(super) fn far(port: &str, device: SocketId, workers: &[Place]) -> Option<String> {
    if device == SocketId::ANY {
        return None;
    }
    let numbered = workers.iter().zip(0..);
    let far: Vec<_> = numbered
        .filter(|(place, _)| place.socket != device && place.socket != SocketId::ANY)
        .map(|(place, worker)| {
            let Place { cpu, socket } = place;
            format!("worker {worker} (CPU {cpu}) on {socket}")
        })
        .collect();
    if far.is_empty() {
        return None;
    }
    Some(format!(
        "port {port} is on NUMA socket {device}, {}: every packet crosses sockets; CPUs for workers.lcores are in \
         /sys/devices/system/node/node{device}/cpulist",
        far.join(", ")
    ))
}

/// What follows where the configuration asks for fewer packet buffers than queues and workers can hold.
pub(super) fn too_few_mbufs(process: &Process) -> Option<String> {
    let (there, held) = (process.mbufs_per_socket(), process.mbufs_at_most_held());
    (there < held).then(|| {
        format!(
            "eal.mbufs = {there} is less than the {held} buffers that queues and workers can hold: packets are lost where \
             all are full; leave the key out for enough"
        )
    })
}

/// The sockets of a kernel interface were not found.
pub(super) fn no_sockets(port: &str, error: Option<std::io::Error>) -> String {
    let why = error.map_or_else(String::new, |error| format!(" ({error})"));
    format!(
        "port {port}: its packet sockets are not found in /proc{why}: workers sleep for workers.idle_us instead of until a \
         packet comes"
    )
}

/// What the device did not grant, and what follows.
pub(super) fn refusals(port: &str, applied: &Applied) -> Vec<String> {
    let mut refusals = Vec::new();
    if let Setting::Refused { errno } = applied.mtu {
        refusals.push(format!(
            "port {port}: the device does not set the MTU ({errno}): the kernel's setting of the interface counts"
        ));
    }
    if let Setting::Refused { errno } = applied.rss {
        refusals.push(format!(
            "port {port}: the device does not spread flows over queues as asked ({errno}): workers may see unequal shares"
        ));
    }
    if let Setting::Applied(types) = applied.rss
        && types.bits() & RssTypes::IPV6_TCP.bits() == 0
    {
        refusals.push(format!(
            "port {port}: the device spreads by addresses, not by TCP ports: all flows of a client are one worker's"
        ));
    }
    if let Setting::Refused { errno } = applied.promiscuous {
        refusals.push(format!("port {port}: no promiscuous mode ({errno})"));
    }
    if let Setting::Refused { errno } = applied.all_multicast {
        refusals.push(format!(
            "port {port}: the device does not take frames for all groups ({errno}): where Neighbor Solicitations go \
             unanswered, set promiscuous = true, or make the AFR a static neighbour of its neighbours"
        ));
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cpu: u16, socket: i32) -> Place {
        Place {
            cpu,
            socket: SocketId::new(socket),
        }
    }

    #[test]
    fn each_worker_that_is_far_is_named_with_its_cpu() {
        let workers = [place(2, 0), place(9, 1), place(10, 1)];
        let told = far("fabric", SocketId::new(0), &workers).unwrap();
        assert!(
            told.starts_with(
                "port fabric is on NUMA socket 0, worker 1 (CPU 9) on 1, worker 2 (CPU 10) on 1: "
            ),
            "{told}"
        );
        assert!(told.ends_with("/node0/cpulist"), "{told}");
        let told = far("fabric", SocketId::new(1), &workers).unwrap();
        assert!(told.contains("worker 0 (CPU 2) on 0: "), "{told}");
    }

    #[test]
    fn nothing_is_told_where_all_is_near_or_unknown() {
        let workers = [place(2, 0), place(3, 0)];
        assert_eq!(far("fabric", SocketId::new(0), &workers), None);
        assert_eq!(far("fabric", SocketId::ANY, &workers), None);
        let unknown = [place(2, -1)];
        assert_eq!(far("fabric", SocketId::new(0), &unknown), None);
    }

    #[test]
    fn each_refusal_is_told_with_its_port_and_what_follows() {
        let granted = Applied {
            rx_descriptors: 1_024,
            tx_descriptors: 1_024,
            offloads: dpdk::Offloads::default(),
            rss: Setting::Applied(RssTypes::IPV6 | RssTypes::IPV6_TCP),
            mtu: Setting::Applied(1_500),
            promiscuous: Setting::NotAsked,
            all_multicast: Setting::Applied(()),
        };
        assert_eq!(refusals("edge", &granted), [""; 0]);
        let errno = dpdk::Errno::NOT_SUPPORTED;
        let none = Applied {
            rss: Setting::Refused { errno },
            mtu: Setting::Refused { errno },
            promiscuous: Setting::Refused { errno },
            all_multicast: Setting::Refused { errno },
            ..granted.clone()
        };
        let told = refusals("edge", &none);
        assert_eq!(told.len(), 4);
        for (words, about) in told.iter().zip(["MTU", "spread", "promiscuous", "groups"]) {
            assert!(
                words.starts_with("port edge: ") && words.contains(about),
                "{words}"
            );
        }
        let by_address = Applied {
            rss: Setting::Applied(RssTypes::IPV6),
            ..granted
        };
        let told = refusals("edge", &by_address);
        assert!(
            told.len() == 1 && told[0].contains("by addresses"),
            "{told:?}"
        );
    }
}

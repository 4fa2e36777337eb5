//! The lab without `afrd`: the kernel routes in its place.

use super::topology::{CLIENT_MAC, EDGE_GATEWAY, FABRIC_GATEWAY, Lab, LabError, client_address};

impl Lab {
    /// Puts the kernel in `afrd`'s place: the AFR's host forwards between its two wires, instance hosts answer without a
    /// tunnel, and programs on the AFR's host can speak to both sides.
    ///
    /// # Errors
    ///
    /// [`LabError`].
    pub fn route_by_kernel(&self) -> Result<(), LabError> {
        let router = &self.router;
        for (interface, gateway) in [("edge", EDGE_GATEWAY), ("fabric", FABRIC_GATEWAY)] {
            router.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), 0)?;
            router.ip(&format!("addr add {gateway}/64 dev {interface} nodad"))?;
        }
        router.sysctl("net.ipv6.conf.all.forwarding", 1)?;
        for index in 0..self.spec().clients {
            let client = client_address(index);
            router.ip(&format!("neigh add {client} lladdr {CLIENT_MAC} dev edge"))?;
        }
        for host in &self.hosts {
            let (address, mac) = (host.address, &host.mac);
            router.ip(&format!("neigh add {address} lladdr {mac} dev fabric"))?;
            host.namespace.ip("-6 route del default")?;
            host.namespace
                .ip(&format!("route add default via {FABRIC_GATEWAY} dev eth0"))?;
        }
        Ok(())
    }

    /// Lets every interface merge and split segments and leave checksums out, as network cards do for kernels. `afrd`
    /// cannot be given such frames.
    ///
    /// # Errors
    ///
    /// [`LabError`].
    pub fn offload(&self) -> Result<(), LabError> {
        for interface in ["edge", "fabric"] {
            self.router.with_offloads(interface)?;
        }
        self.client.with_offloads("eth0")?;
        self.fabric.with_offloads("p0")?;
        for host in &self.hosts {
            host.namespace.with_offloads("eth0")?;
            self.fabric.with_offloads(&format!("p{}", host.number))?;
        }
        Ok(())
    }
}

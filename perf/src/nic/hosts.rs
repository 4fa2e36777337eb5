//! The guest's peers: a host of clients and two instance hosts, at the addresses of `configs/afrd.toml`.

use std::net::{Ipv6Addr, SocketAddrV6};

use crate::lab::{CommandError, Namespace};

use super::model::Model;

/// The AFR on the clients' segment and on the instances'; it answers solicitations for both.
const GATEWAYS: [&str; 2] = ["fd00:c::1", "fd00:1::1"];
/// Where the AFR takes back what instances tunnel to it.
const AFR_SID: &str = "fd00:af::5:1";
/// The AFR's own address: where reports go.
const AFR_ADDRESS: &str = "fd00:af::1";
/// The service prefix.
const SERVICES: &str = "fd00:a9::/96";
/// Ethernet address of the clients' host, which the configuration knows.
const CLIENT_MAC: &str = "02:00:00:00:0c:01";
/// Largest packet on the clients' segment, and on the instances'; `scripts/nic-init` tells afrd.
const MTUS: [u16; 2] = [1_500, 1_700];
/// Where servers listen.
pub(super) const PORT: u16 = 8_000;
/// Addresses that the clients' host has.
pub(super) const CLIENTS: u16 = 4;

/// The guest's cards, by segment: the interface behind it and the Ethernet address.
pub(super) const CARDS: [(&str, &str); 2] = [
    ("clients", "02:af:00:00:0c:01"),
    ("fabric", "02:af:00:00:01:01"),
];

/// An instance host.
#[derive(Debug)]
pub(super) struct Instance {
    /// Its id in the configuration.
    pub(super) id: u8,
    /// Its name there.
    pub(super) name: &'static str,
    /// A label that it alone has.
    pub(super) label: &'static str,
    /// Its address.
    pub(super) address: Ipv6Addr,
    /// Its namespace.
    pub(super) namespace: Namespace,
}

/// All hosts, and the switches between them and the guest. Dropped, they are removed.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The clients' host.
    pub(super) client: Namespace,
    /// The instance hosts.
    pub(super) instances: Vec<Instance>,
    /// Where QEMU runs and both bridges are.
    pub(super) switch: Namespace,
}

impl Hosts {
    /// Makes them for cards of this model. The names of all namespaces start with `tag`.
    ///
    /// # Errors
    ///
    /// A command fails; what was made by then is removed.
    pub(super) fn build(tag: &str, model: Model) -> Result<Self, CommandError> {
        let named = |role: &str| Namespace::create(format!("{tag}-{role}"));
        let switch = named("sw")?;
        switch.sysctl("net.ipv6.conf.default.disable_ipv6", 1)?;
        for ((segment, _), mtu) in CARDS.iter().zip(MTUS) {
            switch.ip(&format!(
                "link add br-{segment} type bridge mcast_snooping 0"
            ))?;
            switch.ip(&format!("link set br-{segment} up"))?;
            // Several queues can be asked for only where the interface was made for several.
            let queues = if model.tap_queues() > 1 {
                "multi_queue"
            } else {
                ""
            };
            switch.ip(&format!("tuntap add dev {segment} mode tap {queues}"))?;
            switch.ip(&format!(
                "link set {segment} mtu {mtu} master br-{segment} up"
            ))?;
        }
        let client = named("cli")?;
        plug(&client, &switch, ("clients", "p0"), CLIENT_MAC, MTUS[0])?;
        for index in 0..CLIENTS {
            let address = client_address(index);
            client.ip(&format!("addr add {address}/64 dev eth0 nodad"))?;
        }
        client.ip(&format!(
            "route add {SERVICES} via {} dev eth0",
            GATEWAYS[0]
        ))?;
        let mut instances = Vec::new();
        for (id, name, label, address) in [
            (11, "inst-1", "tool:search", 0x11),
            (12, "inst-2", "model:qwen-2.5-7b", 0x12),
        ] {
            let namespace = named(name)?;
            let mac = format!("02:00:00:00:01:{:02}", id - 10);
            let port = format!("p{id}");
            plug(&namespace, &switch, ("fabric", &port), &mac, MTUS[1])?;
            let address = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, address);
            set_up(&namespace, address, &format!("fd00:1::d:{id}"))?;
            instances.push(Instance {
                id,
                name,
                label,
                address,
                namespace,
            });
        }
        Ok(Self {
            client,
            instances,
            switch,
        })
    }
}

/// Address number `index` of the clients' host. The first is the neighbour that the configuration routes by.
pub(super) fn client_address(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0xc, 0, 0, 0, 0, 0, 0x100 + index)
}

/// The service address of the class `chat`, with the servers' port.
pub(super) fn service() -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::new(0xfd00, 0xa9, 0, 0, 0, 0, 0, 1), PORT, 0, 0)
}

/// Connects a host's `eth0` to port `port` of the bridge of `segment`.
fn plug(
    host: &Namespace,
    switch: &Namespace,
    (segment, port): (&str, &str),
    mac: &str,
    mtu: u16,
) -> Result<(), CommandError> {
    host.ip(&format!(
        "link add eth0 address {mac} mtu {mtu} type veth peer name {port} mtu {mtu} netns {}",
        switch.name()
    ))?;
    switch.ip(&format!("link set {port} master br-{segment} up"))?;
    // Frames as a wire would carry them.
    switch.without_offloads(port)?;
    host.without_offloads("eth0")?;
    host.ip("link set eth0 up")?;
    Ok(())
}

/// README.md's lines for an instance host.
fn set_up(host: &Namespace, address: Ipv6Addr, sid: &str) -> Result<(), CommandError> {
    for scope in ["all", "eth0"] {
        host.sysctl(&format!("net.ipv6.conf.{scope}.seg6_enabled"), 1)?;
    }
    host.sysctl("net.ipv6.conf.all.forwarding", 1)?;
    host.ip(&format!("addr add {address}/64 dev eth0 nodad"))?;
    host.ip(&format!("addr add {}/128 dev lo nodad", service().ip()))?;
    host.ip(&format!(
        "-6 route add {sid}/128 encap seg6local action End.DT6 table 255 dev eth0"
    ))?;
    for direct in [AFR_SID, AFR_ADDRESS] {
        host.ip(&format!(
            "-6 route add {direct}/128 via {} dev eth0",
            GATEWAYS[1]
        ))?;
    }
    host.ip(&format!(
        "-6 route add default encap seg6 mode encap.red segs {AFR_SID} dev eth0"
    ))?;
    host.run(&format!("ip sr tunsrc set {address}")).map(drop)
}

//! The lab's hosts and wires.

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::command::CommandError;
use super::interrupt::Interrupt;
use super::leftovers;
use super::namespace::{Namespace, NamespaceError};

/// The AFR's address: source of what it encapsulates, destination of reports.
pub const AFR_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xaf, 0, 0, 0, 0, 0, 1);
/// The segment identifier at which the AFR decapsulates what instances tunnel back.
pub const AFR_SID: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xaf, 0, 0, 0, 0, 5, 1);
/// The service prefix, a /96: the class id is in the last 32 bits (documentation prefix, RFC 3849).
pub const SERVICE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 0);
/// The AFR on the clients' wire.
pub(crate) const EDGE_GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
/// The AFR on the instances' wire.
pub(crate) const FABRIC_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);

/// Ethernet addresses, locally administered: the AFR's two ports and the clients' host.
const EDGE_MAC: &str = "02:af:00:00:0c:01";
const FABRIC_MAC: &str = "02:af:00:00:01:01";
pub(crate) const CLIENT_MAC: &str = "02:af:00:00:0c:02";

/// Most instance hosts: their numbers go into one byte of a MAC address.
const MOST_INSTANCES: u8 = 200;

static NEXT_LAB: AtomicU32 = AtomicU32::new(0);

/// Address number `index` of the clients' host, from 0.
#[must_use]
pub fn client_address(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 1, index)
}

/// The service address of a class; of class 0 the generic one.
#[must_use]
pub fn service_address(class: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(SERVICE_PREFIX) | u128::from(class))
}

/// Why a lab could not be built.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Network namespaces take the superuser.
    #[error("network namespaces can only be made by root: run this as root")]
    NotRoot,
    /// A host or a wire could not be set up.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A host could not be looked into.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A file could not be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no room for another.
    #[error("a lab has at most {MOST_INSTANCES} instance hosts")]
    TooManyInstances,
    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a lab looks like.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Instance hosts, numbered from 1.
    pub instances: u8,
    /// Addresses of the clients' host.
    pub clients: u16,
    /// Classes whose service addresses the instance hosts take packets for.
    pub classes: Vec<u32>,
    /// MTU of the clients' wire, in bytes.
    pub edge_mtu: u16,
    /// MTU of the instances' wire, in bytes. From `edge_mtu` + 40 on nothing needs to adapt to the encapsulation.
    pub fabric_mtu: u16,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            instances: 3,
            clients: 4,
            classes: vec![0, 1],
            edge_mtu: 1_500,
            fabric_mtu: 1_800,
        }
    }
}

/// An instance host.
#[derive(Debug)]
pub struct Host {
    /// Its number, from 1: its instance id.
    pub number: u8,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its address on the fabric: the source of what it tunnels back and of its reports.
    pub address: Ipv6Addr,
    /// Its segment identifier: where it decapsulates.
    pub sid: Ipv6Addr,
    /// Its Ethernet address.
    pub mac: String,
}

impl Host {
    /// Takes its cable out, or puts it back. Everything the host was told stays.
    ///
    /// # Errors
    ///
    /// `ip` fails.
    pub fn plug(&self, lab: &Lab, plugged: bool) -> Result<(), CommandError> {
        // The switch's end: carrier goes and the host's own routes stay.
        let state = if plugged { "up" } else { "down" };
        lab.fabric
            .ip(&format!("link set p{} {state}", self.number))
            .map(drop)
    }
}

/// Hosts, wires and a directory. Dropped, all of it is removed; programs still running inside are not its to end.
#[derive(Debug)]
pub struct Lab {
    /// The clients' host.
    pub client: Namespace,
    /// The AFR's host.
    pub router: Namespace,
    /// The instance hosts.
    pub hosts: Vec<Host>,
    pub(super) fabric: Namespace,
    spec: LabSpec,
    tag: String,
    directory: Directory,
    interrupt: Interrupt,
}

impl Lab {
    /// Builds a lab, after removing what dead ones left behind.
    ///
    /// # Errors
    ///
    /// [`LabError`]; what was built by then is removed.
    pub fn build(spec: LabSpec, interrupt: &Interrupt) -> Result<Self, LabError> {
        if uapi::geteuid() != 0 {
            return Err(LabError::NotRoot);
        }
        let _ = leftovers::clean();
        let number = NEXT_LAB.fetch_add(1, Ordering::Relaxed);
        let tag = leftovers::tag(std::process::id(), number);
        let directory = Directory::create(&tag)?;
        let named = |role: &str| Namespace::create(format!("{tag}-{role}"));
        let (client, router, fabric) = (named("cli")?, named("rt")?, named("sw")?);
        let mut lab = Self {
            client,
            router,
            fabric,
            hosts: Vec::new(),
            tag,
            directory,
            interrupt: interrupt.clone(),
            spec,
        };
        lab.wire_edge()?;
        lab.wire_fabric()?;
        for _ in 0..lab.spec.instances {
            lab.add_host()?;
        }
        Ok(lab)
    }

    /// The directory of logs, configurations and sockets.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory.path
    }

    /// Leaves the directory where it is when the lab goes.
    pub fn keep_directory(&mut self) {
        self.directory.keep = true;
    }

    /// What the lab was built after.
    #[must_use]
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// The flag that ends whoever waits.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The prefix of the names of its namespaces: no other lab has it.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The instance host of this number.
    #[must_use]
    pub fn host(&self, number: u8) -> Option<&Host> {
        self.hosts.get(usize::from(number).checked_sub(1)?)
    }

    fn wire_edge(&self) -> Result<(), LabError> {
        let (client, router) = (&self.client, &self.router);
        let mtu = self.spec.edge_mtu;
        router.ip(&format!(
            "link add edge address {EDGE_MAC} mtu {mtu} type veth \
             peer name eth0 address {CLIENT_MAC} mtu {mtu} netns {}",
            client.name()
        ))?;
        leave_to_afrd(router, "edge")?;
        client.without_offloads("eth0")?;
        for index in 0..self.spec.clients {
            client.ip(&format!(
                "addr add {}/64 dev eth0 nodad",
                client_address(index)
            ))?;
        }
        client.ip("link set eth0 up")?;
        client.ip(&format!(
            "neigh add {EDGE_GATEWAY} lladdr {EDGE_MAC} dev eth0 nud permanent"
        ))?;
        client.ip(&format!("route add default via {EDGE_GATEWAY} dev eth0"))?;
        Ok(())
    }

    fn wire_fabric(&self) -> Result<(), LabError> {
        let (fabric, router) = (&self.fabric, &self.router);
        fabric.sysctl("net.ipv6.conf.default.disable_ipv6", 1)?;
        fabric.ip("link add br0 type bridge mcast_snooping 0")?;
        fabric.ip("link set br0 up")?;
        let mtu = self.spec.fabric_mtu;
        router.ip(&format!(
            "link add fabric address {FABRIC_MAC} mtu {mtu} type veth \
             peer name p0 mtu {mtu} netns {}",
            fabric.name()
        ))?;
        leave_to_afrd(router, "fabric")?;
        self.plug_in("p0")
    }

    fn plug_in(&self, port: &str) -> Result<(), LabError> {
        self.fabric.without_offloads(port)?;
        self.fabric.ip(&format!("link set {port} master br0 up"))?;
        Ok(())
    }

    /// Adds an instance host and returns its number.
    ///
    /// # Errors
    ///
    /// [`LabError`].
    pub fn add_host(&mut self) -> Result<u8, LabError> {
        if self.interrupt.is_raised() {
            return Err(LabError::Interrupted);
        }
        let number = u8::try_from(self.hosts.len() + 1)
            .ok()
            .filter(|number| *number <= MOST_INSTANCES)
            .ok_or(LabError::TooManyInstances)?;
        let namespace = Namespace::create(format!("{}-i{number}", self.tag))?;
        let host = Host {
            number,
            namespace,
            address: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0x1, number.into()),
            sid: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0xd, number.into()),
            mac: format!("02:af:00:00:02:{number:02x}"),
        };
        let (mtu, port) = (self.spec.fabric_mtu, format!("p{number}"));
        host.namespace.ip(&format!(
            "link add eth0 address {} mtu {mtu} type veth peer name {port} mtu {mtu} netns {}",
            host.mac,
            self.fabric.name()
        ))?;
        self.plug_in(&port)?;
        self.set_up(&host)?;
        self.hosts.push(host);
        Ok(number)
    }

    /// An instance host: decapsulation at its SID to local delivery, everything else tunnelled back to the AFR.
    fn set_up(&self, host: &Host) -> Result<(), LabError> {
        let ns = &host.namespace;
        ns.without_offloads("eth0")?;
        for scope in ["all", "default", "eth0"] {
            ns.sysctl(&format!("net.ipv6.conf.{scope}.seg6_enabled"), 1)?;
        }
        ns.sysctl("net.ipv6.conf.all.forwarding", 1)?;
        ns.ip(&format!("addr add {}/64 dev eth0 nodad", host.address))?;
        ns.ip("link set eth0 up")?;
        ns.ip(&format!(
            "neigh add {FABRIC_GATEWAY} lladdr {FABRIC_MAC} dev eth0 nud permanent"
        ))?;
        for class in &self.spec.classes {
            ns.ip(&format!(
                "addr add {}/128 dev lo nodad",
                service_address(*class)
            ))?;
        }
        // 255 is local delivery; by way of the main table it would be answered as unreachable.
        ns.ip(&format!(
            "route add {}/128 encap seg6local action End.DT6 table 255 dev eth0",
            host.sid
        ))?;
        for direct in [AFR_SID, AFR_ADDRESS] {
            ns.ip(&format!(
                "route add {direct}/128 via {FABRIC_GATEWAY} dev eth0"
            ))?;
        }
        ns.ip(&format!(
            "-6 route add default encap seg6 mode encap.red segs {AFR_SID} dev eth0"
        ))?;
        ns.run(&format!("ip sr tunsrc set {}", host.address))?;
        Ok(())
    }
}

/// Brings an interface of the AFR's host up and keeps the kernel silent on it: whoever speaks there is `afrd`.
fn leave_to_afrd(router: &Namespace, interface: &str) -> Result<(), CommandError> {
    router.without_offloads(interface)?;
    router.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), 1)?;
    router.ip(&format!("link set {interface} up"))?;
    Ok(())
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    keep: bool,
}

impl Directory {
    pub(crate) fn create(tag: &str) -> Result<Self, LabError> {
        let path = leftovers::directory(tag);
        fs::create_dir_all(&path).map_err(|source| LabError::File {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

//! The part of `afrd`'s configuration file that the lab writes, key by key as `configs/afrd.toml` documents it.
//!
//! What is `None` or empty is left out of the file and has the default there. A key that does not exist any more is
//! found by `afrd --check`, which reads every file the lab makes.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::topology::{
    AFR_ADDRESS, AFR_SID, CLIENT_MAC, EDGE_GATEWAY, FABRIC_GATEWAY, Host, Lab, SERVICE_PREFIX,
    client_address,
};

/// The number of the lab's cluster.
pub const CLUSTER: u32 = 1;
/// The master key of the lab's only key, in hexadecimal, and its number.
pub const KEY: (u16, &str) = (1, "000102030405060708090a0b0c0d0e0f");
/// The salt of the lab's catalogue, in hexadecimal, and its version.
pub const SALT: (u16, &str) = (1, "6c61622d73616c74");

/// The file.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct AfrConfig {
    pub eal: Eal,
    pub router: Router,
    pub workers: Workers,
    pub port: Vec<Port>,
    pub neighbour: Vec<Neighbour>,
    pub route: Vec<Route>,
    pub trust: Trust,
    pub catalogue: Vec<Catalogue>,
    pub key: Vec<Key>,
    pub service: Vec<Service>,
    pub class: Vec<Class>,
    pub instance: Vec<Instance>,
    pub dispatch: Dispatch,
    pub flows: Flows,
    pub metrics: MetricsSection,
    pub api: Api,
    pub log: Log,
}

/// `[eal]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Eal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
}

/// `[router]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Router {
    pub cluster: u32,
    pub address: Ipv6Addr,
    pub sids: Vec<Ipv6Addr>,
    pub own_addresses: Vec<Ipv6Addr>,
    pub transit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss_clamp: Option<u16>,
    pub maglev_seed: String,
}

/// `[workers]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Workers {
    pub lcores: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_lcore: Option<u16>,
    pub idle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_polls: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steering: Option<String>,
}

/// `[[port]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Port {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    pub mtu: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
}

/// `[[neighbour]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Neighbour {
    pub address: Ipv6Addr,
    pub port: String,
    pub mac: String,
}

/// `[[route]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Route {
    pub prefix: String,
    pub via: Ipv6Addr,
}

/// `[trust]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Trust {
    pub trusted_prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_unauthenticated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_skew_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_limit: Option<u16>,
}

/// `[[catalogue]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Catalogue {
    pub version: u16,
    pub salt: String,
    pub labels: Vec<String>,
}

/// `[[key]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Key {
    pub id: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    pub secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

/// `[[service]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Service {
    pub prefix: String,
}

/// `[[class]]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Class {
    pub id: u32,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_death: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_prompt_tokens: Option<u32>,
}

/// `[[instance]]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Instance {
    pub id: u32,
    pub name: String,
    pub sid: Ipv6Addr,
    pub via: Ipv6Addr,
    pub classes: Vec<String>,
    pub labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_rate_tokens_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_key: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
}

/// `[dispatch]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Dispatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near_tie_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_full_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_from: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisional_ttl_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_report_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency_ttl_s: Option<u32>,
}

/// `[flows]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Flows {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
}

/// `[metrics]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct MetricsSection {
    pub listen: SocketAddr,
}

/// `[api]`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Api {
    pub socket: PathBuf,
}

/// `[log]`.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the keys are documented in configs/afrd.toml")]
pub struct Log {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl AfrConfig {
    /// The lab's own part: ports, neighbours, routes, key and catalogue. Classes and instances are the caller's to add.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let spec = lab.spec();
        Self {
            eal: Eal::default(),
            router: Router {
                cluster: CLUSTER,
                address: AFR_ADDRESS,
                sids: vec![AFR_SID],
                own_addresses: vec![EDGE_GATEWAY, FABRIC_GATEWAY],
                transit: true,
                mss_clamp: None,
                maglev_seed: "6166722d6c61622d6d61676c65762d31".to_owned(),
            },
            workers: Workers {
                lcores: vec![1],
                main_lcore: None,
                idle: "sleep".to_owned(),
                idle_us: None,
                idle_polls: None,
                steering: None,
            },
            port: vec![
                port("clients", "edge", "outside", spec.edge_mtu),
                port("fabric", "fabric", "inside", spec.fabric_mtu),
            ],
            neighbour: neighbours(lab),
            route: vec![Route {
                prefix: "2001:db8:c::/64".to_owned(),
                via: client_address(0),
            }],
            trust: Trust {
                trusted_prefixes: vec!["2001:db8:c::/64".to_owned()],
                ..Trust::default()
            },
            catalogue: vec![Catalogue {
                version: SALT.0,
                salt: SALT.1.to_owned(),
                labels: Vec::new(),
            }],
            key: vec![Key {
                id: KEY.0,
                algorithm: None,
                secret: KEY.1.to_owned(),
                classes: None,
            }],
            service: vec![Service {
                prefix: format!("{SERVICE_PREFIX}/96"),
            }],
            class: Vec::new(),
            instance: Vec::new(),
            dispatch: Dispatch::default(),
            flows: Flows {
                capacity: Some(65_536),
            },
            metrics: MetricsSection {
                listen: SocketAddr::from((Ipv6Addr::LOCALHOST, 9_472)),
            },
            api: Api {
                socket: socket(lab.directory()),
            },
            log: Log::default(),
        }
    }

    /// Gives the lab's packet sockets room for so many frames, a power of two, where the default is 512: a worker that has to
    /// share its processor takes longer to come round.
    pub fn deepen_rings(&mut self, frames: u32) {
        for (index, port) in self.port.iter_mut().enumerate() {
            if let Some(iface) = port.iface.take() {
                port.device = Some(format!(
                    "net_af_packet{index},iface={iface},qpairs=1,framesz=4096,blocksz=8192,framecnt={frames}"
                ));
            }
        }
    }

    /// Adds a class with the defaults, and returns it to be changed.
    pub fn class(&mut self, id: u32, name: &str) -> &mut Class {
        self.class.push(Class {
            id,
            name: name.to_owned(),
            ..Class::default()
        });
        let last = self.class.len() - 1;
        &mut self.class[last]
    }

    /// Adds an instance on `host`, named `i<number>`, and returns it to be changed. A host that joined the lab later
    /// becomes a neighbour by this.
    pub fn instance(&mut self, host: &Host, classes: &[&str]) -> &mut Instance {
        if self.neighbour.iter().all(|n| n.address != host.address) {
            self.neighbour.push(neighbour(host));
        }
        self.instance.push(Instance {
            id: host.number.into(),
            name: format!("i{}", host.number),
            sid: host.sid,
            via: host.address,
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
            labels: Vec::new(),
            weight: None,
            prefill_rate_tokens_s: None,
            max_running: None,
            report_key: None,
            drain: None,
        });
        let last = self.instance.len() - 1;
        &mut self.instance[last]
    }

    /// The instance on host `number`.
    pub fn instance_mut(&mut self, number: u8) -> Option<&mut Instance> {
        let id = u32::from(number);
        self.instance.iter_mut().find(|instance| instance.id == id)
    }
}

fn port(name: &str, iface: &str, role: &str, mtu: u16) -> Port {
    Port {
        name: name.to_owned(),
        iface: Some(iface.to_owned()),
        device: None,
        role: role.to_owned(),
        boundary: None,
        mtu,
        queues: None,
    }
}

/// Every address of the clients' host, and the instance hosts.
fn neighbours(lab: &Lab) -> Vec<Neighbour> {
    let clients = (0..lab.spec().clients).map(|index| Neighbour {
        address: client_address(index),
        port: "clients".to_owned(),
        mac: CLIENT_MAC.to_owned(),
    });
    clients.chain(lab.hosts.iter().map(neighbour)).collect()
}

fn neighbour(host: &Host) -> Neighbour {
    Neighbour {
        address: host.address,
        port: "fabric".to_owned(),
        mac: host.mac.clone(),
    }
}

/// Where the API of the lab's `afrd` listens.
fn socket(directory: &Path) -> PathBuf {
    directory.join("afrd.sock")
}

//! A cluster of echo servers behind `afrd`: what the end-to-end tests work on.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use afr_endpoint::report::Sample;

use super::afrd::{Afrd, AfrdError};
use super::command::CommandError;
use super::config::{AfrConfig, KEY};
use super::exposition::Exposition;
use super::peer::{Client, Dial, PeerError, Server};
use super::reporter::Heartbeat;
use super::topology::{Lab, LabError, client_address, service_address};

/// The port that every server listens on.
const PORT: u16 = 8_000;
/// Time between two reports of an instance.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Why the cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// `afrd`.
    #[error(transparent)]
    Afrd(#[from] AfrdError),
    /// A server.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A cable.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Instances `i1`, `i2`, … that send back what they get and report that they are idle, and `afrd` before them.
#[derive(Debug)]
pub struct EchoCluster {
    /// The AFR.
    pub afrd: Afrd,
    /// Its configuration.
    pub config: AfrConfig,
    /// Every instance's server, by number less one.
    servers: Vec<Server>,
    /// Every instance's reports, by number less one; `None`: it is silent.
    heartbeats: Vec<Option<Heartbeat>>,
    /// Hosts and wires.
    pub lab: Lab,
}

impl EchoCluster {
    /// Starts everything, and waits until every instance has reported. All serve class 1, `chat`; `adjust` changes the
    /// configuration before it is used.
    ///
    /// # Errors
    ///
    /// [`EchoError`].
    pub fn start(lab: Lab, adjust: impl FnOnce(&mut AfrConfig)) -> Result<Self, EchoError> {
        let mut config = AfrConfig::of(&lab);
        config.class(1, "chat");
        for host in &lab.hosts {
            config.instance(host, &["chat"]).report_key = Some(KEY.0);
        }
        adjust(&mut config);
        let servers = lab.hosts.iter().map(|host| {
            let name = format!("i{}", host.number);
            Server::start(&host.namespace, &name, PORT)
        });
        let servers = servers.collect::<Result<_, _>>()?;
        let afrd = Afrd::start(&lab, &config)?;
        let heartbeats = lab.hosts.iter().map(|_| None).collect();
        let mut cluster = Self {
            afrd,
            config,
            servers,
            heartbeats,
            lab,
        };
        for number in 1..=cluster.lab.hosts.len() as u8 {
            cluster.report(number, idle());
        }
        cluster.wait_for_reports()?;
        Ok(cluster)
    }

    /// Instance `number` reports `sample` of itself from now on.
    pub fn report(&mut self, number: u8, sample: Sample) {
        let place = usize::from(number).wrapping_sub(1);
        if let (Some(host), Some(heartbeat)) =
            (self.lab.host(number), self.heartbeats.get_mut(place))
        {
            // Two at a time would number their reports independently.
            *heartbeat = None;
            *heartbeat = Some(Heartbeat::start(host, sample, HEARTBEAT));
        }
    }

    /// Waits until every instance that is not silent has been heard once more.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn wait_for_reports(&self) -> Result<(), EchoError> {
        const REPORTS: &str = "afr_instance_reports_total";
        let before = self.metrics()?.by(REPORTS, "instance");
        let speaking = (1..)
            .zip(&self.heartbeats)
            .filter(|(_, beat)| beat.is_some());
        let names: Vec<_> = speaking.map(|(number, _)| format!("i{number}")).collect();
        self.afrd
            .until(&self.lab, "hearing of every instance", |afrd| {
                let now = afrd.metrics(&self.lab)?.by(REPORTS, "instance");
                let heard = |name: &String| now.get(name).copied() > before.get(name).copied();
                Ok(names.iter().all(heard))
            })?;
        Ok(self.afrd.settle(&self.lab)?)
    }

    /// Adds an instance host with its server and its entry in the configuration, which is not in force yet. It reports
    /// from the start.
    ///
    /// # Errors
    ///
    /// [`EchoError`].
    pub fn add_instance(&mut self) -> Result<u8, EchoError> {
        let number = self.lab.add_host()?;
        if let Some(host) = self.lab.host(number) {
            let server = Server::start(&host.namespace, &format!("i{number}"), PORT)?;
            self.servers.push(server);
            self.config.instance(host, &["chat"]).report_key = Some(KEY.0);
        }
        self.heartbeats.push(None);
        self.report(number, idle());
        Ok(number)
    }

    /// Puts the configuration in force as it is now.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub fn reload(&mut self) -> Result<(), EchoError> {
        Ok(self.afrd.reload(&self.lab, &self.config)?)
    }

    /// Takes the cable of instance `number` out; it says no more, and hears nothing.
    ///
    /// # Errors
    ///
    /// There is no such host.
    pub fn unplug(&mut self, number: u8) -> Result<(), EchoError> {
        if let Some(heartbeat) = self.heartbeats.get_mut(usize::from(number).wrapping_sub(1)) {
            *heartbeat = None;
        }
        if let Some(host) = self.lab.host(number) {
            host.plug(&self.lab, false)?;
        }
        Ok(())
    }

    /// Puts the cable of instance `number` back; it reports again.
    ///
    /// # Errors
    ///
    /// There is no such host.
    pub fn plug(&mut self, number: u8) -> Result<(), EchoError> {
        if let Some(host) = self.lab.host(number) {
            host.plug(&self.lab, true)?;
        }
        self.report(number, idle());
        Ok(())
    }

    /// The service address of a class, with the servers' port.
    #[must_use]
    pub fn service(class: u32) -> SocketAddrV6 {
        SocketAddrV6::new(service_address(class), PORT, 0, 0)
    }

    /// A plain connection from the clients' first address to class 1.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub fn connect(&self) -> Result<Client, PeerError> {
        self.dial(&Dial::plain(client_address(0), Self::service(1)))
    }

    /// A connection of any kind.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub fn dial(&self, dial: &Dial<'_>) -> Result<Client, PeerError> {
        Client::connect(&self.lab.client, dial)
    }

    /// The instances that `count` new connections like this reach, in order.
    ///
    /// # Errors
    ///
    /// [`PeerError`] of the first that fails.
    pub fn reached(&self, dial: &Dial<'_>, count: usize) -> Result<Vec<String>, PeerError> {
        let reach = |_| Ok(self.dial(dial)?.instance().to_owned());
        (0..count).map(reach).collect()
    }

    /// `afrd`'s metrics, with everything that happened before this call.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn metrics(&self) -> Result<Exposition, EchoError> {
        Ok(self.afrd.settled_metrics(&self.lab)?)
    }

    /// Waits until `afrd`'s metrics are like that: for what nobody but `afrd` can tell has happened.
    ///
    /// # Errors
    ///
    /// They are not in time; `what` says for what it was waited.
    pub fn until(&self, what: &str, is_so: impl Fn(&Exposition) -> bool) -> Result<(), EchoError> {
        let is_so = |afrd: &Afrd| Ok(is_so(&afrd.metrics(&self.lab)?));
        Ok(self.afrd.until(&self.lab, what, is_so)?)
    }

    /// The address of the clients' host with this index.
    #[must_use]
    pub fn client(&self, index: u16) -> Ipv6Addr {
        client_address(index)
    }
}

/// An instance with nothing to do.
fn idle() -> Sample {
    Sample {
        prefill_rate_tokens_s: 8_000,
        ..Sample::default()
    }
}

//! State reports of an instance host that runs no engine.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use afr_endpoint::events::EventFeed;
use afr_endpoint::report::{BootPoint, Identity, Reporter, Sample};
use afr_endpoint::udp::ReportSocket;
use afr_wire::{CatalogueVersion, ClusterId, DomainId, InstanceId, KeyId, MacAlgorithm, UDP_PORT};

use super::config::{CLUSTER, KEY, SALT};
use super::namespace::{Namespace, enter};
use super::sender::master;
use super::topology::{AFR_ADDRESS, Host};

/// Tells the AFR by datagrams, again and again, that an instance is there. Dropped, it falls silent.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// The host tells `sample` of itself every `period`, each time under a new date.
    #[must_use]
    pub fn start(host: &Host, sample: Sample, period: Duration) -> Self {
        Self::of(host.number, &host.namespace, host.address, sample, period)
    }

    /// The same for instance `number` from anywhere; from where it is not the instance, that is forgery.
    #[must_use]
    pub fn of(
        number: u8,
        namespace: &Namespace,
        source: Ipv6Addr,
        sample: Sample,
        period: Duration,
    ) -> Self {
        let identity = Identity::new(
            InstanceId(number.into()),
            CatalogueVersion(SALT.0),
            DomainId(1),
        )
        .with_key(
            KeyId(KEY.0),
            MacAlgorithm::AesCmac,
            &master(),
            ClusterId(CLUSTER),
        );
        let namespace = namespace.name().to_owned();
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let target = SocketAddrV6::new(AFR_ADDRESS, UDP_PORT, 0, 0);
            if enter(&namespace).is_err() {
                return;
            }
            let Ok(socket) = ReportSocket::bind(source, vec![target]) else {
                return;
            };
            let mut reporter = Reporter::new(identity, BootPoint::at(unix_ms(), 0));
            let (feed, mut sample) = (EventFeed::new(), sample);
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                sample.sampled_at_ms = unix_ms() as u32;
                if let Ok(report) = reporter.datagram(&sample, &feed) {
                    socket.send(&report);
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

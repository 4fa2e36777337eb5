//! A search without any hardware: kernel hosts in namespaces, `afrd` between them by `net_af_packet`.
//!
//! A client sends datagrams in time, an instance host counts what the kernel there decapsulates. What is found is what
//! this arrangement does, generator and kernel included: it shows that the search works, and is no result of RFC 2544.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use socket2::SockRef;

use super::latency::{Latency, percentiles};
use super::{Counted, Trial};
use crate::lab::{
    AfrConfig, Afrd, Interrupt, Lab, LabSpec, Namespace, client_address, service_address,
};

/// Flows that datagrams are spread over.
const FLOWS: usize = 16;
const PORT: u16 = 8_000;
/// Bytes of payload.
const PAYLOAD: usize = 64;
/// Datagrams between two looks at the clock.
const CLUMP: u64 = 8;
/// Silence after which nothing more is to come.
const SILENCE: Duration = Duration::from_millis(300);
/// Bytes that wait at the receiver.
const RECEIVE_BYTES: usize = 16 << 20;
/// Datagrams that open the flows, before a trial.
const OPENING: usize = 4;
/// Name of the histogram in the lab's directory.
const HISTOGRAM: &str = "latency.json";

/// A lab with one instance, and a sender and a counter in it.
#[derive(Debug)]
pub struct Virtual {
    afrd: Option<Afrd>,
    senders: Vec<UdpSocket>,
    receiver: Receiver,
    lab: Lab,
}

impl Virtual {
    /// Builds the lab with the ordinary `afrd`, or with `afrd-bench` that times packets.
    ///
    /// # Errors
    ///
    /// Those of the lab.
    pub fn start(interrupt: &Interrupt, timed: bool) -> anyhow::Result<Self> {
        let spec = LabSpec {
            instances: 1,
            ..LabSpec::default()
        };
        let lab = Lab::build(spec, interrupt)?;
        let mut config = AfrConfig::of(&lab);
        config.class(1, "chat");
        let host = lab.hosts.first().context("the lab has no instance host")?;
        config.instance(host, &["chat"]);
        let receiver = Receiver::start(&host.namespace)?;
        let afrd = if timed {
            let file = lab.directory().join(HISTOGRAM);
            let told = format!("AFR_BENCH_LATENCY={}", file.display());
            Afrd::start_as("afrd-bench", &[told], &lab, &config)?
        } else {
            Afrd::start(&lab, &config)?
        };
        let senders = lab.client.inside(senders)??;
        Ok(Self {
            afrd: Some(afrd),
            senders,
            receiver,
            lab,
        })
    }

    /// Ends `afrd`, timed packets and all, and reads what it timed.
    fn latency(mut self) -> anyhow::Result<Latency> {
        if let Some(afrd) = self.afrd.take() {
            afrd.stop()?;
        }
        percentiles(&self.lab.directory().join(HISTOGRAM))
    }
}

/// The latency through a worker at a rate.
///
/// # Errors
///
/// Those of the lab.
pub fn latency_at(pps: f64, duration: Duration, interrupt: &Interrupt) -> anyhow::Result<Latency> {
    let mut lab = Virtual::start(interrupt, true)?;
    lab.offer(pps, duration)?;
    lab.latency()
}

impl Trial for Virtual {
    fn offer(&mut self, pps: f64, duration: Duration) -> anyhow::Result<Counted> {
        ensure!(pps > 0.0, "a rate of {pps}");
        let payload = [0; PAYLOAD];
        for _ in 0..OPENING {
            for sender in &self.senders {
                sender.send(&payload)?;
            }
        }
        self.receiver.settle();
        let before = self.receiver.count();
        let start = Instant::now();
        let mut sent = 0_u64;
        while start.elapsed() < duration {
            ensure!(!self.lab.interrupt().is_raised(), "interrupted");
            let due = (start.elapsed().as_secs_f64() * pps) as u64;
            let clump = due.saturating_sub(sent).min(CLUMP);
            if clump == 0 {
                thread::yield_now();
            }
            for _ in 0..clump {
                let sender = &self.senders[sent as usize % self.senders.len()];
                // What the kernel has no room for is not sent, and is tried again.
                if sender.send(&payload).is_ok() {
                    sent += 1;
                }
            }
        }
        self.receiver.settle();
        Ok(Counted {
            sent,
            received: self.receiver.count() - before,
        })
    }
}

fn senders() -> anyhow::Result<Vec<UdpSocket>> {
    let service = SocketAddrV6::new(service_address(1), PORT, 0, 0);
    let sender = |_| {
        let socket = UdpSocket::bind((client_address(0), 0))?;
        socket.connect(service)?;
        Ok(socket)
    };
    (0..FLOWS).map(sender).collect()
}

/// Counts datagrams in a namespace.
#[derive(Debug)]
struct Receiver {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let socket = namespace.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
        // As much as the system gives.
        let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
        socket.set_read_timeout(Some(SILENCE / 10))?;
        let (count, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counting, stopping) = (Arc::clone(&count), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut bytes = [0; 2_048];
            while !stopping.load(Ordering::Relaxed) {
                if matches!(socket.recv(&mut bytes), Ok(PAYLOAD)) {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            count,
            stop,
            thread: Some(thread),
        })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until nothing has come for a while.
    fn settle(&self) {
        let mut last = (self.count(), Instant::now());
        while last.1.elapsed() < SILENCE {
            thread::sleep(SILENCE / 30);
            if self.count() != last.0 {
                last = (self.count(), Instant::now());
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

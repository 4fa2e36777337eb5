//! Bringing the appliance's hardware side up: the EAL, packet buffers, ports, and the workers on their lcores.
//!
//! Order: [`Hardware::open`] (EAL, pools, ports; tells each port's Ethernet address, which the configuration of the
//! packet path needs), then the control core makes the first generation, then [`Hardware::launch`].

mod memory;
mod remarks;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use afr_dataplane::aft::Aft;
use afr_dataplane::aft::epoch::Reader;
use afr_dataplane::clock::Clock;
use afr_dataplane::dpdk_io::{self, WayOut, WorkerLoop, WorkerParts};
use afr_dataplane::handoff::{Handoff, Lanes};
use afr_dataplane::id::{PortIx, WorkerId};
use afr_dataplane::message::Shared;
use afr_dataplane::worker::Peers;
use dpdk::wait::{Waiter, packet_sockets};
use dpdk::{
    Eal, EalError, LcoreError, LcoreHandle, LcoreId, MempoolConfig, MempoolError, Port, PortConfig,
    PortError, RingError, RingSender, RssConfig, RssTypes, RxQueue, SocketPools, TxQueue,
};

use crate::config::{DeviceKind, Idle, Process};

pub use memory::{Memory, MemoryError};

/// Buffers that each lcore keeps to itself.
const POOL_CACHE: u32 = 256;

/// Why the hardware side did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The EAL.
    #[error("DPDK does not start: {0} (its own messages are above; the arguments were: {1})")]
    Eal(#[source] EalError, String),
    /// Packet buffers.
    #[error("packet buffers: {0} (eal.mbufs and eal.mbuf_bytes say how much is asked for)")]
    Pool(#[from] MempoolError),
    /// A port.
    #[error("port {name}: {source}")]
    Port {
        /// The port's name in the configuration.
        name: String,
        /// What DPDK says.
        source: PortError,
    },
    /// Rings between workers.
    #[error("rings between workers: {0} (workers.steering_ring says how large they are)")]
    Rings(#[source] RingError),
    /// A worker.
    #[error("worker {0}: {1}")]
    Worker(u16, #[source] LcoreError),
    /// The EAL gave fewer lcores than there are workers.
    #[error(
        "{workers} workers are configured, and the EAL has {lcores} lcores for them: does eal.args limit them?"
    )]
    Lcores {
        /// Workers configured.
        workers: usize,
        /// Worker lcores there are.
        lcores: usize,
    },
}

/// What a port turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its driver.
    pub driver: String,
    /// Receive queues it has.
    pub queues: u16,
}

/// A worker's queues: those it receives from, and by port those it sends by. Workers beyond a port's queues have none of it.
type Queues = (Vec<(PortIx, RxQueue)>, Vec<Option<TxQueue>>);

/// The open devices, before the workers run.
#[derive(Debug)]
pub struct Hardware {
    eal: Eal,
    pools: SocketPools,
    /// Shared with whoever asks for their state.
    ports: Arc<Vec<Port>>,
    facts: Vec<PortFacts>,
    /// By worker.
    queues: Vec<Queues>,
    /// By worker: the sockets that its receive queues read, of those that read one.
    sockets: Vec<Vec<OwnedFd>>,
    lcores: Vec<LcoreId>,
    /// Of each worker.
    places: Vec<remarks::Place>,
    idle: Idle,
    steering: Option<u32>,
    memory: Memory,
    remarks: Vec<String>,
    /// Removed when all above is gone.
    _runtime: Option<RuntimeDirectory>,
}

/// The directory of this process's EAL. Dropped, it is removed: the EAL leaves it behind.
#[derive(Debug)]
struct RuntimeDirectory(PathBuf);

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        // Nothing depends on its going.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Hardware {
    /// Starts the EAL and opens every port. `names` and `mtus` are the ports' in the configuration.
    ///
    /// # Errors
    ///
    /// [`BootError`], which names the device and what to do.
    pub fn open(process: &Process, names: &[String], mtus: &[u16]) -> Result<Self, BootError> {
        let memory = Memory::choose(process)?;
        let (args, runtime) = eal_arguments(process, &memory);
        let eal = Eal::init(&args).map_err(|error| BootError::Eal(error, args.join(" ")))?;
        let workers = process.workers.lcores.len();
        let lcores = eal.worker_lcores();
        if lcores.len() < workers {
            return Err(BootError::Lcores {
                workers,
                lcores: lcores.len(),
            });
        }
        let pools = SocketPools::create(
            &eal,
            "afr",
            &MempoolConfig {
                mbufs: process.mbufs_per_socket(),
                cache: POOL_CACHE,
                data_room: process.mbufs.bytes,
                ..MempoolConfig::default()
            },
        )?;
        let too_few = remarks::too_few_mbufs(process);
        let cpus = process.workers.lcores.iter().zip(&lcores);
        let places = cpus.map(|(cpu, lcore)| remarks::Place {
            cpu: *cpu,
            socket: eal.socket_of(*lcore),
        });
        let mut hardware = Self {
            places: places.collect(),
            queues: (0..workers).map(|_| (Vec::new(), Vec::new())).collect(),
            sockets: (0..workers).map(|_| Vec::new()).collect(),
            eal,
            pools,
            ports: Arc::default(),
            facts: Vec::new(),
            lcores,
            idle: process.workers.idle,
            steering: process.workers.steering,
            memory,
            remarks: too_few.into_iter().collect(),
            _runtime: runtime,
        };
        let mut ports = Vec::with_capacity(process.devices.len());
        for (at, device) in process.devices.iter().enumerate() {
            let name = names.get(at).cloned().unwrap_or_default();
            let port = hardware.open_port(&name, device, mtus.get(at).copied());
            ports.push(port.map_err(|source| BootError::Port { name, source })?);
        }
        hardware.ports = Arc::new(ports);
        Ok(hardware)
    }

    fn open_port(
        &mut self,
        name: &str,
        device: &crate::config::Device,
        mtu: Option<u16>,
    ) -> Result<Port, PortError> {
        let queues = device.queues;
        let device_name = device.kind.name();
        let socket = Port::socket_by_name(&self.eal, &device_name)?;
        // Buffers lie next to the device that fills them, where a worker is there too; else next to the workers.
        let sockets = || self.places.iter().map(|place| place.socket);
        let near = sockets().find(|near| *near == socket);
        let near = near.or_else(|| sockets().next());
        let pool = self.pools.on(near.unwrap_or(dpdk::SocketId::ANY)).clone();
        let config = PortConfig {
            rx_queues: queues,
            tx_queues: queues,
            rx_descriptors: device.descriptors,
            tx_descriptors: device.descriptors,
            rss: (queues > 1).then_some(RssConfig {
                hash_types: RssTypes::IPV6 | RssTypes::IPV6_TCP | RssTypes::IPV6_UDP,
                key: None,
            }),
            mtu,
            promiscuous: device.promiscuous,
            // Neighbor Solicitations come to groups (RFC 4291 section 2.7.1), which a card filters out by itself. Virtual
            // devices have no such filter, and mostly no call for it.
            all_multicast: matches!(device.kind, DeviceKind::Pci(_)),
            ..PortConfig::new(pool)
        };
        let (port, rx, tx) = Port::open(&self.eal, &device_name, &config)?;
        self.remarks
            .extend(remarks::far(name, socket, &self.places));
        self.remarks.extend(remarks::refusals(name, port.applied()));
        self.facts.push(PortFacts {
            mac: port.mac()?,
            driver: port.driver().to_owned(),
            queues,
        });
        let at = PortIx((self.facts.len() - 1) as u8);
        self.find_sockets(name, device);
        let mut pairs = rx.into_iter().zip(tx);
        for (own_rx, own_tx) in &mut self.queues {
            let (rx, tx) = pairs.next().unzip();
            own_rx.extend(rx.map(|rx| (at, rx)));
            own_tx.push(tx);
        }
        Ok(port)
    }

    /// Finds what workers can wait for where they sleep and the device is a kernel interface.
    fn find_sockets(&mut self, name: &str, device: &crate::config::Device) {
        // Who steers receives by rings besides.
        if self.idle == Idle::Spin || self.steering.is_some() {
            return;
        }
        let Some(interface) = device.kind.packet_interface() else {
            return;
        };
        match packet_sockets(interface) {
            Ok(sockets) if sockets.len() == usize::from(device.queues) => {
                for (own, socket) in self.sockets.iter_mut().zip(sockets) {
                    own.push(socket);
                }
            }
            other => self.remarks.push(remarks::no_sockets(name, other.err())),
        }
    }

    /// What the worker does when idle. It waits for packets if all that it receives comes by sockets.
    fn idle(&mut self, worker: usize, rx_queues: usize) -> dpdk_io::Idle {
        let sockets = std::mem::take(&mut self.sockets[worker]);
        match self.idle {
            Idle::Spin => dpdk_io::Idle::Spin,
            Idle::Sleep { after_polls, us } if sockets.len() == rx_queues && rx_queues > 0 => {
                dpdk_io::Idle::Wait(after_polls, us, Waiter::new(sockets))
            }
            Idle::Sleep { after_polls, us } => dpdk_io::Idle::Sleep(after_polls, us),
        }
    }

    /// What the ports turned out to be, in their order.
    #[must_use]
    pub fn facts(&self) -> &[PortFacts] {
        &self.facts
    }

    /// Which memory is used.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What an operator should know: settings a device did not grant, memory far from its port.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The clock whose zero is now.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::new(dpdk::tsc::rdtsc(), self.eal.tsc_hz())
    }

    /// Each worker's rings to the others.
    fn rings(&self, seed: u64) -> Result<Vec<(Option<Handoff>, Lanes)>, RingError> {
        let workers = self.queues.len() as u16;
        let queues: Vec<_> = self.facts.iter().map(|port| port.queues).collect();
        // Without steering every worker has a queue of every port.
        let capacity = self.steering.unwrap_or(1);
        let lanes = Lanes::of(&self.eal, workers, &queues, capacity)?;
        let mut handoffs = match self.steering.filter(|_| workers > 1) {
            Some(capacity) => Handoff::mesh(&self.eal, workers, capacity, seed)?,
            None => Vec::new(),
        }
        .into_iter();
        let sides = lanes.into_iter().map(|lanes| (handoffs.next(), lanes));
        Ok(sides.collect())
    }

    /// Starts the workers, each with one of `readers`.
    ///
    /// # Errors
    ///
    /// [`BootError::Worker`]; those already started are stopped.
    pub fn launch(
        mut self,
        readers: Vec<Reader<Aft>>,
        shared: &Arc<Shared>,
        clock: &Clock,
        seeds: [u64; 4],
    ) -> Result<Appliance, BootError> {
        let stop = Arc::new(AtomicBool::new(false));
        let peers = Peers::new(self.queues.len());
        let mut rings = self.rings(seeds[3]).map_err(BootError::Rings)?.into_iter();
        let mut workers = Vec::new();
        let queues = std::mem::take(&mut self.queues);
        let mut failure = None;
        for (at, ((rx, tx), reader)) in queues.into_iter().zip(readers).enumerate() {
            let lcore = self.lcores[at];
            let id = WorkerId(at as u16);
            let (handoff, mut lanes) = rings.next().unwrap_or_default();
            let ways = tx.into_iter().zip(std::mem::take(&mut lanes.to));
            let idle = self.idle(at, rx.len());
            let parts = WorkerParts {
                id,
                rx,
                tx: ways.filter_map(way_out).collect(),
                handoff,
                lanes,
                pool: self.pools.on(self.eal.socket_of(lcore)).clone(),
                reader,
                shared: Arc::clone(shared),
                peers: peers.clone(),
                idle,
                clock: clock.clone(),
                seeds,
            };
            let stop = Arc::clone(&stop);
            // The tables are made on the worker's own core, so that their memory is on its NUMA socket.
            let launched = self
                .eal
                .launch(lcore, move || WorkerLoop::new(parts).run(&stop));
            match launched {
                Ok(handle) => workers.push(handle),
                Err(error) => {
                    failure = Some(BootError::Worker(id.0, error));
                    break;
                }
            }
        }
        let appliance = Appliance {
            stop,
            workers,
            hardware: self,
        };
        match failure {
            None => Ok(appliance),
            Some(failure) => {
                let _ = appliance.stop();
                Err(failure)
            }
        }
    }
}

/// A worker's way to a port: its own queue, or the ring to a worker that has one.
fn way_out((queue, lane): (Option<TxQueue>, Option<RingSender>)) -> Option<WayOut> {
    queue.map(WayOut::Queue).or_else(|| lane.map(WayOut::Lane))
}

/// The running workers and their hardware. Dropped, it is stopped as by [`Appliance::stop`]: whatever way a process
/// ends, no worker is left on memory that goes.
#[derive(Debug)]
pub struct Appliance {
    stop: Arc<AtomicBool>,
    workers: Vec<LcoreHandle<()>>,
    hardware: Hardware,
}

impl Appliance {
    /// The open ports, in the configuration's order.
    #[must_use]
    pub fn ports(&self) -> &Arc<Vec<Port>> {
        &self.hardware.ports
    }

    /// Whether a worker has ended, which none does by itself unless it panicked.
    #[must_use]
    pub fn has_lost_a_worker(&self) -> bool {
        self.workers.iter().any(LcoreHandle::is_finished)
    }

    /// Stops the workers and closes the ports and the EAL.
    ///
    /// # Errors
    ///
    /// A worker had panicked: its message.
    pub fn stop(mut self) -> Result<(), BootError> {
        self.stop_workers()
    }

    /// Stops the workers that still run and waits for them.
    fn stop_workers(&mut self) -> Result<(), BootError> {
        self.stop.store(true, Relaxed);
        let mut result = Ok(());
        for (at, worker) in self.workers.drain(..).enumerate() {
            if let Err(error) = worker.join() {
                result = Err(BootError::Worker(at as u16, error));
            }
        }
        result
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // Where someone wants to know, `stop` has told.
        let _ = self.stop_workers();
    }
}

/// The EAL's arguments, and the runtime directory that they imply where it is this process's own.
fn eal_arguments(process: &Process, memory: &Memory) -> (Vec<String>, Option<RuntimeDirectory>) {
    let workers = &process.workers;
    let given = |prefix: &str| process.eal.args.iter().any(|arg| arg.starts_with(prefix));
    // lcore 0 is everything else, 1… are the workers, each on its CPU: so that one CPU may be had twice.
    let lcores: Vec<_> = std::iter::once(workers.main_lcore)
        .chain(workers.lcores.iter().copied())
        .enumerate()
        .map(|(lcore, cpu)| format!("{lcore}@{cpu}"))
        .collect();
    let mut args = vec![format!("--lcores={}", lcores.join(","))];
    args.extend(memory.eal_args());
    let mounted = matches!(memory, Memory::Huge { mounted: true, .. });
    if mounted && !given("--huge-unlink") && !given("--in-memory") {
        // No process attaches to this one; files that outlive a kill would keep their pages taken.
        args.push("--huge-unlink=always".to_owned());
    }
    let mut runtime = None;
    if !given("--file-prefix") {
        let prefix = format!("afrd-{}", std::process::id());
        runtime = Some(RuntimeDirectory(Path::new("/var/run/dpdk").join(&prefix)));
        args.push(format!("--file-prefix={prefix}"));
    }
    if !given("--log-level") {
        args.push("--log-level=warning".to_owned());
    }
    let any_pci = process
        .devices
        .iter()
        .any(|device| matches!(device.kind, DeviceKind::Pci(_)));
    if !any_pci && !given("--no-pci") {
        args.push("--no-pci".to_owned());
    }
    for device in &process.devices {
        args.extend(device.kind.eal_args(device.queues));
    }
    args.extend(process.eal.args.iter().cloned());
    (args, runtime)
}

//! A control core on its thread, workers that do nothing but keep their flows, and a server at a socket.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use afr_controlplane::api::core::{CoreState, channel};
use afr_controlplane::api::platform::{PortHardware, PortStatus};
use afr_controlplane::api::socket::Socket;
use afr_controlplane::api::view::{DeviceCounters, InstanceView, NamedCount};
use afr_controlplane::api::{
    ApiError, Backend, LocalBackend, Platform, Request, Response, Server, ServerLimits, Site,
};
use afr_controlplane::config;
use afr_controlplane::control_core::{ControlCore, thread as core_thread};
use afr_dataplane::aft::epoch::Reader;
use afr_dataplane::aft::{Aft, Load, ReportOrder};
use afr_dataplane::config::Flows;
use afr_dataplane::flow::{Cursor, FlowEntry, FlowKey, FlowTable, Pin};
use afr_dataplane::id::{ClassIx, Incarnation, Now, Slot};
use afr_dataplane::message::{FlowScan, Shared, WorkerCommand, WorkerMsg};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Every instance serves "chat", "b" also "code".
pub(crate) const CONFIG: &str = r#"
[router]
cluster = 1
address = "fd00:af::1"
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = [2, 3]
[[port]]
name = "fabric"
device = "net_null0"
role = "inside"
[[port]]
name = "clients"
device = "net_null1"
role = "outside"
[[neighbour]]
address = "fd00:1::100"
port = "fabric"
mac = "02:00:00:00:01:01"
[[catalogue]]
version = 1
salt = "6c61622d73616c74"
labels = ["tool:search", "lang:de"]
[[service]]
prefix = "fd00:a9::/96"
[[class]]
id = 1
name = "chat"
[[class]]
id = 2
name = "code"
objective_us = 1000
[limits]
instances = 16
classes = 4
signatures = 1024
maglev = 251
[[instance]]
id = 11
name = "a"
sid = "fd00:1::d:11"
via = "fd00:1::100"
tunnel_source = "fd00:1::11"
prefill_rate_tokens_s = 1000
classes = ["chat"]
labels = ["tool:search"]
[[instance]]
id = 12
name = "b"
sid = "fd00:1::d:12"
via = "fd00:1::100"
tunnel_source = "fd00:1::12"
prefill_rate_tokens_s = 1000
classes = ["chat", "code"]
"#;

/// Times that a condition is asked for before it counts as never met: each asks the core, which steps in between.
const MOST_TRIES: usize = 5_000;

pub(crate) struct Lab {
    pub(crate) site: Arc<Site>,
    pub(crate) backend: Arc<LocalBackend>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: TempDir,
    tables: Arc<Vec<Mutex<FlowTable>>>,
    /// While set, workers stay where they are.
    pub(crate) workers_stuck: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config_path = directory.path().join("afrd.toml");
        fs::write(&config_path, CONFIG).unwrap();
        let loaded = config::load(&config_path, 1).unwrap();
        let workers = loaded.process.workers.lcores.len();
        let shared = Arc::new(Shared::new(&loaded.plane.limits, workers));
        let platform = Platform {
            started_unix_s: 1_700_000_000,
            lcores: loaded.process.workers.lcores.clone(),
            ports: vec![hardware("net_null0"), hardware("net_null1")],
            probe: Box::new(|port| {
                (port.0 == 0).then(|| PortStatus {
                    link_up: Some(true),
                    link_speed_mbps: Some(10_000),
                    counters: Some(DeviceCounters {
                        receive_missed_packets: 7,
                        extended: vec![NamedCount {
                            name: "rx_q0_errors".to_owned(),
                            count: 3,
                        }],
                        ..DeviceCounters::default()
                    }),
                })
            }),
        };

        let stop = Arc::new(AtomicBool::new(false));
        let workers_stuck = Arc::new(AtomicBool::new(false));
        let flows = Flows {
            capacity: 8_192,
            ..Flows::default()
        };
        let tables = (0..workers).map(|_| Mutex::new(FlowTable::new(&flows, 1)));
        let tables = Arc::new(tables.collect::<Vec<_>>());
        let (handle, mut inbox) = channel();
        let (mut core, readers) = ControlCore::new(loaded, Arc::clone(&shared), now(0));
        let core_thread = {
            let stop = Arc::clone(&stop);
            // Each reading is a millisecond later: time passes as the core works, however slow the machine.
            let us = AtomicU64::new(0);
            let clock = move || now(us.fetch_add(1_000, Ordering::Relaxed));
            thread::spawn(move || core_thread::run(&mut core, &mut inbox, &stop, clock))
        };
        let worker_thread = {
            let (stop, stuck) = (Arc::clone(&stop), Arc::clone(&workers_stuck));
            let (shared, tables) = (Arc::clone(&shared), Arc::clone(&tables));
            thread::spawn(move || work(readers, &shared, &tables, &stop, &stuck))
        };

        let site = Site::new(handle, Arc::clone(&shared), platform, config_path);
        let site = Arc::new(site);
        Self {
            backend: Arc::new(LocalBackend::new(Arc::clone(&site))),
            site,
            shared,
            directory,
            tables,
            workers_stuck,
            stop,
            threads: vec![core_thread, worker_thread],
        }
    }

    /// Waits until the instances of the file are in force.
    pub(crate) async fn settled() -> Self {
        let lab = Self::new();
        lab.until(|instances| instances.len() == 2).await;
        lab
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Response, ApiError> {
        self.backend.handle(request).await
    }

    pub(crate) async fn instances(&self) -> Vec<InstanceView> {
        match self.ask(Request::ShowInstances).await {
            Ok(Response::Instances(instances)) => instances,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the instances are as `holds` says.
    pub(crate) async fn until(&self, holds: impl Fn(&[InstanceView]) -> bool) {
        for _ in 0..MOST_TRIES {
            if holds(&self.instances().await) {
                return;
            }
        }
        panic!("never came true: {:#?}", self.instances().await);
    }

    /// Waits until the control core is as `holds` says.
    pub(crate) async fn until_core(
        &self,
        holds: impl Fn(&dyn CoreState) -> bool + Clone + Send + 'static,
    ) {
        for _ in 0..MOST_TRIES {
            if self.site.core.look(holds.clone()).await.unwrap() {
                return;
            }
        }
        panic!("the core never came to it");
    }

    pub(crate) fn table(&self, worker: usize) -> MutexGuard<'_, FlowTable> {
        self.tables[worker].lock().unwrap()
    }

    /// A flow at a worker, from a port, pinned to the instance in `slot`.
    pub(crate) fn add_flow(&self, worker: usize, sport: u16, class: u16, slot: u16) {
        let key = FlowKey {
            src: [0x20; 16],
            dst: [0x30; 16],
            sport,
            dport: 80,
            proto: 6,
        };
        let pin = Pin::Instance(Slot(slot), Incarnation(1));
        let mut table = self.table(worker);
        let hash = table.hash(&key);
        table.insert(hash, FlowEntry::new(&key, pin, ClassIx(class), 0), 0);
    }

    /// A report of the instance in `slot`, heard by worker 0.
    pub(crate) fn report(&self, slot: u16, seq: u32, pending_tokens: u32) {
        let load = Load {
            order: ReportOrder::new(5, seq),
            queue_depth: 3,
            running: 4,
            pending_tokens,
            prefill_rate_tokens_s: 0,
            kv_used: 51,
            load_class: 9,
            draining: false,
            refusing: false,
            base_tokens: 0,
            received_us: 1,
        };
        let message = WorkerMsg::Load {
            slot: Slot(slot),
            load,
            cache_generation: 1,
            refusals: Default::default(),
        };
        assert!(self.shared.rings[0].push(message).is_ok());
    }

    pub(crate) fn socket_path(&self) -> PathBuf {
        self.directory.path().join("afrd.sock")
    }

    /// Serves `backend` until the guard is dropped. Within a runtime.
    pub(crate) fn serve<B: Backend>(&self, backend: Arc<B>, limits: ServerLimits) -> Serving {
        let socket = Socket::bind(&self.socket_path()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::new(socket, backend, limits);
        let task = tokio::spawn(server.serve(async {
            // Also when the guard is dropped.
            let _ = stopped.await;
        }));
        Serving { stop, task }
    }

    /// Serves this lab's own backend.
    pub(crate) fn serve_itself(&self) -> Serving {
        self.serve(Arc::clone(&self.backend), ServerLimits::default())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

fn now(us: u64) -> Now {
    Now {
        mono_us: us,
        unix_ms: 1_700_000_000_000 + us / 1_000,
    }
}

fn hardware(device: &str) -> PortHardware {
    PortHardware {
        device: device.to_owned(),
        driver: "net_null".to_owned(),
        queues: 2,
    }
}

/// What workers do for the management side: pass quiescent points, and answer commands.
fn work(
    mut readers: Vec<Reader<Aft>>,
    shared: &Shared,
    tables: &[Mutex<FlowTable>],
    stop: &AtomicBool,
    stuck: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        if !stuck.load(Ordering::Relaxed) {
            for reader in &mut readers {
                reader.refresh();
            }
            for (commands, table) in shared.commands.iter().zip(tables) {
                if let Some(command) = commands.pop() {
                    answer(command, &table.lock().unwrap());
                }
            }
        }
        // As an idle worker does.
        thread::sleep(Duration::from_micros(50));
    }
}

fn answer(command: WorkerCommand, table: &FlowTable) {
    let WorkerCommand::ScanFlows {
        cursor,
        limit,
        reply,
    } = command;
    let next = table.scan(Cursor::at(cursor), limit as usize, |entry| {
        assert!(reply.push(FlowScan::Flow(*entry)).is_ok());
    });
    let done = FlowScan::Done(next.map(Cursor::place));
    assert!(reply.push(done).is_ok());
}

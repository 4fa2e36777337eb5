//! `afrd`, the Agent Forwarding Router. This file only wires: see the crate's modules for what is wired.
//!
//! Threads: the workers on their lcores, the control core, and a few for management (API, metrics, signals). All but the
//! workers share the main lcore's CPU.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the ready line and the errors of a start are for whoever started it"
)]

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use afr_controlplane::api::platform::{PortHardware, PortStatus, Probe};
use afr_controlplane::api::socket::Socket;
use afr_controlplane::api::view::DeviceCounters;
use afr_controlplane::api::{self, LocalBackend, Platform, Server, ServerLimits, Site};
use afr_controlplane::boot::{Appliance, Hardware, PortFacts};
use afr_controlplane::config::{self, Loaded, Process};
use afr_controlplane::control_core::{self, ControlCore};
use afr_controlplane::metrics::{Exporter, MetricsServer};
use afr_dataplane::clock::Clock;
use afr_dataplane::id::Now;
use afr_dataplane::message::Shared;
use anyhow::Context as _;
use clap::Parser;
use dpdk::Port;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Exit code for a wrong configuration or command line.
const WRONG: u8 = 2;
/// Threads of the management side.
const MANAGEMENT_THREADS: usize = 2;
/// How long workers get to set their tables up.
const SETTING_UP: Duration = Duration::from_secs(30);
const LOST_WORKER: &str = "a worker has ended by itself";
/// How long management tasks get to end at a stop.
const PARTING: Duration = Duration::from_secs(2);

/// The Agent Forwarding Router.
///
/// Dispatches new flows to the AI agent instance that can serve them best, on DPDK.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        afrd --check /etc/afr/afrd.toml    tell what is wrong with a file; exit code 2 if anything is\n  \
        afrd /etc/afr/afrd.toml            run in the foreground until SIGTERM or Ctrl-C\n  \
        kill -HUP $(pidof afrd)            reload; a bad file leaves the running configuration in force\n\n\
        Every key of the file is explained in configs/afrd.toml. afrctl looks into a running afrd."
)]
struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = "/etc/afr/afrd.toml")]
    file: PathBuf,
    /// The same as an option.
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Only check the file.
    #[arg(long)]
    check: bool,
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments.config.unwrap_or(arguments.file);
    let loaded = match config::load(&file, 1) {
        Ok(loaded) => loaded,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(WRONG);
        }
    };
    if arguments.check {
        println!("OK: {}: {}", file.display(), summary(&loaded));
        return ExitCode::SUCCESS;
    }
    match run(&file, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("afrd: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, each once: most errors quote their cause.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// What a configuration comes to, in a line.
fn summary(loaded: &Loaded) -> String {
    let counted = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let plane = &loaded.plane;
    [
        counted(plane.ports.len(), "port", "ports"),
        counted(loaded.process.workers.lcores.len(), "worker", "workers"),
        counted(plane.classes.len(), "class", "classes"),
        counted(loaded.instances.len(), "instance", "instances"),
    ]
    .join(", ")
}

/// Runs until a signal ends it.
fn run(file: &Path, mut loaded: Loaded) -> anyhow::Result<()> {
    start_log(&loaded.process.log)?;
    let summary = summary(&loaded);
    let ports = &loaded.plane.ports;
    let names: Vec<_> = ports.iter().map(|port| port.name.clone()).collect();
    let mtus: Vec<_> = ports.iter().map(|port| port.mtu).collect();
    let hardware = Hardware::open(&loaded.process, &names, &mtus)?;
    tracing::info!("packet buffers are in {}", hardware.memory());
    for remark in hardware.remarks() {
        tracing::warn!("{remark}");
    }
    let facts = hardware.facts().to_vec();
    loaded.adopt(1, facts.iter().map(|port| port.mac));

    let process = loaded.process.clone();
    let workers = process.workers.lcores.len();
    let shared = Arc::new(Shared::new(&loaded.plane.limits, workers));
    let clock = hardware.clock();
    let (mut core, readers) = ControlCore::new(loaded, Arc::clone(&shared), now(&clock));
    core.step(now(&clock));
    let runtime = Builder::new_multi_thread()
        .worker_threads(MANAGEMENT_THREADS)
        .enable_all()
        .build();
    let runtime = runtime.context("starting the management threads")?;
    // From here on every way out, a panic's too, stops and joins the workers, and the core before them: both do so when
    // they are dropped.
    let appliance = hardware.launch(readers, &shared, &clock, seeds()?)?;
    let (handle, mut inbox) = api::core::channel();
    let platform = platform(&process, &facts, appliance.ports());
    let site = Arc::new(Site::new(handle, shared, platform, file.to_owned()));
    let core_clock = clock.clone();
    let core_thread = CoreThread::start(move |stop| {
        control_core::thread::run(&mut core, &mut inbox, stop, || now(&core_clock));
    })?;

    let managed = runtime.block_on(manage(&site, &process, &appliance, &clock, &summary));
    // In this order, so that nothing asks a port for its state any more when it is closed.
    runtime.shutdown_timeout(PARTING);
    let core = core_thread.end();
    appliance.stop()?;
    // What workers answer into is the site's, and they have ended.
    drop(site);
    core?;
    managed?;
    tracing::info!("stopped");
    Ok(())
}

/// The control core's thread. Dropped, it is ended.
struct CoreThread {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl CoreThread {
    /// Runs `steps` until the flag that it is given is set.
    fn start(steps: impl FnOnce(&AtomicBool) + Send + 'static) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("afr-core".to_owned());
        let thread = thread.spawn(move || steps(&told));
        Ok(Self {
            stop,
            thread: Some(thread.context("starting the control core")?),
        })
    }

    /// Ends it, and tells whether it was well until then.
    fn end(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.join(), "the control core panicked");
        Ok(())
    }

    fn join(&mut self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for CoreThread {
    fn drop(&mut self) {
        self.join();
    }
}

/// The management side: API, metrics, signals.
async fn manage(
    site: &Arc<Site>,
    process: &Process,
    appliance: &Appliance,
    clock: &Clock,
    summary: &str,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let (stop, stopped) = watch::channel(());
    // Ends when the sender is dropped.
    let stopping = |mut stopped: watch::Receiver<()>| async move {
        let _ = stopped.changed().await;
    };
    let backend = Arc::new(LocalBackend::new(Arc::clone(site)));
    let socket = Socket::bind(&process.api_socket)?;
    let api = Server::new(socket, backend, ServerLimits::default());
    let api = tokio::spawn(api.serve(stopping(stopped.clone())));
    let mut served = format!("API at {}", process.api_socket.display());
    if let Some(address) = process.metrics {
        let exporter = Exporter::new(Arc::clone(site));
        let metrics = MetricsServer::bind(address, exporter).await?;
        served += &format!(", metrics at http://{}/metrics", metrics.local_addr()?);
        tokio::spawn(metrics.serve(stopping(stopped)));
    }
    workers_ready(site, appliance).await?;
    println!("afrd ready: {summary}; {served}");

    let mut second = tokio::time::interval(Duration::from_secs(1));
    let ended = loop {
        tokio::select! {
            _ = hangup.recv() => reload(site).await,
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = second.tick() => {
                clock.set_wall(dpdk::tsc::rdtsc());
                site.second();
                if appliance.has_lost_a_worker() {
                    break Err(anyhow::anyhow!(LOST_WORKER));
                }
            }
        }
    };
    tracing::info!("stopping");
    drop(stop);
    // So that the socket's file is gone when the process is.
    let _ = tokio::time::timeout(PARTING, api).await;
    ended
}

/// Waits until every worker has its tables and forwards by the first generation.
async fn workers_ready(site: &Site, appliance: &Appliance) -> anyhow::Result<()> {
    let started = Instant::now();
    while site
        .core
        .look(|core| core.publishing().workers_behind)
        .await?
        != 0
    {
        anyhow::ensure!(!appliance.has_lost_a_worker(), LOST_WORKER);
        anyhow::ensure!(
            started.elapsed() < SETTING_UP,
            "a worker has not set its tables up within {} s; is its CPU taken by something else?",
            SETTING_UP.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn reload(site: &Site) {
    match site.reload().await {
        Ok(applied) => tracing::info!(
            "configuration {} is in force: {} instances added, {} changed, {} removed",
            applied.revision,
            applied.instances_added,
            applied.instances_changed,
            applied.instances_removed
        ),
        Err(refused) => tracing::error!("reload: {refused}"),
    }
}

fn platform(process: &Process, facts: &[PortFacts], open: &Arc<Vec<Port>>) -> Platform {
    let ports = process.devices.iter().zip(facts);
    let ports = ports.map(|(device, facts)| PortHardware {
        device: device.kind.to_string(),
        driver: facts.driver.clone(),
        queues: facts.queues,
    });
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Platform {
        started_unix_s: since_1970.map_or(0, |since| since.as_secs()),
        lcores: process.workers.lcores.clone(),
        ports: ports.collect(),
        probe: probe(Arc::downgrade(open)),
    }
}

/// Asks the devices how they are. The ports are not kept open for it.
fn probe(ports: Weak<Vec<Port>>) -> Probe {
    Box::new(move |at| {
        let ports = ports.upgrade()?;
        let port = ports.get(usize::from(at.0))?;
        let link = port.link().ok();
        let counters = port.stats().ok().map(|stats| DeviceCounters {
            receive_missed_packets: stats.rx_missed,
            receive_error_packets: stats.rx_errors,
            transmit_error_packets: stats.tx_errors,
            receive_no_buffer: stats.rx_no_mbuf,
            extended: extended(port),
        });
        Some(PortStatus {
            link_up: link.map(|link| link.up),
            link_speed_mbps: link.and_then(|link| link.speed_mbps),
            counters,
        })
    })
}

fn extended(port: &Port) -> Vec<api::view::NamedCount> {
    let counts = port.xstats().unwrap_or_default().into_iter();
    counts
        .map(|(name, count)| api::view::NamedCount { name, count })
        .collect()
}

fn start_log(level: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG = {filter:?}"))?
        }
        _ => EnvFilter::try_new(level).with_context(|| format!("log.level = {level:?}"))?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

fn now(clock: &Clock) -> Now {
    clock.at(dpdk::tsc::rdtsc())
}

/// Secrets of this process: nobody outside can choose flows that collide.
fn seeds() -> anyhow::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    let urandom = File::open("/dev/urandom");
    urandom
        .and_then(|mut urandom| urandom.read_exact(&mut bytes))
        .context("/dev/urandom")?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(std::array::from_fn(|at| u64::from_ne_bytes(words[at])))
}

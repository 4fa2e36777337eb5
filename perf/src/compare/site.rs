//! Hosts, engines, and the contender between them.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::contender::{Contender, RouterPackage};
use super::run::CompareError;
use crate::lab::{
    self, AfrConfig, Afrd, AfrdError, EDGE_GATEWAY, Exposition, HugePages, Interrupt, KEY, Lab,
    LabError, LabSpec, Process, ProcessError, SERVICE_PREFIX, flags, report_arguments,
    trust_arguments,
};

/// The port that instances serve on.
const PORT: u16 = 8_000;
/// The port that routers listen on.
const ROUTER_PORT: u16 = 30_000;
/// The class of every request and instance: routers know of one model and no more.
const CLASS: u32 = 1;
/// Blocks of 512 tokens in an instance's KV store.
const KV_BLOCKS: u32 = 4_096;
/// Speed of an engine that answers at once: a step takes a microsecond.
const AT_ONCE: &str = "1e9";
/// Ports that the client's connections leave from: one a request, and each is in TIME_WAIT for a minute afterwards.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Memory for `afrd`'s packet buffers, in MiB.
const HUGE_MIB: u32 = 256;
/// Frames that `afrd`'s packet sockets hold, as deep as the sockets of a router roughly: some megabytes.
const RING_FRAMES: u32 = 4_096;
/// How long an engine or a router may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a router is asked.
const ASK: Duration = Duration::from_millis(100);
/// What a router that takes a worker's requests says of it, once a worker.
const HEALTHY: &str = "\"is_healthy\":true";

/// How fast engines are.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Pace {
    /// The whole answer comes at once.
    AtOnce,
    /// As the model says, so many emulated seconds in a real one.
    Model {
        /// Emulated seconds in a real one.
        time_scale: f64,
    },
}

/// What stands in the middle.
#[derive(Debug)]
enum Middle {
    Kernel,
    Afrd(Box<Afrd>),
    Router(Process),
}

/// Hosts with all that runs on them. Dropped, it ends in this order.
#[derive(Debug)]
pub(super) struct Site {
    middle: Middle,
    engines: Vec<Process>,
    _huge_pages: Option<HugePages>,
    pub(super) lab: Lab,
}

impl Site {
    /// Builds it, and waits until the contender would serve. `router` is the program, if the contender is one.
    pub(super) fn start(
        contender: Contender,
        router: Option<&Path>,
        (instances, pace): (u8, Pace),
        interrupt: &Interrupt,
    ) -> Result<Self, CompareError> {
        let spec = LabSpec {
            instances,
            clients: 1,
            classes: vec![CLASS],
            ..LabSpec::default()
        };
        let lab = Lab::build(spec, interrupt)?;
        lab.client
            .inside(|| fs::write(PORT_RANGE, "1024 65535"))?
            .map_err(|source| LabError::File {
                path: PORT_RANGE.into(),
                source,
            })?;
        let mut huge_pages = None;
        let mut afrd = None;
        if contender.is_afr() {
            huge_pages = HugePages::take(lab.directory(), HUGE_MIB).ok();
            afrd = Some(Afrd::start(&lab, &configuration(&lab, contender))?);
        } else {
            lab.route_by_kernel()?;
            if contender != Contender::DirectBare {
                lab.offload()?;
            }
        }
        let engines = start_engines(&lab, contender, pace)?;
        let middle = match (afrd, contender.package(), router) {
            (Some(afrd), _, _) => {
                afrd.until(&lab, "hearing of every instance", |afrd| {
                    let metrics = afrd.metrics(&lab)?;
                    let reports = metrics.by("afr_instance_reports_total", "instance");
                    Ok(reports.len() == usize::from(instances))
                })?;
                Middle::Afrd(Box::new(afrd))
            }
            (None, Some(package), Some(program)) => {
                Middle::Router(start_router(&lab, &package, program)?)
            }
            (None, _, _) => {
                reach_engines(&lab)?;
                Middle::Kernel
            }
        };
        Ok(Self {
            middle,
            engines,
            _huge_pages: huge_pages,
            lab,
        })
    }

    /// Where requests go, in words of the load client.
    pub(super) fn destination(&self) -> Vec<String> {
        let mut words = trust_arguments();
        words.extend(flags(&[
            ("--class", CLASS.to_string()),
            ("--instances", self.lab.hosts.len().to_string()),
        ]));
        let target = |address| ("--target", SocketAddrV6::new(address, 0, 0, 0));
        let targets = match &self.middle {
            Middle::Afrd(_) => {
                words.extend(flags(&[
                    ("--metadata", "full".to_owned()),
                    ("--service-prefix", format!("{SERVICE_PREFIX}/96")),
                    ("--port", PORT.to_string()),
                ]));
                return words;
            }
            Middle::Router(_) => vec![(target(EDGE_GATEWAY), ROUTER_PORT)],
            Middle::Kernel => {
                let hosts = self.lab.hosts.iter();
                hosts.map(|host| (target(host.address), PORT)).collect()
            }
        };
        words.extend(flags(&[("--metadata", "none".to_owned())]));
        for ((flag, mut address), port) in targets {
            address.set_port(port);
            words.extend(flags(&[(flag, address.to_string())]));
        }
        words
    }

    /// The process in the middle, if there is one.
    pub(super) fn middle_pid(&self) -> Option<u32> {
        match &self.middle {
            Middle::Kernel => None,
            Middle::Afrd(afrd) => Some(afrd.id()),
            Middle::Router(process) => Some(process.id()),
        }
    }

    /// The engines' processes.
    pub(super) fn engine_pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.engines.iter().map(Process::id)
    }

    /// What `afrd` has counted up to now, if it is in the middle.
    pub(super) fn counters(&self) -> Result<Option<Exposition>, AfrdError> {
        match &self.middle {
            Middle::Afrd(afrd) => afrd.settled_metrics(&self.lab).map(Some),
            Middle::Kernel | Middle::Router(_) => Ok(None),
        }
    }

    /// The end of the log of what is in the middle.
    pub(super) fn tail(&self) -> String {
        match &self.middle {
            Middle::Kernel => String::new(),
            Middle::Afrd(afrd) => afrd.tail(),
            Middle::Router(process) => process.tail(),
        }
    }
}

fn configuration(lab: &Lab, contender: Contender) -> AfrConfig {
    let mut config = AfrConfig::of(lab);
    // The last CPU, which on most machines is not the one that interrupts go to.
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    config.workers.lcores = vec![cpus.saturating_sub(1) as u16];
    if contender == Contender::AfrSpin {
        "spin".clone_into(&mut config.workers.idle);
    }
    config.deepen_rings(RING_FRAMES);
    config.class(CLASS, "chat").policy = Some("ttft".to_owned());
    for host in &lab.hosts {
        config.instance(host, &["chat"]).report_key = Some(KEY.0);
    }
    config
}

fn start_engines(
    lab: &Lab,
    contender: Contender,
    pace: Pace,
) -> Result<Vec<Process>, CompareError> {
    let (speed, time_scale) = match pace {
        Pace::AtOnce => (AT_ONCE.to_owned(), 1.0),
        Pace::Model { time_scale } => ("1".to_owned(), time_scale),
    };
    let engines = lab.hosts.iter().map(|host| {
        let mut arguments = flags(&[
            ("--instance-id", host.number.to_string()),
            ("--listen", format!("[::]:{PORT}")),
            ("--classes", CLASS.to_string()),
            ("--kv-blocks", KV_BLOCKS.to_string()),
            ("--speed", speed.clone()),
            ("--time-scale", time_scale.to_string()),
        ]);
        if contender.is_afr() {
            arguments.extend(report_arguments(host));
        }
        (host, arguments)
    });
    Ok(lab::start_engines(lab, PATIENCE, engines)?)
}

/// Waits until a client reaches every engine: a port of a bridge takes its time before it forwards.
fn reach_engines(lab: &Lab) -> Result<(), CompareError> {
    let deadline = Instant::now() + PATIENCE;
    for host in &lab.hosts {
        let engine = SocketAddr::from((host.address, PORT));
        while let Err(source) = lab.client.inside(|| get(engine, "/health", ASK))? {
            if lab.interrupt().is_raised() {
                return Err(ProcessError::Interrupted.into());
            }
            if Instant::now() > deadline {
                return Err(CompareError::Unreachable { engine, source });
            }
        }
    }
    Ok(())
}

/// Starts a router on the host in the middle, and waits until it takes every engine for healthy.
fn start_router(
    lab: &Lab,
    package: &RouterPackage,
    program: &Path,
) -> Result<Process, CompareError> {
    let worker = |address| format!("http://{}", SocketAddrV6::new(address, PORT, 0, 0));
    let workers: Vec<_> = lab.hosts.iter().map(|host| worker(host.address)).collect();
    let mut process = Process::start(
        package.name,
        &lab.router,
        program,
        &package.arguments(ROUTER_PORT, &workers),
        lab.directory(),
        lab.interrupt(),
    )?;
    let router = SocketAddr::from((EDGE_GATEWAY, ROUTER_PORT));
    let what = "taking every engine for healthy";
    let deadline = Instant::now() + PATIENCE;
    // Whoever does not answer yet is asked again.
    let workers = || lab.client.inside(|| get(router, "/workers", PATIENCE));
    while healthy(&workers()?.unwrap_or_default()) < lab.hosts.len() {
        if lab.interrupt().is_raised() {
            return Err(ProcessError::Interrupted.into());
        }
        if !process.is_running() || Instant::now() > deadline {
            // Says which of the two it is, with the end of the log.
            process.wait_for_line(what, Duration::ZERO, |_| false)?;
        }
        thread::sleep(ASK);
    }
    Ok(process)
}

fn get(from: SocketAddr, path: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&from, patience)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Workers that a router's answer says are healthy.
fn healthy(answer: &str) -> usize {
    let compact: String = answer.split_whitespace().collect();
    compact.matches(HEALTHY).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_workers_are_counted() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n{\"workers\":[{\"is_healthy\":true},\n\
                      {\"is_healthy\": true},{\"is_healthy\":false}],\"stats\":{}}";
        assert_eq!(healthy(answer), 2);
        assert_eq!(healthy(""), 0);
    }
}

//! One model after the other: hosts, guest, traffic, checks.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use afr_endpoint::report::Sample;
use afr_endpoint::sender::SendError;

use crate::lab::{
    CommandError, Directory, Exposition, ExpositionError, Heartbeat, Interrupt, LabError,
    PeerError, ProcessError, Server, clean, tag,
};

use super::args::NicArgs;
use super::checks::{Check, balances, decide};
use super::guest::Guest;
use super::hosts::{Hosts, PORT};
use super::model::Model;
use super::traffic;

/// Time between two reports of an instance.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long the metrics may take to have counted everything, and how often they are read till then.
const TO_SETTLE: Duration = Duration::from_secs(40);
const ASK: Duration = Duration::from_millis(200);

static NEXT_RUN: AtomicU32 = AtomicU32::new(0);

/// Why a run did not come to its checks.
#[derive(Debug, thiserror::Error)]
pub enum NicError {
    /// Network namespaces take the superuser.
    #[error("run as root: the test makes network namespaces and tap interfaces")]
    NotRoot,
    /// The guest has not been made.
    #[error("there is no {0}: `make test-nic`, or scripts/nic-guest target/debug target/nic")]
    NoGuest(PathBuf),
    /// The guest says what is wrong.
    #[error("the guest: {0}; its console ends with\n{1}")]
    Guest(String, String),
    /// Traffic came to a halt.
    #[error("{0}\nthe guest's console ends with\n{1}")]
    Traffic(Box<NicError>, String),
    /// A command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A directory.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// QEMU.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A server or a connection.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Metadata.
    #[error("metadata: {0}")]
    Metadata(#[from] SendError),
    /// Metrics.
    #[error(transparent)]
    Exposition(#[from] ExpositionError),
    /// A file or socket.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Runs every model of `args` and returns its checks. `say` is told how far it is.
///
/// # Errors
///
/// [`NicError`] of the first model that does not come to its checks.
pub fn run(
    args: &NicArgs,
    interrupt: &Interrupt,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<(Model, Vec<Check>)>, NicError> {
    if uapi::geteuid() != 0 {
        return Err(NicError::NotRoot);
    }
    let _ = clean();
    let mut results = Vec::new();
    for model in &args.models {
        let begin = Instant::now();
        let say = |words: &str| {
            let seconds = begin.elapsed().as_secs_f64();
            say(&format!("{model} {seconds:5.1} s  {words}"));
        };
        results.push((*model, play(*model, args, interrupt, &say)?));
        say("done");
    }
    Ok(results)
}

fn play(
    model: Model,
    args: &NicArgs,
    interrupt: &Interrupt,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Check>, NicError> {
    let number = NEXT_RUN.fetch_add(1, Ordering::Relaxed);
    let tag = tag(std::process::id(), number);
    let directory = Directory::create(&tag)?;
    let hosts = Hosts::build(&tag, model)?;
    let servers = hosts.instances.iter();
    let servers = servers.map(|host| Server::start(&host.namespace, host.name, PORT));
    let _servers: Vec<_> = servers.collect::<Result<_, _>>()?;
    say("hosts are there; starting the guest");
    let mut guest = Guest::start(
        model,
        &hosts.switch,
        &args.guest,
        &directory.path,
        interrupt,
    )?;
    let warnings = guest.boot(say)?;
    say("afrd is ready");
    let heartbeats: Vec<_> = hosts.instances.iter().map(report).collect();
    let flows = args.flows;
    let outcome = traffic::run(&hosts, flows, model.queues(), interrupt, |done| {
        say(&format!("{done} of {flows} connections"));
    });
    let outcome = outcome.map_err(|error| NicError::Traffic(Box::new(error), guest.tail()))?;
    drop(heartbeats);
    let metrics = settled(&guest, &hosts, interrupt)?;
    let path = args.guest.join(format!("{model}.metrics"));
    let written = std::fs::write(&path, metrics.text());
    written.map_err(|source| NicError::File { path, source })?;
    say("metrics are scraped; ending afrd");
    let shown = guest.end()?;
    for line in shown.iter().filter(|line| !line.trim().is_empty()) {
        say(line);
    }
    Ok(decide(model, &outcome, &warnings, &metrics))
}

/// An instance host tells again and again that it is idle.
fn report(host: &super::hosts::Instance) -> Heartbeat {
    let sample = Sample {
        prefill_rate_tokens_s: 8_000,
        ..Sample::default()
    };
    Heartbeat::of(host.id, &host.namespace, host.address, sample, HEARTBEAT)
}

/// Metrics with everything that happened before this call: workers copy their counters out now and then, and idle polls
/// that went on tell of a copy made since. If they do not add up in time, the last reading tells.
fn settled(guest: &Guest, hosts: &Hosts, interrupt: &Interrupt) -> Result<Exposition, NicError> {
    let polls = |metrics: &Exposition| metrics.by("afr_worker_idle_polls_total", "worker");
    let deadline = Instant::now() + TO_SETTLE;
    let mut before = None;
    loop {
        if interrupt.is_raised() {
            return Err(NicError::Interrupted);
        }
        let late = Instant::now() > deadline;
        match guest.metrics(&hosts.switch) {
            Ok(metrics) => {
                let now = polls(&metrics);
                let before = before.get_or_insert_with(|| now.clone());
                let moved = |(worker, count)| now.get(worker) != Some(count);
                if (before.iter().all(moved) && balances(&metrics)) || late {
                    return Ok(metrics);
                }
            }
            // The way there is emulated, too, and may lose the first packet of a connection for seconds.
            Err(error) if late => {
                return Err(NicError::Traffic(Box::new(error.into()), guest.tail()));
            }
            Err(_) => {}
        }
        thread::sleep(ASK);
    }
}

//! A program that runs on a case's frames: brought to its warm state, looked at slice by slice, and whether its packets took the
//! way that the case's name says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::measure::{Growth, Measured};
use super::process::{Memory, Running};
use super::program::Program;
use super::scenario::Case;
use super::telemetry::{Reading, Telemetry};
use crate::lab::Exposition;

/// How long a program may take to start, frames loaded.
const START: Duration = Duration::from_secs(60);
/// How long it warms up at least.
const WARM_UP: Duration = Duration::from_millis(500);
/// Passes over the frames before a window, so that every flow is established.
const PASSES: u64 = 2;
/// How long a program is looked at before it is another's turn, and how long it runs before that: its caches fill again in
/// a few milliseconds.
pub const SLICE: Duration = Duration::from_millis(50);
const RUN_UP: Duration = Duration::from_millis(10);
/// Share of what is received that must leave.
const LOSSLESS: f64 = 0.999;
/// Part of the signatures asked for that must be in the table: some of its sets are full before others.
const FULL: f64 = 0.95;
/// Between two looks at how full it is: answering takes the control core's CPU.
const LOOK: Duration = Duration::from_millis(200);
pub(super) const RECEIVED: &str = "afr_received_packets_total";

/// A program that is measured, warm.
#[derive(Debug)]
pub(super) struct Subject {
    running: Running,
    program: Program,
    telemetry: Telemetry,
    ports: u16,
    refuses: bool,
    metrics: Option<SocketAddr>,
    /// What was counted, and held of memory, when it was warm.
    counted: Option<Exposition>,
    memory: Memory,
    first: Reading,
    pps: Vec<f64>,
    /// How long it has run since, halts apart, up to when it was let go on last.
    ran: Duration,
    since: Instant,
}

impl Subject {
    pub(super) fn new(
        mut running: Running,
        program: Program,
        case: &Case,
        frames: u64,
        prefix: &str,
    ) -> anyhow::Result<Self> {
        let is_afr = program == Program::Afr;
        let ports = if is_afr && case.frames.are_replies() {
            2
        } else {
            1
        };
        let mut telemetry = connect(&mut running, prefix)?;
        let enough = PASSES * frames;
        let mut first = None;
        running.wait_for("its warm state", START, |_| {
            // No statistics as long as there is no port.
            let Ok(now) = telemetry.read(ports) else {
                return Ok(None);
            };
            if now.received == 0 {
                return Ok(None);
            }
            let first = *first.get_or_insert(now);
            let is_warm = now.received >= enough && now.at.duration_since(first.at) >= WARM_UP;
            Ok(is_warm.then_some(()))
        })?;
        let metrics = if is_afr {
            Some(metrics(&mut running)?)
        } else {
            None
        };
        if let (Some(swaps), Some(at)) = (case.swaps, metrics) {
            running.wait_for("its table of signatures full", START, |_| {
                std::thread::sleep(LOOK);
                let known = Exposition::fetch_here(at)?.sum("afr_residency_signatures", &[]);
                Ok((known >= FULL * f64::from(swaps.signatures)).then_some(()))
            })?;
        }
        Ok(Self {
            program,
            ports,
            refuses: is_afr && case.scenario.refuses(),
            metrics,
            counted: metrics.map(Exposition::fetch_here).transpose()?,
            memory: running.memory()?,
            first: telemetry.read(ports)?,
            pps: Vec::new(),
            ran: Duration::ZERO,
            since: Instant::now(),
            running,
            telemetry,
        })
    }

    pub(super) fn pause(&mut self) -> anyhow::Result<()> {
        self.ran += self.since.elapsed();
        self.running.pause()
    }

    pub(super) fn go_on(&mut self) -> anyhow::Result<()> {
        self.since = Instant::now();
        self.running.go_on()
    }

    /// Takes its turn.
    pub(super) fn turn(&mut self) -> anyhow::Result<()> {
        self.go_on()?;
        self.running.run_for(RUN_UP)?;
        self.slice()?;
        self.pause()
    }

    /// Takes its rate over one slice.
    pub(super) fn slice(&mut self) -> anyhow::Result<()> {
        let before = self.telemetry.read(self.ports)?;
        self.running.run_for(SLICE)?;
        let after = self.telemetry.read(self.ports)?;
        let (received, transmitted) = after.rates_since(&before);
        self.pps
            .push(if self.refuses { received } else { transmitted });
        Ok(())
    }

    /// What came of it. It is ended.
    pub(super) fn measured(mut self, case: &Case) -> anyhow::Result<Measured> {
        self.sum_up(case)
            .with_context(|| format!("{}, {}", case.name(), self.program.name()))
    }

    fn sum_up(&mut self, case: &Case) -> anyhow::Result<Measured> {
        let after = self.telemetry.read(self.ports)?;
        let grown = self.running.memory()?;
        let recounted = self.metrics.map(Exposition::fetch_here).transpose()?;
        let (received, transmitted) = after.rates_since(&self.first);
        ensure!(
            received > 0.0,
            "nothing is received. {}",
            self.running.story()
        );
        if self.refuses {
            ensure!(transmitted == 0.0, "it transmits what it should refuse");
        } else {
            ensure!(
                transmitted >= LOSSLESS * received,
                "it transmits {:.3} % of what it receives: it drops what it should forward. {}",
                transmitted / received * 100.0,
                self.running.story()
            );
        }
        let tables = self.counted.as_ref().map_or(0.0, |counted| {
            counted.sum("afr_worker_table_bytes", &[]) / case.workers as f64
        });
        let worker_kib = (tables / 1_024.0).round() as u64;
        let mut swaps_per_s = None;
        if let (Some(counted), Some(recounted)) = (&self.counted, recounted) {
            took_its_way(case, counted, &recounted)?;
            let epochs = recounted.sum("afr_epoch", &[]) - counted.sum("afr_epoch", &[]);
            let ran = self.ran + self.since.elapsed();
            swaps_per_s = case.swaps.map(|_| epochs / ran.as_secs_f64());
        }
        let growth = Growth {
            packets: after.received,
            before_kib: self.memory.resident_kib,
            after_kib: grown.resident_kib,
            huge_kib: grown.huge_kib,
            worker_kib,
        };
        Ok(Measured {
            pps: std::mem::take(&mut self.pps),
            swaps_per_s,
            memory: (self.program == Program::Afr).then_some(growth),
        })
    }
}

/// The rate of one pass over frames that are all new, from readings in between.
pub(super) fn one_pass(
    running: &mut Running,
    prefix: &str,
    frames: u64,
) -> anyhow::Result<Measured> {
    let mut telemetry = connect(running, prefix)?;
    let mut readings: Vec<Reading> = Vec::new();
    running.wait_for("the end of the pass", START, |_| {
        let Ok(now) = telemetry.read(1) else {
            return Ok(None);
        };
        if now.received > 0 && now.received <= frames {
            readings.push(now);
        }
        Ok((now.received > frames).then_some(()))
    })?;
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else {
        bail!("the pass was over before it could be looked at: take more flows");
    };
    ensure!(
        last.received - first.received > frames / 2,
        "readings cover {} of {frames} packets only: take more flows",
        last.received - first.received
    );
    let at = metrics(running)?;
    // Counters are copied out once in a while: until they include the pass.
    let counted = running.wait_for("counting the pass", START, |_| {
        let counted = Exposition::fetch_here(at)?;
        Ok((counted.sum(RECEIVED, &[]) > frames as f64).then_some(counted))
    })?;
    let note = |reason| counted.sum("afr_notes_total", &[("reason", reason)]);
    let created = note("flow_created");
    ensure!(
        created == frames as f64 && note("flow_evicted") == 0.0,
        "{created} flows were entered for {frames} frames, and {} evicted",
        note("flow_evicted")
    );
    Ok(Measured {
        pps: vec![last.rates_since(first).0],
        swaps_per_s: None,
        memory: None,
    })
}

fn connect(running: &mut Running, prefix: &str) -> anyhow::Result<Telemetry> {
    running.wait_for("listening for telemetry", START, |_| {
        Ok(Telemetry::connect(prefix).ok())
    })
}

/// Where a started `afrd` says that its metrics are.
pub(super) fn metrics(running: &mut Running) -> anyhow::Result<SocketAddr> {
    running.wait_for("its metrics", START, |log| {
        let Some((_, rest)) = log.split_once("metrics at http://") else {
            return Ok(None);
        };
        match rest.split_once('/') {
            Some((address, _)) => Ok(Some(address.parse()?)),
            None => Ok(None),
        }
    })
}

/// Whether as good as all packets took the way that the case is about.
fn took_its_way(case: &Case, before: &Exposition, after: &Exposition) -> anyhow::Result<()> {
    let grown = |family: &str, labels: &[(&str, &str)]| {
        after.sum(family, labels) - before.sum(family, labels)
    };
    let received = grown(RECEIVED, &[]);
    ensure!(received > 0.0, "the AFR counts no packet");
    for way in case.ways() {
        let share = grown(way.family, &[(way.label, way.value)]) / received;
        ensure!(
            way.holds(share),
            "of {received:.0} packets {:.3} % are counted as {}{{{}=\"{}\"}}, and it should be {}: the figure would \
             not be what its name says. Also counted: {:?}",
            share * 100.0,
            way.family,
            way.label,
            way.value,
            if way.all { "all" } else { "none" },
            grown_most(before, after)
        );
    }
    Ok(())
}

/// The reasons that grew, for whoever looks for what went wrong.
fn grown_most(before: &Exposition, after: &Exposition) -> Vec<(String, f64)> {
    let families = ["afr_dropped_packets_total", "afr_notes_total"];
    let mut grown = Vec::new();
    for family in families {
        let was = before.by(family, "reason");
        for (reason, count) in after.by(family, "reason") {
            let more = count - was.get(&reason).copied().unwrap_or(0.0);
            if more > 0.0 {
                grown.push((reason, more));
            }
        }
    }
    grown
}

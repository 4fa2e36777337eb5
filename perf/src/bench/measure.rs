//! One program on one case: how many packets a second, and whether they took the way that the case's name says.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::check::check;
use super::configuration::{Surroundings, configuration};
use super::frames::{Frames, read_pcap, write_pcap, write_sample};
use super::place::Place;
use super::process::{Memory, Running};
use super::program::{Cpus, Files, Input, Program, command};
use super::scenario::{Case, Scenario};
use super::telemetry::{Reading, Telemetry};
use crate::lab::{Exposition, Interrupt};

/// How long a program may take to start, frames loaded.
const START: Duration = Duration::from_secs(60);
/// How long it warms up at least.
const WARM_UP: Duration = Duration::from_millis(500);
/// Passes over the frames before a window, so that every flow is established.
const PASSES: u64 = 2;
/// Frames of a sample whose answers are checked.
const SAMPLE: usize = 256;
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
const RECEIVED: &str = "afr_received_packets_total";

/// Where and on what everything runs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Directory and huge pages.
    pub place: &'a mut Place,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Programs.
    pub files: Files,
    /// CPUs.
    pub cpus: Cpus,
    /// How long a rate is taken over.
    pub window: Duration,
    /// There are none to be had.
    pub no_huge_pages: bool,
    /// Where to tell of what goes on.
    pub tell: fn(&str),
}

/// A program's rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Packets a second, slice by slice.
    pub pps: Vec<f64>,
    /// Swaps of the AFT a second, where that is what varies.
    pub swaps_per_s: Option<f64>,
    /// The AFR's memory.
    pub memory: Option<Growth>,
}

/// Memory at the begin and at the end of a window, and how many packets were received in between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Growth {
    /// Packets received from start to end of the program.
    pub packets: u64,
    /// At the window's begin, when every flow was known, in KiB: tables, both copies of the AFT, the program.
    pub before_kib: u64,
    /// At its end.
    pub after_kib: u64,
    /// Packet buffers in the EAL's huge pages, apart from that.
    pub huge_kib: u64,
    /// Of what is resident, or may become so: a worker's own tables, as it says itself. The rest is shared by all workers.
    pub worker_kib: u64,
}

/// A case's frames in files, and what the files are known by.
#[derive(Debug, Clone)]
pub struct Written {
    input: Input,
    identity: Vec<(u64, u64, i64, i64)>,
    /// Whether all programs have memory for them at once.
    together: bool,
}

impl Bench<'_> {
    /// Writes a case's frames, dated now, a file for each worker. Huge pages for them are taken, for all of `programs` where the
    /// machine has the memory, or it is said that there are none.
    ///
    /// # Errors
    ///
    /// Those of the file system; or memory is short.
    pub fn write(&mut self, case: &Case, programs: usize) -> anyhow::Result<Written> {
        let frames = dated(&case.frames)?;
        let pcaps: Vec<_> = (0..case.workers)
            .map(|worker| self.place.directory().join(format!("frames-{worker}.pcap")))
            .collect();
        let input = Input {
            pcaps,
            frames: frames.count(),
            outputs: None,
        };
        let together = case.scenario != Scenario::Insert && self.fits(case, programs)?.1;
        let at_once = if together { programs } else { 1 };
        self.take_huge_pages(at_once * input.memory_mib());
        write_pcap(&frames, &input.pcaps)?;
        let identity = identity(&input.pcaps)?;
        Ok(Written {
            input,
            identity,
            together,
        })
    }

    fn take_huge_pages(&mut self, needed_mib: usize) {
        let held = self.place.huge_mib() as usize;
        if (needed_mib..=8 * needed_mib).contains(&held) || self.no_huge_pages {
            return;
        }
        if let Err(error) = self.place.take_huge_pages(needed_mib as u32) {
            self.no_huge_pages = true;
            (self.tell)(&format!(
                "no huge pages ({error:#}): measuring on ordinary memory"
            ));
        }
    }

    /// Memory that a case's frames need in so many programs, in MiB, and whether the machine has it.
    ///
    /// # Errors
    ///
    /// `/proc/meminfo` cannot be read.
    pub fn fits(&self, case: &Case, programs: usize) -> anyhow::Result<(usize, bool)> {
        let input = Input {
            pcaps: Vec::new(),
            frames: case.frames.count(),
            outputs: None,
        };
        // Flow table and sessions of a flow, the file in the page cache, and something for everybody else.
        let beside = case.frames.flows * 800 / (1 << 20) + 2_048;
        let needed = programs * input.memory_mib();
        let held = self.place.huge_mib() as usize;
        Ok((needed, needed + beside < available_mib()? + held))
    }

    /// Runs `programs` and takes their rates. Where memory holds all of them at once, they run at once, but only one at a time
    /// is not halted: they take turns, a [`SLICE`] each, so that whatever else goes on in the machine meets all alike.
    /// Otherwise, or where a program must see its frames from the first on, one after the other.
    ///
    /// # Errors
    ///
    /// One does not run, loses packets, was not given the frames that were written, or, the AFR, takes another way than
    /// the case's.
    pub fn measure(
        &self,
        programs: &[Program],
        case: &Case,
        written: &Written,
        round: usize,
    ) -> anyhow::Result<Vec<Measured>> {
        ensure!(
            identity(&written.input.pcaps)? == written.identity,
            "the frames' file changed: programs would not be measured on the same"
        );
        if !written.together {
            let alone = |program: &Program| self.alone(*program, case, written, round);
            return programs.iter().map(alone).collect();
        }
        let mut subjects = Vec::new();
        for program in programs {
            let mut subject = self.warm(*program, case, written, round)?;
            subject.pause()?;
            subjects.push(subject);
        }
        for _ in 0..self.slices() {
            for subject in &mut subjects {
                subject.turn()?;
            }
        }
        let each = subjects.into_iter().map(|mut subject| {
            subject.go_on()?;
            // Ends with this, so that the next has the core to itself.
            subject.measured(case)
        });
        each.collect()
    }

    /// Slices of a window.
    fn slices(&self) -> usize {
        (self.window.as_secs_f64() / SLICE.as_secs_f64())
            .round()
            .max(1.0) as usize
    }

    fn alone(
        &self,
        program: Program,
        case: &Case,
        written: &Written,
        round: usize,
    ) -> anyhow::Result<Measured> {
        if program == Program::Afr && case.scenario == Scenario::Insert {
            let (mut running, prefix) = self.start(program, case, written, round)?;
            return one_pass(&mut running, &prefix, written.input.frames as u64)
                .with_context(|| format!("{}, {}", case.name(), program.name()));
        }
        let mut subject = self.warm(program, case, written, round)?;
        for _ in 0..self.slices() {
            subject.slice()?;
        }
        subject.measured(case)
    }

    fn start(
        &self,
        program: Program,
        case: &Case,
        written: &Written,
        round: usize,
    ) -> anyhow::Result<(Running, String)> {
        let prefix = format!("{}-{}-{round}", self.place.tag(), program.name());
        let command = command(
            program,
            case,
            &written.input,
            &prefix,
            &self.files,
            &self.cpus,
            self.place,
        )?;
        let running = Running::start(command, &prefix, self.place, &self.interrupt)?;
        Ok((running, prefix))
    }

    /// Starts `program`, and waits until it is warm.
    fn warm(
        &self,
        program: Program,
        case: &Case,
        written: &Written,
        round: usize,
    ) -> anyhow::Result<Subject> {
        let (running, prefix) = self.start(program, case, written, round)?;
        let frames = written.input.frames as u64;
        Subject::new(running, program, case, frames, &prefix)
            .with_context(|| format!("{}, {}", case.name(), program.name()))
    }

    /// Sends a sample of a case's frames through the AFR and checks what leaves.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&mut self, case: &Case) -> anyhow::Result<()> {
        let case = &Case {
            workers: 1,
            ..case.clone()
        };
        let sample = sample(&dated(&case.frames)?)?;
        let file = |name: &str| self.place.directory().join(name);
        let (pcap, replay, clients) = (
            file("sample.pcap"),
            file("left-replay.pcap"),
            file("left-clients.pcap"),
        );
        write_sample(&sample, &pcap)?;
        let input = Input {
            pcaps: vec![pcap],
            frames: sample.len(),
            outputs: Some([replay.clone(), clients.clone()]),
        };
        let prefix = format!("{}-check", self.place.tag());
        let command = command(
            Program::Afr,
            case,
            &input,
            &prefix,
            &self.files,
            &self.cpus,
            self.place,
        )?;
        let mut running = Running::start(command, &prefix, self.place, &self.interrupt)?;
        let at = metrics(&mut running)?;
        let all = sample.len() as f64;
        running.wait_for("the end of a sample", Duration::from_secs(10), |_| {
            let counted = Exposition::fetch_here(at)?;
            Ok((counted.sum(RECEIVED, &[]) >= all).then_some(()))
        })?;
        // Ended in order, so that the capture is written out.
        running.stop()?;
        let left = read_pcap(&replay)?;
        let to_clients = if case.frames.are_replies() {
            read_pcap(&clients)?
        } else {
            Vec::new()
        };
        check(case, &sample, &left, &to_clients)
            .with_context(|| format!("{}: wrong answers to a sample", case.name()))
    }
}

/// A program that is measured, warm.
#[derive(Debug)]
struct Subject {
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
    fn new(
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

    fn pause(&mut self) -> anyhow::Result<()> {
        self.ran += self.since.elapsed();
        self.running.pause()
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        self.since = Instant::now();
        self.running.go_on()
    }

    /// Takes its turn.
    fn turn(&mut self) -> anyhow::Result<()> {
        self.go_on()?;
        self.running.run_for(RUN_UP)?;
        self.slice()?;
        self.pause()
    }

    /// Takes its rate over one slice.
    fn slice(&mut self) -> anyhow::Result<()> {
        let before = self.telemetry.read(self.ports)?;
        self.running.run_for(SLICE)?;
        let after = self.telemetry.read(self.ports)?;
        let (received, transmitted) = after.rates_since(&before);
        self.pps
            .push(if self.refuses { received } else { transmitted });
        Ok(())
    }

    /// What came of it. It is ended.
    fn measured(mut self, case: &Case) -> anyhow::Result<Measured> {
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

/// Writes a case's frames, dated now, and beside them (`.toml`) the configuration that they are for, with devices to fill
/// in. Returns the name of the latter.
///
/// # Errors
///
/// Those of the file system.
pub fn write_for_others(case: &Case, file: &Path) -> anyhow::Result<PathBuf> {
    write_pcap(&dated(&case.frames)?, &[file])?;
    let around = Surroundings {
        eal: &[],
        huge_pages: true,
        mbufs: 65_535,
        worker_cpus: &[1],
        main_cpu: 0,
        device: "0000:03:00.0",
        clients_device: "0000:03:00.1",
        directory: Path::new("/run"),
    };
    let beside = file.with_extension("toml");
    fs::write(&beside, configuration(case, &around))
        .with_context(|| beside.display().to_string())?;
    Ok(beside)
}

/// The rate of one pass over frames that are all new, from readings in between.
fn one_pass(running: &mut Running, prefix: &str, frames: u64) -> anyhow::Result<Measured> {
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
fn metrics(running: &mut Running) -> anyhow::Result<SocketAddr> {
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

fn dated(frames: &Frames) -> anyhow::Result<Frames> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Frames {
        unix_ms: unix.as_millis() as u64,
        ..*frames
    })
}

/// Frames from all over, both turns of alternating ones.
fn sample(frames: &Frames) -> anyhow::Result<Vec<Vec<u8>>> {
    let flows = frames.flows.min(SAMPLE);
    let few = Frames { flows, ..*frames };
    let mut sample = Vec::new();
    few.for_each(|frame| {
        sample.push(frame.to_vec());
        Ok(())
    })?;
    Ok(sample)
}

/// What files are known by: device, inode, length and date.
fn identity(paths: &[PathBuf]) -> anyhow::Result<Vec<(u64, u64, i64, i64)>> {
    let of = |path: &PathBuf| {
        let known = fs::metadata(path).with_context(|| path.display().to_string())?;
        Ok((known.ino(), known.len(), known.mtime(), known.mtime_nsec()))
    };
    paths.iter().map(of).collect()
}

fn available_mib() -> anyhow::Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .context("/proc/meminfo says nothing of MemAvailable")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1_024)
}

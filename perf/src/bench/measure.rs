//! The programs on one case: how many packets a second, by turns, and whether the answers to a sample are right.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde::Serialize;

use super::check::check;
use super::configuration::{Surroundings, configuration};
use super::frames::{Frames, read_pcap, write_pcap, write_sample};
use super::place::Place;
use super::process::Running;
use super::program::{Cpus, Files, Input, Program, command};
use super::scenario::{Case, Scenario};
use super::subject::{RECEIVED, SLICE, Subject, metrics, one_pass};
use crate::lab::{Exposition, Interrupt};

/// Frames of a sample whose answers are checked.
const SAMPLE: usize = 256;

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
        ensure!(
            identity(&written.input.pcaps)? == written.identity,
            "the frames' file changed: programs would not be measured on the same"
        );
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

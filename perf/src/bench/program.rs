//! The programs that are measured: `afrd`, and `dpdk-testpmd` in its forwarding modes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::configuration::{Surroundings, configuration};
use super::place::Place;
use super::scenario::Case;

/// What 5tswap leaves out, to stand beside every ratio to it.
pub const DISCLAIMER: &str = "5tswap swaps Ethernet and IP addresses and ports: no look-up, no state, no MAC or report \
    verified, no dispatch, no encapsulation, nothing stripped, no hop limit.";

/// A program under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The AFR.
    Afr,
    /// testpmd that receives and transmits.
    Io,
    /// testpmd that swaps Ethernet addresses.
    MacSwap,
    /// testpmd that swaps Ethernet and IP addresses and ports: reads and writes the headers the AFR reads and writes,
    /// and does nothing else.
    FiveTupleSwap,
}

impl Program {
    /// All of them, in the order in which a round runs them.
    pub const ALL: [Self; 4] = [Self::Afr, Self::Io, Self::MacSwap, Self::FiveTupleSwap];

    /// The program's name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Afr => "afr",
            Self::Io => "testpmd-io",
            Self::MacSwap => "testpmd-macswap",
            Self::FiveTupleSwap => "testpmd-5tswap",
        }
    }

    const fn mode(self) -> &'static str {
        match self {
            Self::Afr => "",
            Self::Io => "io",
            Self::MacSwap => "macswap",
            Self::FiveTupleSwap => "5tswap",
        }
    }
}

/// The files that are run.
#[derive(Debug, Clone)]
pub struct Files {
    /// `afrd`.
    pub afrd: PathBuf,
    /// `afrd` with bench hooks, if it was built.
    pub afrd_bench: Option<PathBuf>,
    /// `dpdk-testpmd`.
    pub testpmd: PathBuf,
}

impl Files {
    /// Finds them: `afrd` beside this program, `dpdk-testpmd` on PATH.
    ///
    /// # Errors
    ///
    /// One is missing; says what installs or builds it.
    pub fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let afrd = own.with_file_name("afrd");
        ensure!(
            afrd.is_file(),
            "{} is missing: make bench builds it",
            afrd.display()
        );
        let afrd_bench = own.with_file_name("afrd-bench");
        Ok(Self {
            afrd,
            afrd_bench: afrd_bench.is_file().then_some(afrd_bench),
            testpmd: find_testpmd()?,
        })
    }

    /// The `afrd` that a case takes.
    ///
    /// # Errors
    ///
    /// It takes bench hooks, and there is none that has them.
    pub fn afrd_for(&self, case: &Case) -> anyhow::Result<&Path> {
        if !case.needs_hooks() {
            return Ok(&self.afrd);
        }
        self.afrd_bench
            .as_deref()
            .context("afrd-bench is missing: make bench builds it")
    }
}

fn find_testpmd() -> anyhow::Result<PathBuf> {
    const NAME: &str = "dpdk-testpmd";
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(NAME))
        .find(|file| file.is_file())
        .with_context(|| {
            format!("no {NAME} on PATH, in /usr/bin or /usr/local/bin: make install-deps (Debian's package is `dpdk`)")
        })
}

/// Workers that are measured, at the most.
const MOST_WORKERS: usize = 2;

/// The CPUs that programs get.
#[derive(Debug, Clone)]
pub struct Cpus {
    /// Of workers, in the order in which they are taken.
    pub workers: Vec<u32>,
    /// Of everything else.
    pub main: u32,
}

impl Cpus {
    /// The CPUs `given` for workers, or else the first two that are not `main`'s. Where they are to `share` and there is but
    /// one besides, the second worker is on the main thread's.
    ///
    /// # Errors
    ///
    /// One of them is not there, or not for this process.
    pub fn choose(given: &[u32], main: u32, share: bool) -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc/self/status has no Cpus_allowed_list")?;
        Self::among(&numbers(list.trim())?, given, main, share)
    }

    fn among(allowed: &[u32], given: &[u32], main: u32, share: bool) -> anyhow::Result<Self> {
        let mut asked = given.iter().chain([&main]);
        if let Some(cpu) = asked.find(|cpu| !allowed.contains(cpu)) {
            bail!(
                "CPU {cpu} is not one of those that this process may use: {allowed:?} (--cpu, --main-cpu)"
            );
        }
        let workers = if given.is_empty() {
            let others = allowed.iter().copied().filter(|cpu| *cpu != main);
            let shared = share.then_some(main);
            others.chain(shared).take(MOST_WORKERS).collect()
        } else {
            given.to_vec()
        };
        Ok(Self { workers, main })
    }
}

/// The numbers of a list like `0-3,8`.
fn numbers(list: &str) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().with_context(|| format!("CPUs: {list}"));
        all.extend(number(first)?..=number(last)?);
    }
    Ok(all)
}

/// Frames in files, for a program to receive.
#[derive(Debug, Clone)]
pub struct Input {
    /// A file for each queue.
    pub pcaps: Vec<PathBuf>,
    /// How many frames they hold together.
    pub frames: usize,
    /// Where what leaves goes: a file for each port, or nowhere, and then what is received never ends.
    pub outputs: Option<[PathBuf; 2]>,
}

impl Input {
    /// Packet buffers: the driver's copy of every frame, and what is on the way.
    fn mbufs(&self) -> usize {
        self.frames + 16_383
    }

    /// Memory that a program needs for them, in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> usize {
        // 2,048 bytes of packet, headroom, the buffer's and the pool's headers; and what drivers and the EAL take.
        (self.mbufs() * (2_048 + 512)).div_ceil(1 << 20) + 128
    }

    /// The device that they come from.
    fn device(&self) -> String {
        let mut device = "net_pcap0".to_owned();
        for pcap in &self.pcaps {
            // Writing to a String cannot fail.
            let _ = write!(device, ",rx_pcap={}", pcap.display());
        }
        match &self.outputs {
            None => device.push_str(",infinite_rx=1"),
            Some([replay, _]) => {
                let _ = write!(device, ",tx_pcap={}", replay.display());
            }
        }
        device
    }

    /// The device by which replies leave. It receives nothing.
    fn clients_device(&self) -> String {
        match &self.outputs {
            None => "net_null0,no-rx=1".to_owned(),
            Some([_, clients]) => format!("net_pcap1,tx_pcap={}", clients.display()),
        }
    }
}

/// The command that runs a program on `input`. `prefix` is the EAL's.
///
/// # Errors
///
/// Those of the file system, and of [`Files::afrd_for`].
pub fn command(
    program: Program,
    case: &Case,
    input: &Input,
    prefix: &str,
    files: &Files,
    cpus: &Cpus,
    place: &Place,
) -> anyhow::Result<Command> {
    let mut eal = vec!["--no-pci".to_owned(), format!("--file-prefix={prefix}")];
    if let Some(directory) = place.huge_dir() {
        eal.push(format!("--huge-dir={}", directory.display()));
    }
    let workers = &cpus.workers[..case.workers.min(cpus.workers.len())];
    if program == Program::Afr {
        let around = Surroundings {
            eal: &eal,
            huge_pages: place.huge_dir().is_some(),
            mbufs: input.mbufs(),
            worker_cpus: workers,
            main_cpu: cpus.main,
            device: &input.device(),
            clients_device: &input.clients_device(),
            directory: place.directory(),
        };
        let path = place.directory().join("afrd.toml");
        fs::write(&path, configuration(case, &around))?;
        let mut command = Command::new(files.afrd_for(case)?);
        command.arg("--config").arg(path);
        hooks(&mut command, case);
        return Ok(command);
    }
    if place.huge_dir().is_some() {
        // What is killed leaves no file there that keeps its pages; afrd asks for it by itself.
        eal.push("--huge-unlink=always".to_owned());
    } else {
        let memory = input.memory_mib().max(512).to_string();
        eal.extend(["--no-huge".to_owned(), "-m".to_owned(), memory]);
    }
    // lcore 0 is everything else, 1… the workers: so that a CPU may be had twice.
    let lcores: Vec<_> = std::iter::once(&cpus.main)
        .chain(workers)
        .enumerate()
        .map(|(lcore, cpu)| format!("{lcore}@{cpu}"))
        .collect();
    let queues = input.pcaps.len();
    let mut command = Command::new(&files.testpmd);
    command
        .arg(format!("--lcores={}", lcores.join(",")))
        .args(eal)
        .args(["--vdev", &input.device(), "--"])
        .args(["--auto-start", "--no-flush-rx"])
        .arg(format!("--nb-cores={}", workers.len()))
        .arg(format!("--rxq={queues}"))
        .arg(format!("--txq={queues}"))
        .arg(format!("--forward-mode={}", program.mode()))
        .arg(format!("--total-num-mbufs={}", input.mbufs()));
    Ok(command)
}

/// What the `afrd` with bench hooks is told.
fn hooks(command: &mut Command, case: &Case) {
    if !case.needs_hooks() {
        return;
    }
    if case.scenario == super::scenario::Scenario::ReplyFresh {
        command.env("AFR_BENCH_FRESH_REPORTS", "1");
    }
    if let Some(swaps) = case.swaps {
        let told = format!(
            "per_s={},signatures={},changes={}",
            swaps.per_s, swaps.signatures, swaps.changes
        );
        command.env("AFR_BENCH_SWAPS", told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_cpus_that_are_there() {
        let allowed = numbers("0-1,4").unwrap();
        assert_eq!(allowed, [0, 1, 4]);
        let among = |allowed: &[u32], given: &[u32], share| {
            Cpus::among(allowed, given, 0, share).map(|cpus| cpus.workers)
        };
        assert_eq!(among(&allowed, &[], false).unwrap(), [1, 4]);
        assert_eq!(among(&allowed, &[4], true).unwrap(), [4]);
        // With one CPU besides the main thread's a second worker has to share.
        assert_eq!(among(&[0, 1], &[], false).unwrap(), [1]);
        assert_eq!(among(&[0, 1], &[], true).unwrap(), [1, 0]);
        let error = among(&allowed, &[1, 2], false).unwrap_err().to_string();
        assert!(error.contains("CPU 2 "), "{error}");
        assert!(Cpus::among(&[1, 2], &[], 0, false).is_err());
        assert!(numbers("0-x").is_err());
    }
}

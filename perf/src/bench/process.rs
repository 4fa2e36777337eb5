//! A measured program that runs: its log, and its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use uapi::c::{SIGCONT, SIGSTOP, SIGTERM};

use super::place::Place;
use crate::lab::Interrupt;

/// How often a wait looks.
const GLANCE: Duration = Duration::from_millis(5);
/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(10);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// What a process holds of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, huge pages of a hugetlbfs apart.
    pub(crate) resident_kib: u64,
    /// In huge pages of a hugetlbfs.
    pub(crate) huge_kib: u64,
}

impl Memory {
    /// As `/proc/PID/status` has it.
    fn of(status: &str) -> Option<Self> {
        let figure = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            resident_kib: figure("VmRSS")?,
            huge_kib: figure("HugetlbPages")?,
        })
    }
}

/// A running program. Dropped, it is killed: neither program has anything to lose.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
    runtime: PathBuf,
    interrupt: Interrupt,
}

impl Running {
    /// Starts `command`, whose EAL has this file prefix.
    pub(crate) fn start(
        mut command: Command,
        prefix: &str,
        place: &Place,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let log = place.directory().join(format!("{prefix}.log"));
        let file = File::create(&log)?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            // Open for as long as it runs: testpmd ends when its standard input does.
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let running = Self {
            child,
            name,
            log,
            runtime: Path::new("/var/run/dpdk").join(prefix),
            interrupt: interrupt.clone(),
        };
        place.note_program(running.child.id())?;
        Ok(running)
    }

    /// Calls `look` until it has something; in vain for longer than `patience`, it is an error that shows the log.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&str) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            let log = self.log();
            match look(&log) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => return Err(error).with_context(|| self.story()),
            }
            if self.interrupt.is_raised() {
                bail!("interrupted");
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before {what}. {}",
                    self.name,
                    self.story()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} has not come to {what} in {patience:?}. {}",
                    self.name,
                    self.story()
                );
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Lets it run for so long.
    pub(crate) fn run_for(&mut self, duration: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + duration;
        self.wait_for("the end of a window", duration + GRACE, |_| {
            Ok((Instant::now() >= end).then_some(()))
        })
    }

    /// Halts it: it takes no processor time until it is to go on.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(SIGSTOP)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(SIGCONT)
    }

    fn signal(&self, signal: i32) -> anyhow::Result<()> {
        let pid = self.child.id().try_into().unwrap_or(i32::MAX);
        uapi::kill(pid, signal)
            .map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks it to end and waits for that.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.signal(SIGTERM)?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!(
                    "{} failed at its end ({status}). {}",
                    self.name,
                    self.story()
                );
            }
            std::thread::sleep(GLANCE);
        }
        bail!("{} did not end when asked to. {}", self.name, self.story())
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Memory::of(&status).with_context(|| format!("{path}: no VmRSS and HugetlbPages in it"))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub(crate) fn story(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        format!("Its log ends with\n    {tail}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_tells_it() {
        let status = "Name:\tafrd\nVmRSS:\t   14321 kB\nRssAnon:\t 1 kB\nHugetlbPages:\t   65536 kB\nThreads:\t9\n";
        let memory = Memory {
            resident_kib: 14_321,
            huge_kib: 65_536,
        };
        assert_eq!(Memory::of(status), Some(memory));
        assert_eq!(Memory::of("VmRSS:\t1 kB\n"), None);
    }
}

//! A program that runs inside a namespace, its log, and its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use uapi::c::{SIGHUP, SIGTERM};

use super::interrupt::Interrupt;
use super::namespace::Namespace;

/// How long a program that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often a wait looks whether someone asked to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 25;

/// Why a program is not where it should be. Each shows the end of its log.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {name}: {source}")]
    NotStarted {
        /// Its name in the lab.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ended before what was waited for.
    #[error("{name} ended ({status}) before {what}; its log ends with\n{tail}")]
    Ended {
        /// Its name in the lab.
        name: String,
        /// Its exit status.
        status: String,
        /// What was waited for.
        what: String,
        /// The end of its log.
        tail: String,
    },
    /// It runs and does not do what was waited for.
    #[error("{name} has not come to {what} in {patience:?}; its log ends with\n{tail}")]
    Late {
        /// Its name in the lab.
        name: String,
        /// What was waited for.
        what: String,
        /// For how long.
        patience: Duration,
        /// The end of its log.
        tail: String,
    },
    /// It ended with failure.
    #[error("{name} failed ({status}); its log ends with\n{tail}")]
    Failed {
        /// Its name in the lab.
        name: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// A signal or a system call about it failed.
    #[error("{name}: {source}")]
    Os {
        /// Its name in the lab.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A running program. Dropped, it is asked to end (SIGTERM) and, after a grace, killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    tail: Arc<Mutex<VecDeque<String>>>,
    lines: Receiver<String>,
    pumps: Vec<JoinHandle<()>>,
    interrupt: Interrupt,
}

impl Process {
    /// Starts `program` inside `namespace`. What it writes goes line by line to `<directory>/<name>.log`.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotStarted`].
    pub fn start(
        name: &str,
        namespace: &Namespace,
        program: &Path,
        arguments: &[String],
        directory: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self, ProcessError> {
        let refused = |source| ProcessError::NotStarted {
            name: name.to_owned(),
            source,
        };
        let log = directory.join(format!("{name}.log"));
        let file = Arc::new(Mutex::new(File::create(&log).map_err(refused)?));
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace.name()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C goes to the whole foreground group; these end in the lab's order.
            .process_group(0)
            .spawn()
            .map_err(refused)?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = channel();
        let mut pumps = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            pumps.push(pump(stdout, &file, &tail, sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            pumps.push(pump(stderr, &file, &tail, sender));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            tail,
            lines,
            pumps,
            interrupt: interrupt.clone(),
        })
    }

    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id: `ip netns exec` becomes the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds all it wrote.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn tail(&self) -> String {
        let tail = match self.tail.lock() {
            Ok(tail) => tail,
            Err(poisoned) => poisoned.into_inner(),
        };
        let lines: Vec<_> = tail.iter().map(|line| format!("    {line}")).collect();
        lines.join("\n")
    }

    /// Waits for a line, on standard output or standard error, that `wanted` holds for, and returns it. Lines before it
    /// are used up.
    ///
    /// # Errors
    ///
    /// It ends first, or `patience` does, or someone asks to stop.
    pub fn wait_for_line(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, ProcessError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(GLANCE) {
                Ok(line) if wanted(&line) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(what)),
                Err(RecvTimeoutError::Timeout) => {
                    self.on_time(what, patience, deadline)?;
                }
            }
        }
    }

    /// Waits for its end and calls `line` with each line it writes.
    ///
    /// # Errors
    ///
    /// It ends with failure, or not within `patience`, or someone asks to stop.
    pub fn finish(
        mut self,
        patience: Duration,
        mut line: impl FnMut(&str),
    ) -> Result<(), ProcessError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(GLANCE) {
                Ok(text) => line(&text),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.on_time("its end", patience, deadline)?;
                }
            }
        }
        let status = self.child.wait().map_err(|source| self.os(source))?;
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed {
            name: self.name.clone(),
            status,
            tail: self.tail(),
        })
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it SIGHUP.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn hang_up(&self) -> Result<(), ProcessError> {
        self.signal(SIGHUP)
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    ///
    /// It fails, or has to be killed after a grace of ten seconds.
    pub fn stop(mut self) -> Result<(), ProcessError> {
        match self.end() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(ProcessError::Failed {
                name: self.name.clone(),
                status,
                tail: self.tail(),
            }),
            None => Err(ProcessError::Late {
                name: self.name.clone(),
                what: "its end".to_owned(),
                patience: GRACE,
                tail: self.tail(),
            }),
        }
    }

    /// SIGTERM, grace, SIGKILL. The status, unless it took the last of these.
    fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let _ = self.signal(SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(GLANCE / 10);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    fn signal(&self, signal: i32) -> Result<(), ProcessError> {
        let pid = self.child.id().try_into().unwrap_or(i32::MAX);
        uapi::kill(pid, signal).map_err(|errno| self.os(io::Error::from_raw_os_error(errno.0)))
    }

    fn on_time(
        &self,
        what: &str,
        patience: Duration,
        deadline: Instant,
    ) -> Result<(), ProcessError> {
        if self.interrupt.is_raised() {
            return Err(ProcessError::Interrupted);
        }
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(ProcessError::Late {
            name: self.name.clone(),
            what: what.to_owned(),
            patience,
            tail: self.tail(),
        })
    }

    fn ended(&mut self, what: &str) -> ProcessError {
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        ProcessError::Ended {
            name: self.name.clone(),
            status,
            what: what.to_owned(),
            tail: self.tail(),
        }
    }

    fn os(&self, source: io::Error) -> ProcessError {
        ProcessError::Os {
            name: self.name.clone(),
            source,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        for pump in self.pumps.drain(..) {
            let _ = pump.join();
        }
    }
}

/// Copies what a program writes to its log and, line by line, to who waits.
fn pump(
    from: impl Read + Send + 'static,
    log: &Arc<Mutex<File>>,
    tail: &Arc<Mutex<VecDeque<String>>>,
    to: Sender<String>,
) -> JoinHandle<()> {
    let (log, tail) = (Arc::clone(log), Arc::clone(tail));
    thread::spawn(move || {
        // A stray byte that is no UTF-8 ends nothing.
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while matches!(from.read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if let Ok(mut log) = log.lock() {
                let _ = writeln!(log, "{line}");
            }
            if let Ok(mut tail) = tail.lock() {
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line.clone());
            }
            let _ = to.send(line);
        }
    })
}

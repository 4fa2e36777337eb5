//! `afrd` in its namespace: started, reloaded, asked, ended.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::{CommandError, run};
use super::config::AfrConfig;
use super::exposition::{Exposition, ExpositionError};
use super::namespace::Namespace;
use super::process::{Process, ProcessError};
use super::topology::Lab;

/// How long `afrd` may take to come up, or to do what it is asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The directory in which programs are looked for before all others.
const BIN_DIR: &str = "AFR_BIN_DIR";
/// How often it is asked for something that is to come.
const ASK: Duration = Duration::from_millis(50);

/// Why `afrd` does not run as it should.
#[derive(Debug, thiserror::Error)]
pub enum AfrdError {
    /// A program of the workspace has not been built.
    #[error("there is no program {0} beside this one: `cargo build --workspace`")]
    NotBuilt(String),
    /// The configuration could not be written as TOML.
    #[error("configuration: {0}")]
    Toml(#[from] toml::ser::Error),
    /// A file could not be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `afrd --check` or `afrctl` fails.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It refuses a configuration that `afrd --check` finds right.
    #[error("afrd refuses a configuration that it found right; its log ends with\n{0}")]
    Refused(String),
    /// The process does not do what it should.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its metrics.
    #[error(transparent)]
    Exposition(#[from] ExpositionError),
    /// What `afrctl --json` prints is no JSON.
    #[error("`afrctl --json {line}` does not print JSON: {source}")]
    Json {
        /// The arguments.
        line: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
}

/// A program of the workspace, where cargo puts it: beside this one, or one directory up if this one is a test. The
/// environment's `AFR_BIN_DIR` comes first.
///
/// # Errors
///
/// [`AfrdError::NotBuilt`].
pub fn program(name: &str) -> Result<PathBuf, AfrdError> {
    let told = std::env::var_os(BIN_DIR).map(PathBuf::from);
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let mut places = told.into_iter().chain(beside).map(|place| place.join(name));
    places
        .find(|place| place.is_file())
        .ok_or_else(|| AfrdError::NotBuilt(name.to_owned()))
}

/// A running `afrd`. Dropped, it is ended.
#[derive(Debug)]
pub struct Afrd {
    process: Process,
    file: PathBuf,
    socket: PathBuf,
    metrics: SocketAddr,
    afrctl: PathBuf,
    afrd: PathBuf,
}

impl Afrd {
    /// Writes the configuration, has it checked, starts `afrd` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`AfrdError`], with what `afrd` says.
    pub fn start(lab: &Lab, config: &AfrConfig) -> Result<Self, AfrdError> {
        Self::start_as("afrd", &[], lab, config)
    }

    /// The same with another program of the workspace in its place, and `NAME=VALUE` entries in its environment.
    ///
    /// # Errors
    ///
    /// [`AfrdError`], with what it says.
    pub fn start_as(
        name: &str,
        environment: &[String],
        lab: &Lab,
        config: &AfrConfig,
    ) -> Result<Self, AfrdError> {
        let (afrd, afrctl) = (program(name)?, program("afrctl")?);
        let file = lab.directory().join("afrd.toml");
        write(&file, &toml::to_string(config)?)?;
        check(&afrd, &file)?;
        let own = [&afrd, Path::new("--config"), &file].map(|word| word.display().to_string());
        let arguments = [environment, &own].concat();
        let mut process = Process::start(
            "afrd",
            &lab.router,
            Path::new("env"),
            &arguments,
            lab.directory(),
            lab.interrupt(),
        )?;
        process.wait_for_line("its ready line", PATIENCE, |line| {
            line.starts_with("afrd ready")
        })?;
        Ok(Self {
            process,
            file,
            socket: config.api.socket.clone(),
            metrics: config.metrics.listen,
            afrctl,
            afrd,
        })
    }

    /// Puts another configuration in force by SIGHUP, and waits until every worker has it.
    ///
    /// # Errors
    ///
    /// The configuration is refused, or `afrd` does not take it.
    pub fn reload(&mut self, lab: &Lab, config: &AfrConfig) -> Result<(), AfrdError> {
        let text = toml::to_string(config)?;
        write(&self.file, &text)?;
        check(&self.afrd, &self.file)?;
        if self.reload_text(lab, &text)? {
            return self.settle(lab);
        }
        Err(AfrdError::Refused(self.tail()))
    }

    /// Gives it `text` for a configuration by SIGHUP, and tells whether it took it.
    ///
    /// # Errors
    ///
    /// It does neither.
    pub fn reload_text(&mut self, lab: &Lab, text: &str) -> Result<bool, AfrdError> {
        let count = |afrd: &Self, result| -> Result<f64, AfrdError> {
            let metrics = afrd.metrics(lab)?;
            Ok(metrics.sum("afr_config_reloads_total", &[("result", result)]))
        };
        let (applied, refused) = (count(self, "applied")?, count(self, "refused")?);
        write(&self.file, text)?;
        self.process.hang_up()?;
        let mut taken = false;
        self.until(lab, "an answer to SIGHUP", |afrd| {
            taken = count(afrd, "applied")? > applied;
            Ok(taken || count(afrd, "refused")? > refused)
        })?;
        Ok(taken)
    }

    /// Waits until every worker has the newest generation, and that has all changes.
    ///
    /// # Errors
    ///
    /// It takes too long.
    pub fn settle(&self, lab: &Lab) -> Result<(), AfrdError> {
        self.until(lab, "every worker's taking up the last change", |afrd| {
            let metrics = afrd.metrics(lab)?;
            let left = ["afr_epoch_workers_behind", "afr_publish_pending_changes"];
            Ok(left.iter().all(|name| metrics.sum(name, &[]) == 0.0))
        })
    }

    /// Asks again and again until it is so.
    ///
    /// # Errors
    ///
    /// Asking fails, or it is not so in time, or someone asks to stop.
    pub fn until(
        &self,
        lab: &Lab,
        what: &str,
        mut is_so: impl FnMut(&Self) -> Result<bool, AfrdError>,
    ) -> Result<(), AfrdError> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self)? {
            if lab.interrupt().is_raised() {
                return Err(ProcessError::Interrupted.into());
            }
            if Instant::now() > deadline {
                return Err(AfrdError::Process(ProcessError::Late {
                    name: "afrd".to_owned(),
                    what: what.to_owned(),
                    patience: PATIENCE,
                    tail: self.tail(),
                }));
            }
            thread::sleep(ASK);
        }
        Ok(())
    }

    /// Runs `afrctl` with these arguments, words between blanks.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn ctl(&self, line: &str) -> Result<String, AfrdError> {
        let (afrctl, socket) = (self.afrctl.display(), self.socket.display());
        Ok(run(&format!("{afrctl} --socket {socket} {line}"))?)
    }

    /// Runs `afrctl --json` with these arguments and reads what it prints.
    ///
    /// # Errors
    ///
    /// It fails, or prints something else.
    pub fn ctl_json(&self, line: &str) -> Result<Value, AfrdError> {
        let text = self.ctl(&format!("--json {line}"))?;
        serde_json::from_str(&text).map_err(|source| AfrdError::Json {
            line: line.to_owned(),
            source,
        })
    }

    /// Its metrics at this moment.
    ///
    /// # Errors
    ///
    /// It does not answer, or not with metrics.
    pub fn metrics(&self, lab: &Lab) -> Result<Exposition, AfrdError> {
        Ok(self.exposition(&lab.router)?)
    }

    /// Its metrics, with everything that happened before this call.
    ///
    /// Workers count in memory of their own and copy the whole out now and then. Every round of a worker's counts, as a
    /// poll that found nothing or as a burst; on a busy machine there may be none of one kind for long. So rounds that
    /// went up tell of a copy made since.
    ///
    /// # Errors
    ///
    /// It does not answer, or a worker copies nothing out.
    pub fn settled_metrics(&self, lab: &Lab) -> Result<Exposition, AfrdError> {
        let rounds = |metrics: &Exposition| {
            let mut rounds = metrics.by("afr_worker_idle_polls_total", "worker");
            for (worker, bursts) in metrics.by("afr_worker_busy_bursts_total", "worker") {
                *rounds.entry(worker).or_default() += bursts;
            }
            rounds
        };
        let before = rounds(&self.metrics(lab)?);
        self.until(lab, "copying its counters out", |afrd| {
            let now = rounds(&afrd.metrics(lab)?);
            Ok(before
                .iter()
                .all(|(worker, count)| now.get(worker) != Some(count)))
        })?;
        self.metrics(lab)
    }

    fn exposition(&self, namespace: &Namespace) -> Result<Exposition, ExpositionError> {
        Exposition::fetch(namespace, self.metrics)
    }

    /// Where its metrics are, inside its namespace.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    ///
    /// It ends with failure, or has to be killed.
    pub fn stop(self) -> Result<(), AfrdError> {
        Ok(self.process.stop()?)
    }
}

fn write(path: &Path, text: &str) -> Result<(), AfrdError> {
    fs::write(path, text).map_err(|source| AfrdError::File {
        path: path.to_owned(),
        source,
    })
}

fn check(afrd: &Path, file: &Path) -> Result<(), AfrdError> {
    let (afrd, file) = (afrd.display(), file.display());
    run(&format!("{afrd} --check --config {file}"))?;
    Ok(())
}

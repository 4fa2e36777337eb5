//! The configuration file: from TOML to checked types.
//!
//! Everything that can be told wrong in one look is told, each with line, key, value and what is allowed; nothing is taken
//! from a file with a problem. `configs/afrd.toml` is the reference of the keys.

mod problem;
mod document;
mod kind;
mod unique;
mod network;
mod classes;
mod trust;
mod instances;
mod peers;
mod knobs;
mod process;
mod restart;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afr_dataplane::config::{Config, Instance};
use afr_dataplane::id::ClassIx;
use afr_wire::ClassId;

pub use problem::{Fault, Problem, Problems};
pub use process::{Device, DeviceKind, Eal, HugePages, Idle, Mbufs, Process, Workers};
pub use restart::needs_restart;

use document::{Document, Section};

/// A checked configuration file.
#[derive(Debug)]
pub struct Loaded {
    /// What the process is set up with once.
    pub process: Process,
    /// What workers run under. The ports' Ethernet addresses are zero until [`Loaded::adopt`].
    pub plane: Arc<Config>,
    /// The instances.
    pub instances: Vec<Registered>,
    /// What the control core runs under.
    pub control: Control,
}

impl Loaded {
    /// Enters what the file does not tell: the least revision it can have, and the Ethernet addresses of the ports'
    /// devices. To be called before the configuration is shared; later it does nothing.
    pub fn adopt(&mut self, revision: u64, macs: impl IntoIterator<Item = [u8; 6]>) {
        if let Some(plane) = Arc::get_mut(&mut self.plane) {
            plane.revision = plane.revision.max(revision);
            for (port, mac) in plane.ports.iter_mut().zip(macs) {
                port.mac = mac;
            }
        }
    }

    /// Moves every class to the index that `index_of` says; those without stay out. Tells whether it could: not once the
    /// configuration is shared.
    #[must_use]
    pub fn reindex(&mut self, index_of: impl Fn(ClassId) -> Option<ClassIx>) -> bool {
        let Some(plane) = Arc::get_mut(&mut self.plane) else {
            return false;
        };
        let classes = std::mem::take(&mut plane.classes);
        plane.classes = classes.reindexed(index_of);
        true
    }
}

/// An instance of the file.
#[derive(Debug, Clone)]
pub struct Registered {
    /// What the AFT knows of it.
    pub instance: Instance,
    /// It takes no new flows.
    pub drain: bool,
}

/// Knobs of the control core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Shortest time between two generations, in microseconds.
    pub publish_interval_us: u64,
    /// Changes that may wait for a worker.
    pub log: usize,
    /// A worker that keeps a generation waiting for longer is stuck, in microseconds.
    pub watchdog_us: u64,
    /// Silence after which an instance that has reported before is taken for dead, in microseconds.
    pub dead_after_us: Option<u64>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

/// Reads and checks the file at `path`. `revision` counts the configurations put in force.
///
/// # Errors
/// [`LoadError`], with everything that is wrong.
pub fn load(path: &Path, revision: u64) -> Result<Loaded, LoadError> {
    let text = fs::read_to_string(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(parse(&text, path, revision)?)
}

/// Checks the text of a file. Files that it names lie relative to `path`, which also is its name in messages.
///
/// # Errors
/// [`Problems`], with everything that is wrong.
pub fn parse(text: &str, path: &Path, revision: u64) -> Result<Loaded, Problems> {
    let document = Document::new(text);
    let tree = document.parse();
    // A tree recovered from broken syntax would only add misleading complaints.
    let loaded = document.is_clean().then(|| {
        let root = Section::root(&document, &tree);
        let directory = path.parent().unwrap_or(Path::new(""));
        read(&root, directory, revision)
    });
    match loaded.flatten() {
        Some(loaded) if document.is_clean() => Ok(loaded),
        _ => Err(Problems {
            file: path.to_owned(),
            problems: document.into_problems(),
        }),
    }
}

/// Reads all sections. `None`: something without which there is nothing to check against is missing, and was noted.
fn read(root: &Section<'_>, directory: &Path, revision: u64) -> Option<Loaded> {
    let trust = root.section("trust");
    let knobs = knobs::read(root, &trust);
    let process = process::read(root);
    let ports = network::ports(root, &process.mbufs, &process.workers);
    let network = network::read(root, &ports);
    let classes = classes::read(root, &network, &knobs.limits);
    let trust = trust::read(root, &trust, &classes, directory);
    let instances = instances::read(root, &network, &ports, &classes, &trust, &knobs.limits);
    let peers = peers::read(root, &network, &instances);
    let (devices, ports): (Vec<_>, Vec<_>) = ports.into_iter().map(|p| (p.device, p.port)).unzip();
    let (cluster, router) = network.router?;
    Some(Loaded {
        process: Process { devices, ..process },
        plane: Arc::new(Config {
            revision,
            cluster,
            router,
            ports,
            trusted_prefixes: trust.trusted_prefixes,
            routes: network.routes,
            peers,
            catalogues: trust.catalogues,
            keys: trust.keys,
            accept_unauthenticated: trust.accept_unauthenticated,
            classes: classes.classes.into_iter().collect(),
            services: network.services,
            dispatch: knobs.dispatch,
            flows: knobs.flows,
            admit: knobs.admit,
            limits: knobs.limits,
            maglev_seed: network.maglev_seed?,
        }),
        instances,
        control: knobs.control,
    })
}

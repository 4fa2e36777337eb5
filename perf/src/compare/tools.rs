//! Routers from PyPI, each in a virtual environment of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::contender::RouterPackage;
use crate::lab::{CommandError, run};

/// In an environment: everything is there.
const DONE: &str = "afr-installed";

/// Why a router cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be installed.
    #[error(
        "{name} {version} cannot be installed from PyPI: {source}\n\
         Without PyPI: on a machine that reaches it, `pip download {name}=={version} -d wheels`, copy the directory here and \
         run this with PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels in the environment. Or leave it out: --contenders direct-bare,afr"
    )]
    NotInstalled {
        /// Its name on PyPI.
        name: &'static str,
        /// The version wanted.
        version: &'static str,
        /// What pip says.
        source: CommandError,
    },
    /// A file of its environment cannot be made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Sees to it that the router is in an environment under `directory`, and returns the path of its program.
///
/// # Errors
///
/// [`ToolError`], which says what to do without PyPI.
pub(super) fn install(package: &RouterPackage, directory: &Path) -> Result<PathBuf, ToolError> {
    let refused = |path: &Path, source| ToolError::File {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(directory).map_err(|source| refused(directory, source))?;
    let directory = directory
        .canonicalize()
        .map_err(|source| refused(directory, source))?;
    let environment = directory.join(format!("{}-{}", package.name, package.version));
    let done = environment.join(DONE);
    if !done.is_file() {
        let install = || {
            let place = environment.display();
            run(&format!("python3 -m venv --clear {place}"))?;
            run(&format!(
                "{place}/bin/pip install -q --disable-pip-version-check --only-binary :all: {}=={}",
                package.name, package.version
            ))
        };
        install().map_err(|source| ToolError::NotInstalled {
            name: package.name,
            version: package.version,
            source,
        })?;
        fs::write(&done, "").map_err(|source| refused(&done, source))?;
    }
    Ok(environment.join("bin").join(package.program))
}

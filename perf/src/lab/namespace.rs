//! A network namespace, made and removed by `ip netns`, and threads of this process inside one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;

use super::command::{CommandError, run};

/// Where `ip netns` keeps a file for each namespace.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// Why a thread could not be put into a namespace.
#[derive(Debug, thiserror::Error)]
#[error("cannot enter the network namespace {name}: {source}")]
pub struct NamespaceError {
    name: String,
    source: io::Error,
}

/// A network namespace with its loopback up. Dropped, it is removed.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one. Forwarding is off and no router advertisement is listened to.
    ///
    /// # Errors
    ///
    /// `ip` or `sysctl` fails, for example without the privilege.
    pub fn create(name: String) -> Result<Self, CommandError> {
        run(&format!("ip netns add {name}"))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        namespace.sysctl("net.ipv6.conf.all.accept_ra", 0)?;
        namespace.sysctl("net.ipv6.conf.default.accept_ra", 0)?;
        Ok(namespace)
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip -n <namespace> <words>`.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn ip(&self, words: &str) -> Result<String, CommandError> {
        run(&format!("ip -n {} {words}", self.name))
    }

    /// Runs a command inside.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn run(&self, line: &str) -> Result<String, CommandError> {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Sets a kernel parameter of the namespace.
    ///
    /// # Errors
    ///
    /// There is none of this name, or it does not take the value.
    pub fn sysctl(&self, key: &str, value: u32) -> Result<(), CommandError> {
        self.run(&format!("sysctl -qw {key}={value}")).map(drop)
    }

    /// Switches off what makes a virtual interface carry frames that no wire would: segmentation and
    /// checksum offload.
    ///
    /// # Errors
    ///
    /// There is no such interface.
    pub fn without_offloads(&self, interface: &str) -> Result<(), CommandError> {
        const OFF: &str = "rx off tx off sg off tso off gso off gro off";
        self.run(&format!("ethtool -K {interface} {OFF}")).map(drop)
    }

    /// Undoes [`Namespace::without_offloads`].
    ///
    /// # Errors
    ///
    /// There is no such interface.
    pub fn with_offloads(&self, interface: &str) -> Result<(), CommandError> {
        const ON: &str = "rx on tx on sg on tso on gso on gro on";
        self.run(&format!("ethtool -K {interface} {ON}")).map(drop)
    }

    /// Calls `f` on a thread inside and returns what it returns. A panic of `f` goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`NamespaceError`]: the namespace cannot be entered.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let run = || {
            enter(&self.name)?;
            Ok(f())
        };
        thread::scope(|scope| match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody left to tell: what stays behind is found by `clean`.
        let _ = run(&format!("ip netns delete {}", self.name));
    }
}

/// Moves the calling thread into a namespace for the rest of its life. Sockets belong to the namespace in which they were
/// made.
///
/// # Errors
///
/// [`NamespaceError`]: there is none of this name, or the privilege is missing.
pub(crate) fn enter(name: &str) -> Result<(), NamespaceError> {
    let refused = |source| NamespaceError {
        name: name.to_owned(),
        source,
    };
    let file = File::open(Path::new(DIRECTORY).join(name)).map_err(refused)?;
    uapi::setns(file.as_raw_fd(), uapi::c::CLONE_NEWNET)
        .map_err(|errno| refused(io::Error::from_raw_os_error(errno.0)))
}

//! An emulated instance: a real server process around the model of [`crate::engine`].
//!
//! | file | is |
//! |---|---|
//! | [`args`] | the command line |
//! | [`clock`] | real time to the engine's and back |
//! | [`instance`] | the engine, who waits for what, and what is reported |
//! | [`api`] | the OpenAI-style requests and answers |
//! | [`stream`] | an answer as it is generated |
//! | [`http`] | routes, capability headers, reports in replies |
//! | [`metrics`] | Prometheus exposition under vLLM's names |
//!
//! One thread runs all of it: the work is emulated, so several instances fit on one core.

pub mod args;
pub mod clock;
pub mod instance;
pub mod api;
pub mod stream;
pub mod http;
pub mod metrics;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use afr_endpoint::report::{BootPoint, ReportError, Reporter};
use afr_endpoint::sockopt::{self, SockoptError};
use afr_endpoint::udp::ReportSocket;
use afr_wire::InstanceId;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::trust::MissingKey;
use args::EmulatorArgs;
use instance::Instance;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Shortest sleep of the engine's loop: timers are no finer, and a slice of a millisecond is not worth a wake-up.
const LEAST_SLEEP: Duration = Duration::from_millis(1);
/// A step that ends within this time is waited for without a timer, so that an engine of enormous speed answers at once.
const AT_ONCE: Duration = Duration::from_micros(20);

/// Why an emulated instance could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An argument that the command line cannot check.
    #[error(transparent)]
    Key(#[from] MissingKey),
    /// A label that cannot stand in an HTTP header.
    #[error("label {label:?}: printable ASCII without commas wanted")]
    Label {
        /// The label.
        label: String,
    },
    /// A metric could not be registered.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The socket for reports could not be made.
    #[error("socket for reports: {0}")]
    ReportSocket(#[source] io::Error),
    /// The placeholder for reports in replies could not be set.
    #[error("--transit: {0}")]
    Placeholder(#[from] SockoptError),
    /// The placeholder could not be made.
    #[error("--transit: {0}")]
    Report(#[from] ReportError),
}

/// An instance that listens, and is served by [`Emulator::run`].
#[derive(Debug)]
pub struct Emulator {
    instance: Arc<Instance>,
    listener: TcpListener,
    address: SocketAddr,
    reports: ReportSocket,
    report_interval: Duration,
    heartbeat: Duration,
    transit: bool,
}

impl Emulator {
    /// Sets everything up. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn bind(args: &EmulatorArgs) -> Result<Self, StartError> {
        let identity = args.trust.identity(InstanceId(args.instance_id))?;
        let reporter = Reporter::new(identity, BootPoint::at(unix_ms(), 0));
        let instance = Arc::new(Instance::new(args, reporter)?);
        let reports = ReportSocket::bind(args.report_source, args.report_to.clone())
            .map_err(StartError::ReportSocket)?;
        let unbound = socket(args.listen).map_err(|source| StartError::Listen {
            address: args.listen,
            source,
        })?;
        if args.transit {
            // Before the first connection, of the largest length: see afr_endpoint::sockopt.
            let placeholder = instance.reply_header(unix_ms())?;
            sockopt::set_destination_options(&unbound, &placeholder)?;
        }
        let listen = || {
            let listener = unbound.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|source| StartError::Listen {
            address: args.listen,
            source,
        })?;
        Ok(Self {
            instance,
            listener,
            address,
            reports,
            report_interval: Duration::from_millis(args.report_interval_ms),
            heartbeat: Duration::from_millis(args.heartbeat_ms),
            transit: args.transit,
        })
    }

    /// The address and port it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready; then tells the AFRs that the instance takes no more work, and returns.
    ///
    /// # Errors
    ///
    /// The listener's.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let instance = &self.instance;
        let reports = report_loop(
            instance,
            &self.reports,
            self.report_interval,
            self.heartbeat,
        );
        let outcome = tokio::select! {
            outcome = http::serve(Arc::clone(instance), self.listener, self.transit) => outcome,
            () = engine_loop(instance) => Ok(()),
            () = reports => Ok(()),
            () = stop => Ok(()),
        };
        instance.drain();
        send_report(instance, &self.reports);
        outcome
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Inherited by accepted sockets: a token must not wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Lets the engine's time pass, and wakes whoever waits for what happened.
async fn engine_loop(instance: &Instance) {
    loop {
        let submitted = instance.submitted();
        match instance.advance() {
            // Once around the runtime, others' turn.
            Some(next) if next <= Instant::now() + AT_ONCE => yield_now().await,
            Some(next) => {
                let next = next.max(Instant::now() + LEAST_SLEEP);
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = submitted => {}
                }
            }
            None => submitted.await,
        }
    }
}

/// Reports what changed, not more often than every `interval`, and once every `heartbeat` in any case.
async fn report_loop(
    instance: &Instance,
    socket: &ReportSocket,
    interval: Duration,
    heartbeat: Duration,
) {
    if !socket.has_targets() {
        return std::future::pending().await;
    }
    let mut next_beat = Instant::now();
    loop {
        let is_due = timeout_at(next_beat, instance.changed()).await.is_err();
        if is_due || instance.has_unreported() {
            send_report(instance, socket);
            next_beat = Instant::now() + heartbeat;
        }
        sleep(interval).await;
    }
}

fn send_report(instance: &Instance, socket: &ReportSocket) {
    // A report that cannot be made is one with an impossible event, which the engine does not produce.
    if let Ok(report) = instance.datagram(unix_ms()) {
        instance.metrics().reported(socket.send(&report));
    }
}

/// Unix milliseconds now.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

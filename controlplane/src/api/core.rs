//! The control core as the API sees it: a thread that answers between two of its steps.
//!
//! The API sends closures through a bounded channel, [`CoreHandle`] to [`CoreInbox`]; the core runs a few of them after each
//! step. So the newest generation, the core's own books and its commands need no lock, and what the API does can hold up
//! the next generation by the length of one closure, a worker never.

use std::time::Duration;

use afr_dataplane::aft::Aft;
use afr_dataplane::id::{ClassIx, Now, Slot};
use afr_wire::InstanceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::ApiError;
use super::view::{ReloadView, StateCause};
use crate::config::Loaded;
use crate::registry::classes::ClassesExhausted;

/// Closures that may wait for the core.
const MOST_WAITING: usize = 64;
/// How long an answer of the core is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the control core shows.
pub trait CoreState {
    /// The time of the core's present step.
    fn now(&self) -> Now;

    /// The newest generation.
    fn aft(&self) -> &Aft;

    /// How publishing goes.
    fn publishing(&self) -> Publishing;

    /// What the core knows of the slot's tenant. The default for a free slot.
    fn standing(&self, slot: Slot) -> Standing;
}

/// What the control core does for an operator.
pub trait CoreControl: CoreState {
    /// Changes what may be sent to an instance, in force on every worker when this returns.
    ///
    /// # Errors
    /// [`Refusal::NotRegistered`].
    fn operate(&mut self, instance: InstanceId, operation: Operation) -> Result<(), Refusal>;

    /// Puts a checked configuration in force with the next generation, as the next revision. Everything stays as it was on an error. The ports'
    /// Ethernet addresses, which no file tells, stay those of the running configuration.
    ///
    /// # Errors
    /// All but [`Refusal::NotRegistered`].
    fn apply(&mut self, next: Loaded) -> Result<ReloadView, Refusal>;
}

/// How publishing goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Publishing {
    /// Number of the newest generation.
    pub epoch: u64,
    /// When it was published, microseconds of the monotonic clock.
    pub published_us: u64,
    /// Changes that no generation has yet.
    pub pending_ops: usize,
    /// Changes dropped or refused because too many waited.
    pub dropped_ops: u64,
    /// Times a worker kept the next generation waiting beyond the watchdog's time.
    pub stalls: u64,
    /// How long the next generation is being kept waiting, in microseconds; 0: it is not.
    pub stalled_us: u64,
    /// Whether that is beyond the watchdog's time.
    pub is_stuck: bool,
    /// Workers that have not taken up the newest generation.
    pub workers_behind: usize,
    /// Instances that wait for a slot.
    pub instances_waiting: usize,
}

/// What the core knows of an instance besides the AFT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Distinct reports received.
    pub reports: u64,
    /// Reports missing in their numbering.
    pub reports_lost: u64,
    /// Why its state is not simply "up".
    pub causes: Vec<StateCause>,
    /// Dispatches that workers had counted for the slot when it got it, by class, where there were any: its
    /// predecessors'. Workers count by slot, and nobody else may write where they do.
    pub predecessors: Vec<(ClassIx, u64)>,
}

/// What an operator does to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// No new flows.
    Drain,
    /// New flows again, whatever the file says.
    Undrain,
    /// Taken for dead.
    Down,
    /// No longer taken for dead, by an operator or for its silence.
    Up,
}

/// Why the core does not do what it is told. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such instance.
    #[error("instance {0} is not registered")]
    NotRegistered(InstanceId),
    /// The configuration differs in what only a start of `afrd` can change.
    #[error("a change of {} takes a restart of afrd", .keys.join(", "))]
    NeedsRestart {
        /// The keys, or sections.
        keys: Vec<&'static str>,
    },
    /// A worker is stuck, and as many changes wait for it as may.
    #[error("{waiting} changes wait for a stuck worker already")]
    Backlog {
        /// How many.
        waiting: usize,
    },
    /// There are more classes, counting those that are gone, than there may be.
    #[error(transparent)]
    Classes(ClassesExhausted),
    /// Someone holds the configuration already, so what the file does not tell cannot be entered.
    #[error("the configuration is in use already: it can be put in force only once")]
    Shared,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            reasons: vec![refusal.to_string()],
        }
    }
}

/// A closure on its way to the core.
type Call = Box<dyn FnOnce(&mut dyn CoreControl) + Send>;

/// The API's end. Clones share it.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    calls: mpsc::Sender<Call>,
}

/// The core's end.
#[derive(Debug)]
pub struct CoreInbox {
    calls: mpsc::Receiver<Call>,
}

/// A channel to a control core.
#[must_use]
pub fn channel() -> (CoreHandle, CoreInbox) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (CoreHandle { calls: sender }, CoreInbox { calls: receiver })
}

impl CoreHandle {
    /// Runs `look` on the core's thread.
    ///
    /// # Errors
    /// [`ApiError::CoreBusy`], [`ApiError::CoreSilent`].
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn CoreState) -> R + Send + 'static,
    ) -> Result<R, ApiError> {
        self.act(move |core| look(core)).await
    }

    /// Runs `act` on the core's thread, unless nobody waits for its result any more when its turn comes.
    ///
    /// # Errors
    /// [`ApiError::CoreBusy`], [`ApiError::CoreSilent`].
    pub async fn act<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut dyn CoreControl) -> R + Send + 'static,
    ) -> Result<R, ApiError> {
        const SILENT: ApiError = ApiError::CoreSilent {
            after_ms: PATIENCE.as_millis() as u64,
        };
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |core| {
            if !reply.is_closed() {
                // The other end may go while this runs; then the result is nobody's.
                let _ = reply.send(act(core));
            }
        });
        self.calls.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ApiError::CoreBusy {
                waiting: MOST_WAITING,
            },
            mpsc::error::TrySendError::Closed(_) => SILENT,
        })?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(SILENT),
        }
    }
}

impl CoreInbox {
    /// Runs up to `most` closures of those that wait, on the thread of `core`. Returns how many there were. Never waits.
    pub fn serve(&mut self, core: &mut impl CoreControl, most: usize) -> usize {
        for served in 0..most {
            let Ok(call) = self.calls.try_recv() else {
                return served;
            };
            call(core);
        }
        most
    }
}

//! Worker lcores: threads that the EAL started, each bound to its core, waiting for a closure.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::eal::{Eal, EalInner};
use crate::errno::Errno;

/// An lcore's id, as in the EAL's `--lcores`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// Any number makes an id; [`Eal::launch`] refuses one that is not a worker's.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The number.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A NUMA socket's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(i32);

impl SocketId {
    /// No socket in particular (`SOCKET_ID_ANY`).
    pub const ANY: Self = Self(-1);

    /// The socket with this number; anything negative is [`SocketId::ANY`].
    #[must_use]
    pub const fn new(index: i32) -> Self {
        if index < 0 { Self::ANY } else { Self(index) }
    }

    /// The number, -1 for [`SocketId::ANY`].
    #[must_use]
    pub const fn index(self) -> i32 {
        self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            f.write_str("any")
        } else {
            self.0.fmt(f)
        }
    }
}

/// Why a closure could not run on an lcore, or did not return.
#[derive(Debug, thiserror::Error)]
pub enum LcoreError {
    /// The lcore does not exist, or is the main one.
    #[error("lcore {lcore} is not a worker; workers are {workers:?}")]
    NotAWorker {
        /// The lcore asked for.
        lcore: LcoreId,
        /// Those there are.
        workers: Vec<LcoreId>,
    },
    /// `rte_eal_remote_launch` failed; [`Errno::BUSY`] while an earlier closure runs.
    #[error("lcore {lcore}: rte_eal_remote_launch: {errno}")]
    Launch {
        /// The lcore.
        lcore: LcoreId,
        /// DPDK's reason.
        errno: Errno,
    },
    /// The closure panicked.
    #[error("lcore {lcore}: panicked: {message}")]
    Panicked {
        /// The lcore.
        lcore: LcoreId,
        /// What it panicked with, where that was text.
        message: String,
    },
}

/// A closure on a worker lcore. Dropping the handle lets it run on, unobserved; the EAL then stays to the end of the
/// process unless another holder outlives the closure.
#[must_use = "a panic on the lcore is reported by join"]
pub struct LcoreHandle<T> {
    lcore: LcoreId,
    launch: u64,
    outcome: Arc<Outcome<T>>,
    eal: Arc<EalInner>,
}

/// Where the closure's result is left for the joiner.
struct Outcome<T> {
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
    ready: Condvar,
}

/// What travels to the lcore.
struct Job<F, T> {
    closure: F,
    outcome: Arc<Outcome<T>>,
    eal: Arc<EalInner>,
}

impl Eal {
    /// Runs `closure` on a worker lcore, which must be idle.
    ///
    /// # Errors
    /// [`LcoreError::NotAWorker`], [`LcoreError::Launch`]. The closure is dropped then.
    pub fn launch<F, T>(&self, lcore: LcoreId, closure: F) -> Result<LcoreHandle<T>, LcoreError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let workers = self.worker_lcores();
        if !workers.contains(&lcore) {
            return Err(LcoreError::NotAWorker { lcore, workers });
        }
        let outcome = Arc::new(Outcome {
            result: Mutex::new(None),
            ready: Condvar::new(),
        });
        let job = Job {
            closure,
            outcome: Arc::clone(&outcome),
            eal: Arc::clone(&self.inner),
        };
        let job = Box::into_raw(Box::new(job));

        // Two launches at once could both find the lcore idle.
        let mut control = self.inner.control.lock();
        // SAFETY: the EAL is up, the lcore is one of its workers and so has a thread that waits in DPDK's loop.
        // `run::<F, T>` takes the box it was made for, exactly once if the launch succeeds; F and T are Send and 'static.
        let returned = unsafe {
            dpdk_sys::rte_eal_remote_launch(Some(run::<F, T>), job.cast::<c_void>(), lcore.index())
        };
        match Errno::check(returned) {
            Ok(_) => {
                let launch = control
                    .launches
                    .entry(lcore)
                    .and_modify(|launch| *launch += 1)
                    .or_default();
                Ok(LcoreHandle {
                    lcore,
                    launch: *launch,
                    outcome,
                    eal: Arc::clone(&self.inner),
                })
            }
            Err(errno) => {
                // SAFETY: a failed launch has not passed the box on, so it is still ours alone.
                drop(unsafe { Box::from_raw(job) });
                Err(LcoreError::Launch { lcore, errno })
            }
        }
    }
}

/// The job on its lcore. A panic ends here: it must not unwind into DPDK's loop.
extern "C" fn run<F, T>(job: *mut c_void) -> c_int
where
    F: FnOnce() -> T,
{
    // SAFETY: `launch` made this pointer from a Box of exactly this type and has given it up; DPDK calls us once.
    let Job {
        closure,
        outcome,
        eal,
    } = *unsafe { Box::from_raw(job.cast::<Job<F, T>>()) };
    let result = panic::catch_unwind(AssertUnwindSafe(closure));
    *outcome.result.lock() = Some(result);
    outcome.ready.notify_all();
    drop(outcome);
    drop(eal);
    0
}

impl<T> LcoreHandle<T> {
    /// The lcore the closure runs on.
    #[must_use]
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// Whether [`LcoreHandle::join`] would return without waiting for the closure.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.result.lock().is_some()
    }

    /// Waits for the closure and returns what it returned. The lcore is idle again afterwards.
    ///
    /// # Errors
    /// [`LcoreError::Panicked`].
    pub fn join(self) -> Result<T, LcoreError> {
        let result = {
            let mut slot = self.outcome.result.lock();
            loop {
                match slot.take() {
                    Some(result) => break result,
                    None => self.outcome.ready.wait(&mut slot),
                }
            }
        };
        let control = self.eal.control.lock();
        // If a later closure was launched meanwhile, the lcore had come back into its loop for that. Otherwise it is on
        // its way, a few instructions; waiting for it leaves the lcore launchable, and makes the job give up its count
        // of the EAL before we give up ours.
        if control.launches.get(&self.lcore) == Some(&self.launch) {
            // SAFETY: the EAL is up (we hold a count) and the lcore is one of its workers.
            unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore.index()) };
        }
        drop(control);
        result.map_err(|payload| LcoreError::Panicked {
            lcore: self.lcore,
            message: panic_message(&*payload),
        })
    }
}

impl<T> fmt::Debug for LcoreHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LcoreHandle")
            .field("lcore", &self.lcore)
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// The text of a `panic!`, which is a `&str` or a `String`.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

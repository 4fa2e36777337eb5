//! The environment abstraction layer: DPDK's one initialisation of a process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::errno::Errno;
use crate::lcore::{LcoreId, SocketId};
use crate::ledger::LEDGER;
use crate::tsc;

/// Set by the first [`Eal::init`] and never cleared: DPDK cannot be initialised twice in a process, not even after its
/// clean-up.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// DPDK, initialised. Cheap to clone; DPDK is cleaned up when the last clone and the last object made from one are gone.
#[derive(Clone)]
pub struct Eal {
    pub(crate) inner: Arc<EalInner>,
}

/// Why DPDK did not start. What it has to say beyond this is on its own log (`--log-level`).
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// [`Eal::init`] was called before in this process, successfully or not.
    #[error("the EAL was initialised before; a process can do that once")]
    AlreadyInitialised,
    /// An argument holds a NUL byte, which C cannot pass.
    #[error("EAL argument {argument:?} contains a NUL byte")]
    NulInArgument {
        /// The argument.
        argument: String,
    },
    /// The EAL stopped reading here: this is neither an option nor the value of one.
    #[error("EAL argument {argument:?} is not an option")]
    NotAnOption {
        /// The argument.
        argument: String,
    },
    /// `rte_eal_init` failed.
    #[error("rte_eal_init: {errno}")]
    Init {
        /// DPDK's reason.
        errno: Errno,
    },
}

/// One count of this is "the EAL must stay": every object of this crate holds one.
pub(crate) struct EalInner {
    /// Serialises the calls that DPDK wants from one thread at a time: probing, opening, closing, launching.
    pub(crate) control: Mutex<Control>,
}

/// What only one thread at a time may look at or change.
#[derive(Default)]
pub(crate) struct Control {
    /// DPDK ids of the ports that have an owner, with the name of the device each is on.
    pub(crate) open_ports: BTreeMap<u16, String>,
    /// Closures launched on each lcore so far.
    pub(crate) launches: BTreeMap<LcoreId, u64>,
}

impl Eal {
    /// Initialises DPDK with `args` (options only, without the program's name in front).
    ///
    /// The calling thread becomes the main lcore and is bound to its core; threads it starts later inherit that binding.
    /// The worker lcores' threads start and wait for [`Eal::launch`].
    ///
    /// The arguments are trusted: they are configuration, not input (see the crate documentation).
    ///
    /// # Errors
    /// [`EalError`]; a second call in the same process is one.
    pub fn init(args: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, EalError> {
        let mut argv = vec![program_name()];
        for argument in args {
            let argument = argument.as_ref();
            let c_string = CString::new(argument).map_err(|_| EalError::NulInArgument {
                argument: argument.to_owned(),
            })?;
            argv.push(c_string);
        }
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyInitialised);
        }

        let argc = argv.len();
        // DPDK and its drivers may keep pointers to what they were given, so it is never freed. It is a few hundred
        // bytes, once.
        let argv = argv
            .into_iter()
            .map(CString::into_raw)
            .chain([ptr::null_mut()]);
        let argv: &'static mut [*mut c_char] = argv.collect::<Vec<_>>().leak();

        // SAFETY: argv holds argc C strings and a null pointer, all of which live as long as the process. TAKEN makes this the
        // only call of the process.
        let parsed = unsafe { dpdk_sys::rte_eal_init(argc as c_int, argv.as_mut_ptr()) };
        if parsed < 0 {
            return Err(EalError::Init {
                errno: Errno::last(),
            });
        }
        let eal = Self {
            inner: Arc::new(EalInner {
                control: Mutex::default(),
            }),
        };

        // rte_eal_init has moved what it could not use to the end of argv, after a copy of the program's name.
        match argv[..argc].get(parsed as usize + 1) {
            None => Ok(eal),
            Some(&leftover) => {
                // SAFETY: one of the first argc entries of argv, which rte_eal_init permutes and does not free.
                let argument = unsafe { CStr::from_ptr(leftover) };
                Err(EalError::NotAnOption {
                    argument: argument.to_string_lossy().into_owned(),
                })
            }
        }
    }

    /// The lcore of the thread that called [`Eal::init`].
    #[must_use]
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: the EAL is up.
        LcoreId::new(unsafe { dpdk_sys::rte_get_main_lcore() })
    }

    /// The lcores that [`Eal::launch`] can run a closure on, in ascending order.
    #[must_use]
    pub fn worker_lcores(&self) -> Vec<LcoreId> {
        let mut workers = Vec::new();
        let mut lcore = u32::MAX;
        loop {
            // SAFETY: the EAL is up. The search starts at lcore + 1, which wraps to 0 at first; it skips the main lcore
            // and does not wrap round at the end.
            lcore = unsafe { dpdk_sys::rte_get_next_lcore(lcore, 1, 0) };
            if lcore >= dpdk_sys::DPDK_SYS_MAX_LCORE {
                return workers;
            }
            workers.push(LcoreId::new(lcore));
        }
    }

    /// The NUMA sockets that lcores of this process are on, in ascending order.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketId> {
        let lcores = self.worker_lcores().into_iter().chain([self.main_lcore()]);
        let mut sockets: Vec<_> = lcores.map(|lcore| self.socket_of(lcore)).collect();
        sockets.sort_unstable();
        sockets.dedup();
        sockets
    }

    /// The NUMA socket of an lcore; [`SocketId::ANY`] for one that does not exist.
    #[must_use]
    pub fn socket_of(&self, lcore: LcoreId) -> SocketId {
        if lcore.index() >= dpdk_sys::DPDK_SYS_MAX_LCORE {
            return SocketId::ANY;
        }
        // SAFETY: the EAL is up and the id lies within its table of lcores.
        SocketId::new(unsafe { dpdk_sys::rte_lcore_to_socket_id(lcore.index()) } as i32)
    }

    /// Whether memory comes from huge pages (`--no-huge` says no).
    #[must_use]
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: the EAL is up.
        unsafe { dpdk_sys::rte_eal_has_hugepages() != 0 }
    }

    /// Ticks a second of [`tsc::rdtsc`].
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: the EAL is up.
        tsc::PORTABLE_HZ.unwrap_or_else(|| unsafe { dpdk_sys::rte_get_tsc_hz() })
    }

    /// DPDK's name and release, such as `DPDK 22.11.11`.
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: returns a string that DPDK never frees.
        unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }
            .to_string_lossy()
            .into_owned()
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal")
            .field("main_lcore", &self.main_lcore())
            .finish_non_exhaustive()
    }
}

impl Drop for EalInner {
    /// Gives the EAL's memory back, where that is safe; otherwise the process's end does.
    fn drop(&mut self) {
        // SAFETY: thread-local reads while the EAL is up.
        let (lcore, main) = unsafe {
            (
                dpdk_sys::dpdk_sys_lcore_id(),
                dpdk_sys::rte_get_main_lcore(),
            )
        };
        // A worker lcore's thread runs in DPDK's own loop, which cannot go on without the EAL.
        let on_worker = lcore < dpdk_sys::DPDK_SYS_MAX_LCORE && lcore != main;
        if on_worker || !LEDGER.is_settled() {
            return;
        }
        // SAFETY: this was the last count of the EAL, so no queue, port, pool handle or running closure exists; the
        // ledger is settled, so no mbuf does (proof in its module). Nothing of ours points into the EAL's memory,
        // and nothing can call DPDK again: Eal::init refuses.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// What DPDK shows in front of its log lines.
fn program_name() -> CString {
    env::args()
        .next()
        .and_then(|name| CString::new(name).ok())
        .unwrap_or_else(|| c"dpdk".to_owned())
}

//! Pools of packet buffers.

use std::ffi::CString;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_mempool;

use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::lcore::SocketId;
use crate::ledger::LEDGER;
use crate::mbuf::Mbuf;

/// Bytes in front of each packet, for headers put on later.
const HEADROOM_BYTES: u16 = dpdk_sys::DPDK_SYS_HEADROOM;

/// A pool's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Number of buffers. One less than a power of two uses memory best.
    pub mbufs: u32,
    /// Buffers each lcore keeps to itself, at most 512 and at most two thirds of `mbufs`; 0 for none.
    pub cache: u32,
    /// Bytes of packet data a buffer takes, the headroom of 128 bytes in front not counted; at most 65,407.
    pub data_room: u16,
    /// The NUMA socket whose memory is used.
    pub socket: SocketId,
}

impl Default for MempoolConfig {
    /// 8,191 buffers of 2,048 bytes, 256 of them cached by each lcore, on any socket.
    fn default() -> Self {
        Self {
            mbufs: 8_191,
            cache: 256,
            data_room: 2_048,
            socket: SocketId::ANY,
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// The name is empty, longer than 25 bytes, or holds a NUL byte.
    #[error("mempool {pool:?}: a name has 1 to {limit} bytes, none of them NUL")]
    Name {
        /// The name asked for.
        pool: String,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// Headroom and data do not fit the 16 bits that DPDK has for a buffer's length.
    #[error("mempool {pool}: data_room is {asked} bytes; at most {limit}")]
    DataRoom {
        /// The pool.
        pool: String,
        /// What was asked for, in bytes.
        asked: u16,
        /// The most there can be, in bytes.
        limit: u16,
    },
    /// The cache is larger than DPDK's limit, or than two thirds of the pool.
    #[error("mempool {pool}: cache is {asked} mbufs; at most {limit}")]
    Cache {
        /// The pool.
        pool: String,
        /// What was asked for.
        asked: u32,
        /// The most there can be for this number of mbufs.
        limit: u32,
    },
    /// `rte_pktmbuf_pool_create` failed, most often for want of memory, or because the name is taken.
    #[error("mempool {pool}: rte_pktmbuf_pool_create: {errno}")]
    Create {
        /// The pool.
        pool: String,
        /// DPDK's reason.
        errno: Errno,
    },
}

/// A pool of packet buffers; a cheap handle, to clone and to use from any thread.
///
/// The pool itself lives as long as the EAL, whose memory it is (see the crate documentation): dropping the last handle
/// does not free it, and its name stays taken.
#[derive(Clone)]
pub struct Mempool {
    inner: Arc<Inner>,
}

struct Inner {
    pool: NonNull<rte_mempool>,
    name: String,
    config: MempoolConfig,
    _eal: Arc<EalInner>,
}

// SAFETY: a mempool of the default kind may be used by any number of threads at once, and `pool` is valid on all of them
// while `_eal` is held.
unsafe impl Send for Inner {}
// SAFETY: as for Send.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool of this name, which must be new in the process.
    ///
    /// # Errors
    /// [`MempoolError`].
    pub fn create(eal: &Eal, name: &str, config: &MempoolConfig) -> Result<Self, MempoolError> {
        let c_name = check(name, config)?;
        let control = eal.inner.control.lock();
        // SAFETY: the EAL is up, the name is a C string that DPDK copies, and the buffer's size was checked not to pass
        // 16 bits. Private area: none.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                config.mbufs,
                config.cache,
                0,
                HEADROOM_BYTES + config.data_room,
                config.socket.index(),
            )
        };
        let pool = NonNull::new(pool).ok_or_else(|| MempoolError::Create {
            pool: name.to_owned(),
            errno: Errno::last(),
        })?;
        drop(control);
        let inner = Inner {
            pool,
            name: name.to_owned(),
            config: config.clone(),
            _eal: Arc::clone(&eal.inner),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// An empty packet with the whole headroom in front; `None` when the pool has no buffer left.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is live. The second call reads a thread-local integer.
        let (mbuf, lcore) = unsafe {
            (
                dpdk_sys::dpdk_sys_pktmbuf_alloc(self.as_ptr()),
                dpdk_sys::dpdk_sys_lcore_id(),
            )
        };
        let mbuf = NonNull::new(mbuf)?;
        LEDGER.enter(lcore, 1);
        // SAFETY: rte_pktmbuf_alloc hands out a reset mbuf of one segment with a reference count of 1.
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Buffers in the pool now, those in the lcores' caches included. Exact only while no other thread takes or gives;
    /// walks all caches, so not for the packet path.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is live.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Buffers in all.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.inner.config.mbufs
    }

    /// Bytes of packet data a buffer takes, headroom not counted.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.inner.config.data_room
    }

    /// The NUMA socket asked for.
    #[must_use]
    pub fn socket(&self) -> SocketId {
        self.inner.config.socket
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.inner.pool.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("name", &self.name())
            .field("config", &self.inner.config)
            .finish()
    }
}

/// Checks what DPDK would answer with a bare "Invalid argument".
fn check(name: &str, config: &MempoolConfig) -> Result<CString, MempoolError> {
    // DPDK's size counts the NUL at the end.
    let limit = dpdk_sys::DPDK_SYS_MEMPOOL_NAME_SIZE - 1;
    let c_name = CString::new(name)
        .ok()
        .filter(|_| (1..=limit).contains(&name.len()));
    let c_name = c_name.ok_or_else(|| MempoolError::Name {
        pool: name.to_owned(),
        limit,
    })?;

    let limit = u16::MAX - HEADROOM_BYTES;
    if config.data_room > limit {
        return Err(MempoolError::DataRoom {
            pool: name.to_owned(),
            asked: config.data_room,
            limit,
        });
    }
    // DPDK flushes a cache at one and a half times its size, and wants that to fit the pool.
    let limit = dpdk_sys::DPDK_SYS_MEMPOOL_CACHE_MAX.min((u64::from(config.mbufs) * 2 / 3) as u32);
    if config.cache > limit {
        return Err(MempoolError::Cache {
            pool: name.to_owned(),
            asked: config.cache,
            limit,
        });
    }
    Ok(c_name)
}

/// One pool on every NUMA socket that has lcores, so that a port's buffers lie next to it.
#[derive(Debug, Clone)]
pub struct SocketPools {
    first: Mempool,
    others: Vec<Mempool>,
}

impl SocketPools {
    /// Makes a pool `<prefix>_<socket>` of this shape on every socket; `config.socket` is replaced.
    ///
    /// # Errors
    /// [`MempoolError`] of the first pool that could not be made.
    pub fn create(eal: &Eal, prefix: &str, config: &MempoolConfig) -> Result<Self, MempoolError> {
        let on_socket = |socket: SocketId| {
            let config = MempoolConfig {
                socket,
                ..config.clone()
            };
            Mempool::create(eal, &format!("{prefix}_{socket}"), &config)
        };
        let main = eal.socket_of(eal.main_lcore());
        let first = on_socket(main)?;
        let others = eal.sockets().into_iter().filter(|&socket| socket != main);
        Ok(Self {
            first,
            others: others.map(on_socket).collect::<Result<_, _>>()?,
        })
    }

    /// The pool on `socket`; for a socket without one, such as [`SocketId::ANY`], the main lcore's.
    #[must_use]
    pub fn on(&self, socket: SocketId) -> &Mempool {
        self.others
            .iter()
            .find(|pool| pool.socket() == socket)
            .unwrap_or(&self.first)
    }

    /// All pools.
    pub fn iter(&self) -> impl Iterator<Item = &Mempool> {
        [&self.first].into_iter().chain(&self.others)
    }
}

//! Rings of packets between two threads: one sends, one receives, neither waits (`rte_ring`, SP/SC).

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::rte_ring;

use crate::eal::{Eal, EalInner};
use crate::errno::Errno;
use crate::lcore::SocketId;
use crate::mbuf::{Mbuf, free_burst};

/// Makes a type `Send` but not `Sync`.
type NotSync = PhantomData<Cell<()>>;

/// The longest name of a ring, in bytes; DPDK's size counts the NUL at the end.
const NAME_LIMIT: usize = dpdk_sys::DPDK_SYS_RING_NAME_SIZE - 1;

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The name is empty, too long, or holds a NUL byte.
    #[error("ring {ring:?}: a name has 1 to {limit} bytes, none of them NUL")]
    Name {
        /// The name asked for.
        ring: String,
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// No packet would fit, or more than DPDK can number.
    #[error("ring {ring}: capacity is {asked} packets; 1 to {limit}")]
    Capacity {
        /// The ring.
        ring: String,
        /// What was asked for.
        asked: u32,
        /// The most there can be.
        limit: u32,
    },
    /// `rte_ring_create` failed, most often because the name is taken, or for want of memory.
    #[error("ring {ring}: rte_ring_create: {errno}")]
    Create {
        /// The ring.
        ring: String,
        /// DPDK's reason.
        errno: Errno,
    },
}

/// The end of a ring that packets go into; one thread's at a time.
pub struct RingSender {
    inner: Arc<Inner>,
    _not_sync: NotSync,
}

/// The end of a ring that packets come out of, in the order in which they went in; one thread's at a time.
pub struct RingReceiver {
    inner: Arc<Inner>,
    _not_sync: NotSync,
}

/// The ring. Every pointer in it is an [`Mbuf`] that was moved in and has not been moved out.
struct Inner {
    ring: NonNull<rte_ring>,
    name: String,
    _eal: Arc<EalInner>,
}

// SAFETY: `ring` is valid on every thread while `_eal` is held, and what it holds are Mbufs, which are Send. The ring's two
// ends keep their indices on cache lines of their own, published with release and read with acquire.
unsafe impl Send for Inner {}
// SAFETY: as for Send. Through `&Inner` this module makes one enqueue at a time (RingSender: not Clone, not Sync, `&mut`) and
// one dequeue at a time (RingReceiver likewise), which is what SP/SC asks for; `count` only reads.
unsafe impl Sync for Inner {}

/// Makes a ring of this name, which must be new in the process, for exactly `capacity` packets.
///
/// It is freed with the second of its ends; packets that are in it then go back to their pools.
///
/// # Errors
/// [`RingError`].
pub fn ring(
    eal: &Eal,
    name: &str,
    capacity: u32,
    socket: SocketId,
) -> Result<(RingSender, RingReceiver), RingError> {
    let c_name = CString::new(name)
        .ok()
        .filter(|_| (1..=NAME_LIMIT).contains(&name.len()));
    let c_name = c_name.ok_or_else(|| RingError::Name {
        ring: name.to_owned(),
        limit: NAME_LIMIT,
    })?;
    // Room is rounded up to a power of two above the capacity, which must be numbered as well.
    let limit = dpdk_sys::DPDK_SYS_RING_SIZE_MAX / 2;
    if !(1..=limit).contains(&capacity) {
        return Err(RingError::Capacity {
            ring: name.to_owned(),
            asked: capacity,
            limit,
        });
    }
    // SAFETY: the EAL is up, and DPDK copies the name. The flags say one producer, one consumer, and a size that need not be
    // a power of two.
    let ring = unsafe {
        dpdk_sys::rte_ring_create(
            c_name.as_ptr(),
            capacity,
            socket.index(),
            dpdk_sys::DPDK_SYS_RING_FLAGS,
        )
    };
    let ring = NonNull::new(ring).ok_or_else(|| RingError::Create {
        ring: name.to_owned(),
        errno: Errno::last(),
    })?;
    let inner = Arc::new(Inner {
        ring,
        name: name.to_owned(),
        _eal: Arc::clone(&eal.inner),
    });
    let receiver = RingReceiver {
        inner: Arc::clone(&inner),
        _not_sync: PhantomData,
    };
    let sender = RingSender {
        inner,
        _not_sync: PhantomData,
    };
    Ok((sender, receiver))
}

impl RingSender {
    /// Moves packets in, from the front of `from`. What there is no room for stays, in order. Returns how many went.
    #[inline]
    pub fn send<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        let held = from.len();
        // SAFETY: the ring is live and `&mut self` of the only sender makes this its only enqueue. An Mbuf is a transparent
        // pointer, so `from` is `held` pointers, which DPDK copies. The first `sent <= held` are the ring's then: they are
        // overwritten by those behind them and the length is cut by their number, so they are neither dropped nor seen
        // again here; nothing in between can panic.
        unsafe {
            let first = from.as_mut_ptr();
            let sent = dpdk_sys::dpdk_sys_ring_sp_enqueue_burst(
                self.inner.ring.as_ptr(),
                first.cast::<*mut c_void>(),
                held as u32,
            ) as usize;
            if sent != held {
                first.copy_from(first.add(sent), held - sent);
            }
            from.set_len(held - sent);
            sent
        }
    }
}

impl RingReceiver {
    /// Moves packets out and appends them to `into`, as many as it has room for. Returns how many, 0 if there are none.
    #[inline]
    pub fn receive<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        self.inner.receive(into)
    }

    /// Packets in the ring now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        // SAFETY: the ring is live; this reads its indices.
        unsafe { dpdk_sys::dpdk_sys_ring_count(self.inner.ring.as_ptr()) as usize }
    }
}

impl Inner {
    /// Called by the one receiver, or by the last owner of all.
    #[inline]
    fn receive<const N: usize>(&self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let (held, room) = (into.len(), into.remaining_capacity());
        // SAFETY: the ring is live and this is its only dequeue (see the callers). DPDK writes at most `room` pointers behind
        // the `held` there are, within the array. Each is an Mbuf that was moved in, and the ring forgets it, so it has one
        // owner again; the release and acquire of the ring's indices make all that the sender did to it visible.
        unsafe {
            let free = into.as_mut_ptr().add(held).cast::<*mut c_void>();
            let received =
                dpdk_sys::dpdk_sys_ring_sc_dequeue_burst(self.ring.as_ptr(), free, room as u32);
            into.set_len(held + received as usize);
            received as usize
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Both ends are gone, and the Arc's synchronisation orders what they did before this.
        let mut left = ArrayVec::<Mbuf, 64>::new();
        while self.receive(&mut left) != 0 {
            free_burst(&mut left);
        }
        // SAFETY: the ring is ours alone, empty, and not used again; the EAL is up while `_eal` is held.
        unsafe { dpdk_sys::rte_ring_free(self.ring.as_ptr()) };
    }
}

impl fmt::Debug for RingSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingSender({})", self.inner.name)
    }
}

impl fmt::Debug for RingReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingReceiver({})", self.inner.name)
    }
}

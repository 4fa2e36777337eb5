//! Receive and transmit queues: the calls of the packet path.
//!
//! A queue is `Send`, not `Sync`, and its calls take `&mut self`: DPDK leaves it to the program that no two threads are in
//! one queue at a time, and here the compiler sees to that.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use crate::ledger::LEDGER;
use crate::mbuf::Mbuf;
use crate::port::PortInner;

/// Makes a type `Send` but not `Sync`.
type NotSync = PhantomData<Cell<()>>;

/// One receive queue of a started port, owned.
pub struct RxQueue {
    port_id: u16,
    index: u16,
    received: u64,
    port: Arc<PortInner>,
    _not_sync: NotSync,
}

/// One transmit queue of a started port, owned.
pub struct TxQueue {
    port_id: u16,
    index: u16,
    multi_segment: bool,
    taken: u64,
    taken_bytes: u64,
    rejected: u64,
    port: Arc<PortInner>,
    _not_sync: NotSync,
}

impl RxQueue {
    /// The owner of queue `index` of a port that has just been started with more than `index` receive queues. The
    /// caller makes one only.
    pub(crate) fn new(port: &Arc<PortInner>, index: u16) -> Self {
        Self {
            port_id: port.id(),
            index,
            received: 0,
            port: Arc::clone(port),
            _not_sync: PhantomData,
        }
    }

    /// Takes waiting packets and appends them to `into`, as many as it has room for. Returns how many, 0 if none waits.
    ///
    /// Several drivers look at their queue only if there is room for 4 or 8 packets, and some round a burst down to a
    /// multiple of that: give 32 or more.
    #[inline]
    pub fn receive<const N: usize>(&mut self, into: &mut ArrayVec<Mbuf, N>) -> usize {
        let room = into.remaining_capacity().min(u16::MAX.into()) as u16;
        let held = into.len();
        // SAFETY: the port is started and stays so while `self.port` is held; the queue exists and `&mut self` makes
        // this its only call. An Mbuf is a transparent pointer: the driver writes at most `room` of them behind the
        // `held` there are, within the array, and each is the first segment of a chain that nothing else refers to.
        let received = unsafe {
            let free = into.as_mut_ptr().add(held).cast::<*mut rte_mbuf>();
            let received = usize::from(dpdk_sys::dpdk_sys_eth_rx_burst(
                self.port_id,
                self.index,
                free,
                room,
            ));
            into.set_len(held + received);
            received
        };
        self.received += received as u64;
        received
    }

    /// The queue's index on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// DPDK's number of the port, which is [`Mbuf::port`] of what is received here.
    #[must_use]
    pub fn port_id(&self) -> u16 {
        self.port_id
    }

    /// Packets received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }
}

/// What packets come to.
#[derive(Clone, Copy, Default)]
struct Sizes {
    /// In the lowest 32 bits their bytes, which are fewer than 4 GiB: [`TxQueue::transmit`] takes few enough packets for each to have
    /// a megabyte.
    lengths: u64,
    /// In the lowest 16 bits their numbers of segments, or-ed together.
    segments: u32,
}

impl Sizes {
    const fn bytes(self) -> u64 {
        self.lengths as u32 as u64
    }

    /// Whether one has several segments: each has one at least.
    const fn any_chains(self) -> bool {
        self.segments as u16 > 1
    }
}

impl TxQueue {
    /// The owner of queue `index` of a port that has just been started with more than `index` transmit queues. The
    /// caller makes one only.
    pub(crate) fn new(port: &Arc<PortInner>, index: u16, multi_segment: bool) -> Self {
        Self {
            port_id: port.id(),
            index,
            multi_segment,
            taken: 0,
            taken_bytes: 0,
            rejected: 0,
            port: Arc::clone(port),
            _not_sync: PhantomData,
        }
    }

    /// Hands packets to the driver, from the front of `from`. What it takes is gone from `from`; what it has no room for
    /// stays, in order. Returns how many it took.
    ///
    /// Chained packets on a port without [`TxOffloads::MULTI_SEGMENT`](crate::TxOffloads::MULTI_SEGMENT) would make the
    /// driver send only a part, or read past it: they are freed before, and counted ([`TxQueue::rejected`]).
    #[inline]
    pub fn transmit<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) -> usize {
        const { assert!(N <= 1 << 12, "their bytes are added up in 32 bits") };
        let mut sizes = Self::sizes_of(from);
        if !self.multi_segment && sizes.any_chains() {
            self.reject_chains(from);
            sizes = Self::sizes_of(from);
        }
        let held = from.len();
        let offered = held.min(u16::MAX.into()) as u16;
        // SAFETY: the port is started and stays so while `self.port` is held; the queue exists and `&mut self` makes
        // this its only call. An Mbuf is a transparent pointer: the driver reads `offered` chains, each ours alone, and
        // takes the first `taken <= offered`, which are then no longer ours. They are overwritten by those behind them and
        // the length is cut by their number, so they are neither dropped nor seen again; nothing in between can panic.
        let taken = unsafe {
            let first = from.as_mut_ptr();
            let mbufs = first.cast::<*mut rte_mbuf>();
            let taken = usize::from(dpdk_sys::dpdk_sys_eth_tx_burst(
                self.port_id,
                self.index,
                mbufs,
                offered,
            ));
            if taken != held {
                first.copy_from(first.add(taken), held - taken);
            }
            from.set_len(held - taken);
            taken
        };
        self.taken += taken as u64;
        self.taken_bytes += sizes.bytes();
        if taken != held {
            self.taken_bytes -= Self::sizes_of(from).bytes();
        }
        taken
    }

    /// The queue's index on its port.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn port_id(&self) -> u16 {
        self.port_id
    }

    /// Packets the driver took so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Their bytes.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// Chained packets freed so far because the port sends single segments only.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What the packets come to, read in one go.
    #[inline(always)]
    fn sizes_of(mbufs: &[Mbuf]) -> Sizes {
        mbufs.iter().fold(Sizes::default(), |sizes, mbuf| {
            let (lengths, segments) = mbuf.sizes();
            Sizes {
                lengths: sizes.lengths.wrapping_add(lengths),
                segments: sizes.segments | segments,
            }
        })
    }

    #[cold]
    fn reject_chains<const N: usize>(&mut self, from: &mut ArrayVec<Mbuf, N>) {
        let held = from.len();
        from.retain(|mbuf| mbuf.segments() == 1);
        self.rejected += (held - from.len()) as u64;
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        LEDGER.close_queue(self.received, 0);
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        LEDGER.close_queue(0, self.taken);
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({}, {})", self.port.name(), self.index)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({}, {})", self.port.name(), self.index)
    }
}

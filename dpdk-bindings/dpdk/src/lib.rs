//! Safe owners for DPDK's EAL, mempools, mbufs, ports, queues and lcores.
//!
//! | type | owns | gives up |
//! |---|---|---|
//! | [`Eal`] | DPDK's one initialisation of this process | with the last handle, once no mbuf is left |
//! | [`Mempool`] | a pool of packet buffers | with the EAL |
//! | [`Mbuf`] | one packet | when dropped, or taken by a transmit queue |
//! | [`Port`] | an Ethernet device | stopped and closed with the last of its handle and queues |
//! | [`RxQueue`], [`TxQueue`] | one queue; one thread at a time | with the port |
//! | [`RingSender`], [`RingReceiver`] | the ends of a ring, and what is in it | with the second end |
//! | [`LcoreHandle`] | a closure running on a worker core | joined |
//! | [`wait::Waiter`] | duplicates of the packet sockets it waits for | closed when dropped |
//!
//! A burst is an `ArrayVec<Mbuf, N>`: an [`Mbuf`] is one pointer wide, so the driver reads and writes the array itself.
//!
//! # What keeps memory alive
//!
//! An mbuf is one pointer and counts no references, and yet no safe program can outlive the memory it points to:
//!
//! 1. Pools live in the EAL's memory and are never freed singly; `rte_eal_cleanup` frees them all at once.
//! 2. `Eal`, `Mempool`, `Port`, `RxQueue`, `TxQueue`, rings and running closures each hold a count of the EAL, so clean-up
//!    cannot start while anything exists that could bring a new mbuf into the program.
//!    An mbuf in a ring is the program's still: it goes out when it is received and dropped, or with the ring.
//! 3. Mbufs that came into the program and mbufs that left it are counted (module `ledger`). When the last holder of the
//!    EAL goes and the two sums are equal, no mbuf exists and clean-up runs. When they differ, some thread still
//!    holds an mbuf: the memory stays until the process ends.
//!
//! # What is trusted
//!
//! DPDK itself, its drivers, and the EAL's arguments: they say which devices to load, and a command line can ask
//! DPDK for things that no type can check (two `net_ring` devices producing into one single-producer ring, say).
//! Another process that shares the EAL's memory is trusted likewise.
//!
//! # Without DPDK
//!
//! With `default-features = false` the crate links nothing and offers [`prefetch`], [`tsc`], [`vector`], [`carryless`], [`aes_hash`], [`HugeSlice`], [`HashedSlice`] and [`HashedView`] alone, for packet
//! code that also runs in tests, fuzzers and replays.
//!
//! # Example
//!
//! ```no_run
//! # #[cfg(feature = "eal")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use arrayvec::ArrayVec;
//! use dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig};
//!
//! let eal = Eal::init(["--no-huge", "-m", "256", "--vdev=net_null0"])?;
//! let pool = Mempool::create(&eal, "packets", &MempoolConfig::default())?;
//! let (port, mut rx, mut tx) = Port::open(&eal, "net_null0", &PortConfig::new(pool))?;
//! let mut burst = ArrayVec::<Mbuf, 32>::new();
//! rx[0].receive(&mut burst);
//! tx[0].transmit(&mut burst);
//! println!("{}: {:?}", port.name(), port.stats()?);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "eal"))]
//! # fn main() {}
//! ```

pub mod aes_hash;
pub mod carryless;
mod huge_slice;
pub mod prefetch;
pub mod tsc;
pub mod vector;

#[cfg(feature = "eal")]
mod eal;
#[cfg(feature = "eal")]
mod errno;
#[cfg(feature = "hash")]
mod hash;
#[cfg(feature = "eal")]
mod lcore;
#[cfg(feature = "eal")]
mod ledger;
#[cfg(feature = "eal")]
mod mbuf;
#[cfg(feature = "eal")]
mod mempool;
#[cfg(feature = "eal")]
mod port;
#[cfg(feature = "eal")]
mod queue;
#[cfg(feature = "eal")]
mod ring;
#[cfg(feature = "eal")]
pub mod wait;

#[cfg(feature = "hash")]
pub use self::hash::{HashConfig, HashError, HashTable};
pub use self::huge_slice::{HashedSlice, HashedView, HugeSlice};
#[cfg(feature = "eal")]
pub use self::{
    eal::{Eal, EalError},
    errno::Errno,
    lcore::{LcoreError, LcoreHandle, LcoreId, SocketId},
    mbuf::{L4Checksum, Mbuf, free_burst},
    mempool::{Mempool, MempoolConfig, MempoolError, SocketPools},
    port::{
        Applied, Direction, Link, Offloads, Port, PortConfig, PortError, RssConfig, RssTypes,
        RxOffloads, Setting, Stats, TxOffloads,
    },
    queue::{RxQueue, TxQueue},
    ring::{RingError, RingReceiver, RingSender, ring},
};

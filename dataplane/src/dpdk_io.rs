//! The receive and transmit loop of a worker on DPDK.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arrayvec::ArrayVec;
use dpdk::wait::Waiter;
use dpdk::{Mbuf, Mempool, RingSender, RxQueue, TxQueue, free_burst};

use crate::aft::Aft;
use crate::aft::epoch::Reader;
use crate::clock::Clock;
use crate::counters::{Figure, MAX_PORTS};
use crate::handoff::{Handoff, Lanes};
use crate::id::{Now, PortIx, WorkerId};
use crate::message::Shared;
use crate::packet::{PacketBuf, PacketPool};
use crate::path::{BURST, BURSTS_A_ROUND, Burst, Egress};
use crate::worker::{Peers, Worker};

impl PacketBuf for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        Self::data(self)
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        Self::data_mut(self)
    }

    #[inline(always)]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        Self::prepend(self, n)?;
        Some(Self::data_mut(self))
    }

    #[inline(always)]
    fn prepend_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]> {
        Self::prepend_head(self, n)
    }

    #[inline(always)]
    fn has_headroom(&self, n: usize) -> bool {
        self.headroom() >= n
    }

    #[inline(always)]
    fn adj(&mut self, n: usize) -> bool {
        Self::adj(self, n)
    }

    #[inline(always)]
    fn adj_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]> {
        Self::adj_head(self, n)
    }

    #[inline(always)]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        Self::append(self, n)?;
        Some(Self::data_mut(self))
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> bool {
        Self::truncate(self, len)
    }

    #[inline(always)]
    fn is_contiguous(&self) -> bool {
        self.segments() == 1
    }
}

impl PacketPool for Mempool {
    type Buf = Mbuf;

    fn alloc(&mut self) -> Option<Mbuf> {
        Self::alloc(self)
    }
}

/// What a worker does when there is nothing to receive.
#[derive(Debug)]
pub enum Idle {
    /// Asks again at once: lowest latency, a core in full.
    Spin,
    /// After so many empty rounds, sleeps for so many microseconds between rounds: for machines that have other work
    /// for the core.
    Sleep(u32, u32),
    /// The same, but where all that it receives comes by sockets it sleeps until something comes, at most [`WAIT`] between
    /// rounds. Where that fails, so many microseconds.
    Wait(u32, u32, Waiter),
}

/// The longest that a worker waits for packets: what else there is to do, generations and peers' news, waits as long.
pub const WAIT: Duration = Duration::from_millis(1);

/// Everything a worker's loop is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Which worker.
    pub id: WorkerId,
    /// Receive queues, of which a port may have none for this worker.
    pub rx: Vec<(PortIx, RxQueue)>,
    /// Ways out, by port.
    pub tx: Vec<WayOut>,
    /// Steering between workers; `None`: what a worker receives is its own.
    pub handoff: Option<Handoff>,
    /// What other workers send through this one's queues.
    pub lanes: Lanes,
    /// Where packets of the AFR's own come from.
    pub pool: Mempool,
    /// Its view of the AFT.
    pub reader: Reader<Aft>,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// What all workers share.
    pub peers: Peers<Mbuf>,
    /// What to do when idle.
    pub idle: Idle,
    /// The clock.
    pub clock: Clock,
    /// Random per process.
    pub seeds: [u64; 4],
}

/// How a worker's packets get to a port.
#[derive(Debug)]
pub enum WayOut {
    /// By a transmit queue of its own.
    Queue(TxQueue),
    /// Through a worker that has one.
    Lane(RingSender),
}

impl WayOut {
    /// Hands over packets from the front of `from`.
    #[inline]
    fn transmit(&mut self, from: &mut ArrayVec<Mbuf, BURST>) {
        match self {
            Self::Queue(queue) => queue.transmit(from),
            Self::Lane(ring) => ring.send(from),
        };
    }

    /// Packets sent so far, and their bytes. What goes through another worker is counted there.
    fn sent(&self) -> (u64, u64) {
        match self {
            Self::Queue(queue) => (queue.taken(), queue.taken_bytes()),
            Self::Lane(_) => (0, 0),
        }
    }

    /// Hands over the packets, and returns for how many there was no room. What the driver does not take at the second attempt
    /// is dropped: a worker never waits.
    #[inline]
    fn flush(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) -> u64 {
        if packets.is_empty() {
            return 0;
        }
        self.transmit(packets);
        if !packets.is_empty() {
            self.transmit(packets);
        }
        let left = packets.len() as u64;
        packets.clear();
        left
    }
}

/// A port's transmit queue with the packets that wait for it.
#[derive(Debug)]
struct Out {
    way: WayOut,
    waiting: ArrayVec<Mbuf, BURST>,
    /// Packets that there was no room for.
    full: u64,
}

impl Out {
    /// Hands over what waits.
    #[inline]
    fn flush(&mut self) {
        self.full += self.way.flush(&mut self.waiting);
    }
}

/// The transmit side of a worker.
#[derive(Debug)]
struct Outs {
    ports: ArrayVec<Out, MAX_PORTS>,
    /// Packets that go nowhere, freed together.
    discarded: ArrayVec<Mbuf, BURST>,
}

impl Egress<Mbuf> for Outs {
    #[inline]
    fn send(&mut self, port: PortIx, packet: Mbuf) {
        let Some(out) = self.ports.get_mut(usize::from(port.0)) else {
            return;
        };
        if out.waiting.try_push(packet).is_ok() && out.waiting.is_full() {
            out.flush();
        }
    }

    #[inline]
    fn send_all(&mut self, port: PortIx, packets: &mut Burst<Mbuf>) {
        match self.ports.get_mut(usize::from(port.0)) {
            Some(out) if out.waiting.is_empty() => {
                if packets.is_full() {
                    out.full += out.way.flush(packets);
                } else {
                    std::mem::swap(&mut out.waiting, packets);
                }
            }
            _ => packets.drain(..).for_each(|packet| self.send(port, packet)),
        }
    }

    #[inline]
    fn discard(&mut self, packet: Mbuf) {
        if self.discarded.try_push(packet).is_ok() && self.discarded.is_full() {
            free_burst(&mut self.discarded);
        }
    }

    #[inline]
    fn discard_all(&mut self, packets: &mut Burst<Mbuf>) {
        free_burst(packets);
    }
}

/// A worker with its queues.
#[derive(Debug)]
pub struct WorkerLoop {
    worker: Worker<Mempool>,
    rx: Vec<(PortIx, RxQueue)>,
    outs: Outs,
    handoff: Option<Handoff>,
    lanes: Lanes,
    pool: Mempool,
    idle: Idle,
    clock: Clock,
}

impl WorkerLoop {
    /// Takes the parts together. Ports beyond [`MAX_PORTS`] are not served.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let outs = parts
            .tx
            .into_iter()
            .take(MAX_PORTS)
            .map(|way| Out {
                way,
                waiting: ArrayVec::new(),
                full: 0,
            })
            .collect();
        Self {
            worker: Worker::new(
                parts.id,
                parts.reader,
                parts.shared,
                parts.peers,
                parts.seeds,
            ),
            rx: parts.rx,
            outs: Outs {
                ports: outs,
                discarded: ArrayVec::new(),
            },
            handoff: parts.handoff,
            lanes: parts.lanes,
            pool: parts.pool,
            idle: parts.idle,
            clock: parts.clock,
        }
    }

    /// The worker, to look at.
    #[must_use]
    pub fn worker(&self) -> &Worker<Mempool> {
        &self.worker
    }

    /// Runs until `stop`.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut empty_rounds = 0_u32;
        let mut before = dpdk::tsc::rdtsc();
        let mut was_busy = false;
        while !stop.load(Relaxed) {
            let ticks = dpdk::tsc::rdtsc();
            if was_busy {
                let cycles = ticks.wrapping_sub(before);
                self.worker.counters_mut().add(Figure::BusyCycles, cycles);
            }
            before = ticks;
            let received = self.round(ticks);
            #[cfg(feature = "bench-hooks")]
            crate::bench_hooks::took(dpdk::tsc::rdtsc().wrapping_sub(ticks), received);
            was_busy = received != 0;
            if was_busy {
                empty_rounds = 0;
            } else {
                empty_rounds = empty_rounds.saturating_add(1);
                self.worker.counters_mut().count(Figure::IdlePolls);
                self.rest(empty_rounds);
            }
        }
        self.finish();
    }

    /// After so many rounds in which nothing was received.
    fn rest(&mut self, empty_rounds: u32) {
        let sleep = |us: u32| std::thread::sleep(Duration::from_micros(u64::from(us)));
        match &mut self.idle {
            Idle::Spin => {}
            Idle::Sleep(after, us) => {
                if empty_rounds > *after {
                    sleep(*us);
                }
            }
            Idle::Wait(after, us, waiter) => {
                if empty_rounds > *after && waiter.wait(WAIT).is_err() {
                    sleep(*us);
                }
            }
        }
    }

    /// One round: every port in turn, up to [`BURSTS_A_ROUND`] bursts each while they come full, and likewise every other worker,
    /// then what is done between rounds. Returns how many packets there were.
    #[inline]
    pub fn round(&mut self, ticks: u64) -> usize {
        self.worker.begin();
        let now = self.clock.at(ticks);
        let mut received = 0;
        for at in 0..self.rx.len() {
            // What a round costs is shared by more packets where many wait.
            for _ in 0..BURSTS_A_ROUND {
                let count = self.receive(at, now);
                received += count;
                if count != BURST {
                    break;
                }
            }
        }
        if self.handoff.is_some() {
            received += self.take_over(now);
        }
        self.worker.maintain(now, &mut self.outs, &mut self.pool);
        free_burst(&mut self.outs.discarded);
        for (at, out) in self.outs.ports.iter_mut().enumerate() {
            out.flush();
            let port = PortIx(at as u8);
            let counters = self.worker.counters_mut();
            let (packets, bytes) = out.way.sent();
            counters.set(Figure::TxPackets(port), packets);
            counters.set(Figure::TxBytes(port), bytes);
            counters.set(Figure::TxFull(port), out.full);
        }
        received
    }

    /// A burst from the receive queue `at`, taken its way. Returns how many packets it has.
    #[inline(always)]
    fn receive(&mut self, at: usize, now: Now) -> usize {
        let (port, rx) = &mut self.rx[at];
        let mut burst = Burst::<Mbuf>::new();
        let count = rx.receive(&mut burst);
        if count == 0 {
            return 0;
        }
        Mbuf::prefetch_all(&burst);
        let (port, worker) = (*port, &mut self.worker);
        worker.counters_mut().count(Figure::BusyBursts);
        let (outs, pool) = (&mut self.outs, &mut self.pool);
        let Some(handoff) = &mut self.handoff else {
            worker.burst(now, port, &mut burst, outs, pool);
            return count;
        };
        worker.count_received(port, &burst);
        handoff.divide(port, &mut burst, worker.counters_mut());
        worker.counted_burst(now, port, &mut burst, outs, pool);
        count
    }

    /// What other workers handed over: packets of flows that are this one's, and packets for its transmit queues.
    fn take_over(&mut self, now: Now) -> usize {
        let Some(handoff) = &mut self.handoff else {
            return 0;
        };
        let (worker, outs, pool) = (&mut self.worker, &mut self.outs, &mut self.pool);
        let taken = handoff.take_over(|port, burst| {
            worker.counters_mut().count(Figure::BusyBursts);
            let count = burst.len() as u64;
            worker.counters_mut().add(Figure::SteeredIn, count);
            worker.counted_burst(now, port, burst, outs, pool);
        });
        self.lanes.relay(|port, packet| outs.send(port, packet));
        taken
    }

    /// Leaves nothing behind: what waits is sent, and the counters are copied out.
    pub fn finish(&mut self) {
        free_burst(&mut self.outs.discarded);
        for out in &mut self.outs.ports {
            out.flush();
        }
        self.worker.copy_counters();
    }
}

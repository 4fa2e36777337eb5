//! What a worker counts. It counts in memory of its own and copies the whole out once in a while, so that reading
//! never slows it: a reader sees each figure at most one copy old, and in a [`WorkerCounters::snapshot`] all of the same copy.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::id::{ClassIx, PortIx, Slot};
use crate::memory::Table;
use crate::verdict::{DispatchReason, DropReason, MetadataNote, PuntReason};

/// Ports that are counted by themselves.
pub const MAX_PORTS: usize = 16;

/// Plain figures, indexed into one array so that copying is one loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Figure {
    /// Packets received from a port.
    RxPackets(PortIx),
    /// Bytes received from a port, from the Ethernet header on, without frame check sequence.
    RxBytes(PortIx),
    /// Packets handed to a port's driver.
    TxPackets(PortIx),
    /// Bytes handed to a port's driver.
    TxBytes(PortIx),
    /// Packets that a port's driver had no room for, after they were forwarded.
    TxFull(PortIx),
    /// Packets dropped.
    Drop(DropReason),
    /// Packets taken by the AFR itself.
    Punt(PuntReason),
    /// Notes on metadata, flows and originated packets.
    Note(MetadataNote),
    /// Packets forwarded towards instances.
    ForwardedRequest,
    /// Packets forwarded from instances, or passing through.
    ForwardedReply,
    /// Packets the AFR made itself: answers and errors.
    Originated,
    /// Prompt tokens of dispatched requests.
    PromptTokens,
    /// Of these, tokens that the chosen instance is believed to hold.
    AffinityTokens,
    /// Flows in the table (a level, not a count).
    FlowsUsed,
    /// Size of the flow table (a level).
    FlowsCapacity,
    /// Bytes of one of the worker's own tables (a level).
    TableBytes(Table),
    /// TSC cycles spent on bursts that were not empty.
    BusyCycles,
    /// Bursts that were not empty.
    BusyBursts,
    /// Polls that found nothing.
    IdlePolls,
    /// Epoch of the generation in use (a level).
    Epoch,
    /// Messages pushed to the control core.
    RingPushed,
    /// Packets handed over by other workers.
    Handed,
    /// Of the packets forwarded or dropped, those that took the fast path.
    FastPath,
    /// Packets handed to the workers whose flows they are of.
    SteeredOut,
    /// Packets that other workers handed over because they are of this one's flows.
    SteeredIn,
}

const DROP_AT: usize = 5 * MAX_PORTS;
const PUNT_AT: usize = DROP_AT + DropReason::COUNT;
const NOTE_AT: usize = PUNT_AT + PuntReason::COUNT;
const PLAIN_AT: usize = NOTE_AT + MetadataNote::COUNT;
const TABLES_AT: usize = PLAIN_AT + 16;
const FIGURES: usize = TABLES_AT + Table::COUNT;

impl Figure {
    #[inline]
    const fn index(self) -> usize {
        match self {
            Self::RxPackets(port) => port.0 as usize % MAX_PORTS,
            Self::RxBytes(port) => MAX_PORTS + port.0 as usize % MAX_PORTS,
            Self::TxPackets(port) => 2 * MAX_PORTS + port.0 as usize % MAX_PORTS,
            Self::TxBytes(port) => 3 * MAX_PORTS + port.0 as usize % MAX_PORTS,
            Self::TxFull(port) => 4 * MAX_PORTS + port.0 as usize % MAX_PORTS,
            Self::Drop(reason) => DROP_AT + reason as usize,
            Self::Punt(reason) => PUNT_AT + reason as usize,
            Self::Note(note) => NOTE_AT + note as usize,
            Self::ForwardedRequest => PLAIN_AT,
            Self::ForwardedReply => PLAIN_AT + 1,
            Self::Originated => PLAIN_AT + 2,
            Self::PromptTokens => PLAIN_AT + 3,
            Self::AffinityTokens => PLAIN_AT + 4,
            Self::FlowsUsed => PLAIN_AT + 5,
            Self::FlowsCapacity => PLAIN_AT + 6,
            Self::TableBytes(table) => TABLES_AT + table as usize,
            Self::BusyCycles => PLAIN_AT + 7,
            Self::BusyBursts => PLAIN_AT + 8,
            Self::IdlePolls => PLAIN_AT + 9,
            Self::Epoch => PLAIN_AT + 10,
            Self::RingPushed => PLAIN_AT + 11,
            Self::Handed => PLAIN_AT + 12,
            Self::FastPath => PLAIN_AT + 13,
            Self::SteeredOut => PLAIN_AT + 14,
            Self::SteeredIn => PLAIN_AT + 15,
        }
    }
}

/// A worker's own counts.
#[derive(Debug)]
pub struct LocalCounters {
    figures: [u64; FIGURES],
}

impl Default for LocalCounters {
    fn default() -> Self {
        Self {
            figures: [0; FIGURES],
        }
    }
}

impl LocalCounters {
    /// Adds `n`.
    #[inline]
    pub fn add(&mut self, figure: Figure, n: u64) {
        self.figures[figure.index()] += n;
    }

    /// Adds one.
    #[inline]
    pub fn count(&mut self, figure: Figure) {
        self.add(figure, 1);
    }

    /// Sets a level.
    #[inline]
    pub fn set(&mut self, figure: Figure, level: u64) {
        self.figures[figure.index()] = level;
    }

    /// The figure so far.
    #[must_use]
    pub fn figure(&self, figure: Figure) -> u64 {
        self.figures[figure.index()]
    }

    /// All drops.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.figures[DROP_AT..PUNT_AT].iter().sum()
    }

    /// All punts.
    #[must_use]
    pub fn punted(&self) -> u64 {
        self.figures[PUNT_AT..NOTE_AT].iter().sum()
    }

    /// Packets received from ports.
    #[must_use]
    pub fn from_ports(&self) -> u64 {
        self.figures[..MAX_PORTS].iter().sum()
    }

    /// Everything taken in: received from ports and from other workers, without what was handed on to them.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.from_ports() + self.figure(Figure::Handed) + self.figure(Figure::SteeredIn)
            - self.figure(Figure::SteeredOut)
    }

    /// Everything forwarded.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.figure(Figure::ForwardedRequest) + self.figure(Figure::ForwardedReply)
    }

    /// Copies the counts to where others read them.
    pub fn copy_to(&self, shared: &WorkerCounters) {
        // A sequence lock: who sees one of the figures sees that a copy was begun.
        let copies = shared.copies.load(Relaxed);
        shared.copies.store(copies + 1, Relaxed);
        fence(Release);
        for (mine, theirs) in self.figures.iter().zip(shared.figures.iter()) {
            theirs.store(*mine, Relaxed);
        }
        shared.copies.store(copies + 2, Release);
    }
}

/// How often a snapshot is tried.
const ATTEMPTS: usize = 1_000;
/// How long to wait between two of them: long enough, all in all, for a worker that lost its CPU in the middle of a copy.
const BETWEEN: Duration = Duration::from_micros(50);

/// What one worker counted, as others see it.
#[derive(Debug)]
pub struct WorkerCounters {
    figures: Box<CachePadded<[AtomicU64; FIGURES]>>,
    /// Twice the copies made, and one more while one is being made.
    copies: AtomicU64,
    by_instance: Vec<AtomicU64>,
    by_reason: Vec<AtomicU64>,
    instances: usize,
}

impl WorkerCounters {
    /// Counters for so many classes and instance slots.
    #[must_use]
    pub fn new(classes: usize, instances: usize) -> Self {
        let zeroed = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self {
            figures: Box::new(CachePadded::new([const { AtomicU64::new(0) }; FIGURES])),
            copies: AtomicU64::new(0),
            by_instance: zeroed(classes * instances),
            by_reason: zeroed(classes * DispatchReason::COUNT),
            instances,
        }
    }

    /// All figures as of one copy of the worker's: what adds up to what in its counts does so here. A worker makes a copy in
    /// much less time than there is between two. After [`ATTEMPTS`] that were all in vain, as where the worker's thread died in
    /// a copy, the figures are as they are.
    ///
    /// Not for workers: it may sleep.
    #[must_use]
    pub fn snapshot(&self) -> LocalCounters {
        let mut snapshot = LocalCounters::default();
        for _ in 0..ATTEMPTS {
            if self.read_one_copy(&mut snapshot) {
                break;
            }
            thread::sleep(BETWEEN);
        }
        snapshot
    }

    /// Reads the figures. `false`: a copy was being made meanwhile, and they may be of two.
    fn read_one_copy(&self, into: &mut LocalCounters) -> bool {
        let before = self.copies.load(Acquire);
        for (mine, theirs) in into.figures.iter_mut().zip(self.figures.iter()) {
            *mine = theirs.load(Relaxed);
        }
        fence(Acquire);
        before.is_multiple_of(2) && self.copies.load(Relaxed) == before
    }

    /// A figure as of the worker's last copy.
    #[must_use]
    pub fn figure(&self, figure: Figure) -> u64 {
        self.figures[figure.index()].load(Relaxed)
    }

    /// Counts a dispatch of `class`, to a slot unless it was spilled. One writer: the worker.
    #[inline]
    pub fn dispatched(&self, class: ClassIx, slot: Option<Slot>, why: DispatchReason) {
        let bump = |counter: Option<&AtomicU64>| {
            if let Some(counter) = counter {
                counter.store(counter.load(Relaxed) + 1, Relaxed);
            }
        };
        if let Some(slot) = slot {
            bump(
                self.by_instance
                    .get(class.0 as usize * self.instances + slot.index()),
            );
        }
        bump(
            self.by_reason
                .get(class.0 as usize * DispatchReason::COUNT + why as usize),
        );
    }

    /// Dispatches of a class to a slot.
    #[must_use]
    pub fn dispatches(&self, class: ClassIx, slot: Slot) -> u64 {
        self.by_instance
            .get(class.0 as usize * self.instances + slot.index())
            .map_or(0, |c| c.load(Relaxed))
    }

    /// Dispatches of a class for a reason.
    #[must_use]
    pub fn dispatches_why(&self, class: ClassIx, why: DispatchReason) -> u64 {
        self.by_reason
            .get(class.0 as usize * DispatchReason::COUNT + why as usize)
            .map_or(0, |c| c.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_of_one_copy() {
        let shared = WorkerCounters::new(1, 1);
        let forwarded = [Figure::ForwardedRequest, Figure::RxPackets(PortIx(0))];
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut counters = LocalCounters::default();
                for n in 1..=20_000 {
                    for figure in forwarded {
                        counters.set(figure, n);
                    }
                    counters.copy_to(&shared);
                    // As a worker, which has something to do between two copies.
                    std::hint::black_box([n; 512]);
                }
            });
            let (mut last, mut snapshot) = (0, LocalCounters::default());
            while last < 20_000 {
                if !shared.read_one_copy(&mut snapshot) {
                    thread::yield_now();
                    continue;
                }
                let [a, b] = forwarded.map(|figure| snapshot.figure(figure));
                assert_eq!(a, b);
                assert!(a >= last);
                last = a;
            }
            // Nobody writes any more.
            let last = shared.snapshot();
            assert!(
                forwarded
                    .iter()
                    .all(|figure| last.figure(*figure) == 20_000)
            );
        });
    }
}

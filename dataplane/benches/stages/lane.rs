//! A worker, and rounds of frames through it.

use std::sync::Arc;

use afr_dataplane::config::Config;
use afr_dataplane::counters::Figure;
use afr_dataplane::id::{PortIx, WorkerId};
use afr_dataplane::path::{BURST, Burst, Egress};
use afr_dataplane::worker::{Peers, Worker};

use super::buffer::{Frame, Pool};
use super::frames::Renewal;
use super::site::Site;
use super::{Case, ROUND, Work};

/// Time from round to round: short enough that no request becomes stale, long enough that sessions may go on asking.
const STEP_US: u64 = 10_000;

/// Keeps what leaves until the round is over.
#[derive(Debug)]
struct Shelf(Vec<Frame>);

impl Egress<Frame> for Shelf {
    #[inline]
    fn send(&mut self, _: PortIx, packet: Frame) {
        self.0.push(packet);
    }
}

/// A worker and what it works with.
pub(super) struct Lane {
    site: Site,
    worker: Worker<Pool>,
    pool: Pool,
    shelf: Shelf,
}

impl Lane {
    pub(super) fn new(instances: u16, change: impl FnOnce(&mut Config)) -> Self {
        let (site, reader) = Site::new(instances, change);
        let (shared, peers) = (Arc::clone(&site.shared), Peers::new(1));
        Self {
            worker: Worker::new(WorkerId(0), reader, shared, peers, [1, 2, 3, 4]),
            pool: Pool::new(ROUND),
            shelf: Shelf(Vec::with_capacity(ROUND)),
            site,
        }
    }

    /// Frames that come once, beforehand.
    pub(super) fn before(mut self, port: PortIx, frames: &[Vec<u8>]) -> Self {
        let mut bursts = Vec::new();
        self.receive(frames, &mut bursts);
        self.run(port, &mut bursts);
        self
    }

    /// The same frames in every round.
    pub(super) fn round(self, port: PortIx, frames: Vec<Vec<u8>>) -> Round {
        self.changing(port, frames, |_| {})
    }

    /// Frames with new reports in every round.
    pub(super) fn renewed(self, port: PortIx, frames: Vec<Vec<u8>>) -> Round {
        let mut renewal = Renewal::of(&frames);
        self.changing(port, frames, move |frames| renewal.next(frames))
    }

    /// Frames that are changed before every round.
    pub(super) fn changing(
        self,
        port: PortIx,
        frames: Vec<Vec<u8>>,
        change: impl FnMut(&mut [Vec<u8>]) + 'static,
    ) -> Round {
        Round {
            lane: self,
            port,
            frames,
            change: Box::new(change),
            bursts: Vec::new(),
            expected: Vec::new(),
        }
    }

    fn receive(&mut self, frames: &[Vec<u8>], bursts: &mut Vec<Burst<Frame>>) {
        self.shelf.0.clear();
        bursts.clear();
        for frames in frames.chunks(BURST) {
            let received = frames.iter().map(|frame| self.pool.receive(frame));
            bursts.push(received.collect());
        }
    }

    fn run(&mut self, port: PortIx, bursts: &mut [Burst<Frame>]) {
        for burst in bursts {
            let (now, shelf, pool) = (self.site.now, &mut self.shelf, &mut self.pool);
            self.worker.begin();
            self.worker.burst(now, port, burst, shelf, pool);
        }
    }
}

/// What becomes of the frames between two rounds.
type Change = Box<dyn FnMut(&mut [Vec<u8>])>;

/// Frames through a worker, a round at a time.
pub(super) struct Round {
    lane: Lane,
    port: PortIx,
    frames: Vec<Vec<u8>>,
    change: Change,
    bursts: Vec<Burst<Frame>>,
    expected: Vec<Expected>,
}

/// What a figure must have grown by in a round, and what it was before.
struct Expected {
    figure: Figure,
    growth: u64,
    before: Option<u64>,
}

impl Round {
    /// A packet counts each of these.
    pub(super) fn counting(mut self, figures: &[Figure]) -> Self {
        for figure in figures {
            self = self.and(*figure, 1);
        }
        self
    }

    /// And as much of this one.
    pub(super) fn and(mut self, figure: Figure, each: u64) -> Self {
        self.expected.push(Expected {
            figure,
            growth: each * ROUND as u64,
            before: None,
        });
        self
    }

    pub(super) fn case(self) -> Case {
        Case(Box::new(self))
    }
}

impl Work for Round {
    fn refill(&mut self) {
        for Expected {
            figure,
            growth,
            before,
        } in &mut self.expected
        {
            let now = self.lane.worker.counters().figure(*figure);
            if let Some(before) = before {
                assert_eq!(now - *before, *growth, "{figure:?}: another way was taken");
            }
            *before = Some(now);
        }
        self.lane.site.forget_dispatches();
        self.lane.site.now.mono_us += STEP_US;
        (self.change)(&mut self.frames);
        self.lane.receive(&self.frames, &mut self.bursts);
    }

    fn run(&mut self) {
        self.lane.run(self.port, &mut self.bursts);
    }
}

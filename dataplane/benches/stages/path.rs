//! What is measured through `Worker::burst`: packets that end in a certain stage, and whole ways.
//!
//! Every case says what a packet must have counted; where packets take another way than its name says, it fails.

use std::sync::Arc;

use afr_dataplane::config::{BoundaryAction, Config};
use afr_dataplane::counters::Figure;
use afr_dataplane::id::{PortIx, WorkerId};
use afr_dataplane::path::{BURST, Burst, Egress};
use afr_dataplane::verdict::{DropReason, MetadataNote};
use afr_dataplane::worker::{Peers, Worker};

use super::buffer::{Frame, Pool};
use super::frames::{self, Renewal};
use super::site::Site;
use super::{Case, ROUND, Work};
use crate::support::setup::{EDGE, FABRIC, WILD};

/// Instances where their number does not matter.
const INSTANCES: u16 = 64;
/// Time from round to round: short enough that no request becomes stale, long enough that sessions may go on asking.
const STEP_US: u64 = 10_000;

/// Metadata from outside, where that is a reason to drop.
pub(crate) fn boundary() -> Case {
    Lane::new(INSTANCES, |config| {
        config.ports[usize::from(WILD.0)].boundary = BoundaryAction::Drop;
    })
    .round(WILD, frames::untrusted())
    .counting(&[Figure::Drop(DropReason::MetadataOutside)])
    .case()
}

/// Metadata from outside, removed; its flow is known.
pub(crate) fn boundary_strip() -> Case {
    Lane::new(INSTANCES, |_| {})
        .before(EDGE, &frames::opening(false))
        .round(WILD, frames::untrusted())
        .counting(&[
            Figure::Note(MetadataNote::Stripped),
            Figure::ForwardedRequest,
        ])
        .case()
}

/// A tunnel with something else in it than a reply.
pub(crate) fn decap() -> Case {
    Lane::new(INSTANCES, |_| {})
        .round(FABRIC, frames::foreign_replies(None))
        .counting(&[Figure::Drop(DropReason::DecapInner)])
        .case()
}

/// The same with a report outside that is known.
pub(crate) fn learn_same() -> Case {
    let frames = frames::foreign_replies(Some(2));
    Lane::new(INSTANCES, |_| {})
        .before(FABRIC, &frames)
        .round(FABRIC, frames)
        .counting(&[
            Figure::Note(MetadataNote::ReportSame),
            Figure::Drop(DropReason::DecapInner),
        ])
        .case()
}

/// The same with a new report.
pub(crate) fn learn_fresh() -> Case {
    let frames = frames::foreign_replies(Some(2));
    Lane::new(INSTANCES, |_| {})
        .renewed(FABRIC, frames)
        .counting(&[
            Figure::Note(MetadataNote::ReportApplied),
            Figure::Drop(DropReason::DecapInner),
        ])
        .case()
}

/// A packet that merely passes through.
pub(crate) fn route() -> Case {
    Lane::new(INSTANCES, |config| config.router.transit = true)
        .round(FABRIC, frames::passing(None))
        .counting(&[Figure::ForwardedReply])
        .case()
}

/// A known flow with the metadata that were verified at its begin.
pub(crate) fn established() -> Case {
    Lane::new(INSTANCES, |_| {})
        .before(EDGE, &frames::opening(true))
        .before(EDGE, &frames::asking(0))
        .round(EDGE, frames::asking(0))
        .counting(&[
            Figure::Note(MetadataNote::RequestUnchanged),
            Figure::ForwardedRequest,
        ])
        .case()
}

/// A known flow without metadata.
pub(crate) fn plain() -> Case {
    Lane::new(INSTANCES, |_| {})
        .before(EDGE, &frames::opening(false))
        .before(EDGE, &frames::plain())
        .round(EDGE, frames::plain())
        .counting(&[Figure::ForwardedRequest])
        .case()
}

/// A known flow that says something else in each packet.
pub(crate) fn verify_every() -> Case {
    let (mut now, mut next) = (frames::asking(0), frames::asking(ROUND));
    Lane::new(INSTANCES, |_| {})
        .before(EDGE, &frames::opening(true))
        .changing(EDGE, now.clone(), move |frames| {
            std::mem::swap(&mut now, &mut next);
            frames.clone_from_slice(&now);
        })
        .counting(&[
            Figure::Note(MetadataNote::RequestVerified),
            Figure::ForwardedRequest,
        ])
        .case()
}

/// A SYN whose request somebody else signed.
pub(crate) fn bad_mac() -> Case {
    Lane::new(INSTANCES, |_| {})
        .round(EDGE, frames::forged())
        .counting(&[Figure::Drop(DropReason::MacInvalid)])
        .case()
}

/// A datagram to be dispatched anew, to one of 64.
pub(crate) fn new_flow_64() -> Case {
    new_flow(64)
}

/// A datagram to be dispatched anew, to one of 1,024.
pub(crate) fn new_flow_1024() -> Case {
    new_flow(1_024)
}

fn new_flow(instances: u16) -> Case {
    Lane::new(instances, |_| {})
        .round(EDGE, frames::tasks())
        .counting(&[
            Figure::Note(MetadataNote::RequestVerified),
            Figure::ForwardedRequest,
        ])
        .and(Figure::PromptTokens, 4_096)
        .case()
}

/// A tunnelled reply without a report.
pub(crate) fn reply_plain() -> Case {
    Lane::new(INSTANCES, |_| {})
        .round(FABRIC, frames::replies(None))
        .counting(&[Figure::ForwardedReply])
        .case()
}

/// A tunnelled reply with a report that is known.
pub(crate) fn reply_same() -> Case {
    let frames = frames::replies(Some(2));
    Lane::new(INSTANCES, |_| {})
        .before(FABRIC, &frames)
        .round(FABRIC, frames)
        .counting(&[
            Figure::Note(MetadataNote::ReportSame),
            Figure::ForwardedReply,
        ])
        .case()
}

/// A tunnelled reply with a new report.
pub(crate) fn reply_fresh() -> Case {
    Lane::new(INSTANCES, |_| {})
        .renewed(FABRIC, frames::replies(Some(2)))
        .counting(&[
            Figure::Note(MetadataNote::ReportApplied),
            Figure::ForwardedReply,
        ])
        .case()
}

/// A reply that merely passes through, with a report that is known and does not leave.
pub(crate) fn transit_strip() -> Case {
    let frames = frames::passing(Some(2));
    Lane::new(INSTANCES, |config| config.router.transit = true)
        .before(FABRIC, &frames)
        .round(FABRIC, frames)
        .counting(&[
            Figure::Note(MetadataNote::ReportStripped),
            Figure::ForwardedReply,
        ])
        .case()
}

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
struct Lane {
    site: Site,
    worker: Worker<Pool>,
    pool: Pool,
    shelf: Shelf,
}

impl Lane {
    fn new(instances: u16, change: impl FnOnce(&mut Config)) -> Self {
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
    fn before(mut self, port: PortIx, frames: &[Vec<u8>]) -> Self {
        let mut bursts = Vec::new();
        self.receive(frames, &mut bursts);
        self.run(port, &mut bursts);
        self
    }

    /// The same frames in every round.
    fn round(self, port: PortIx, frames: Vec<Vec<u8>>) -> Round {
        self.changing(port, frames, |_| {})
    }

    /// Frames with new reports in every round.
    fn renewed(self, port: PortIx, frames: Vec<Vec<u8>>) -> Round {
        let mut renewal = Renewal::of(&frames);
        self.changing(port, frames, move |frames| renewal.next(frames))
    }

    /// Frames that are changed before every round.
    fn changing(
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

/// Frames through a worker, a round at a time.
struct Round {
    lane: Lane,
    port: PortIx,
    frames: Vec<Vec<u8>>,
    change: Box<dyn FnMut(&mut [Vec<u8>])>,
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
    fn counting(mut self, figures: &[Figure]) -> Self {
        for figure in figures {
            self = self.and(*figure, 1);
        }
        self
    }

    /// And as much of this one.
    fn and(mut self, figure: Figure, each: u64) -> Self {
        self.expected.push(Expected {
            figure,
            growth: each * ROUND as u64,
            before: None,
        });
        self
    }

    fn case(self) -> Case {
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

//! What is measured through `Worker::burst`: packets that end in a certain stage, and whole ways.
//!
//! Every case says what a packet must have counted; where packets take another way than its name says, it fails.

use afr_dataplane::config::BoundaryAction;
use afr_dataplane::counters::Figure;
use afr_dataplane::verdict::{DropReason, MetadataNote};

use super::lane::Lane;
use super::{Case, ROUND, frames};
use crate::support::setup::{EDGE, FABRIC, WILD};

/// Instances where their number does not matter.
const INSTANCES: u16 = 64;

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
    known(frames::asking(0))
}

/// The same of requests with neither labels nor prefixes.
pub(crate) fn established_brief() -> Case {
    known(frames::asking_briefly(0))
}

/// The same where a Segment Routing Header carries them.
pub(crate) fn established_srh() -> Case {
    known(frames::asking_by_srh())
}

fn known(asking: Vec<Vec<u8>>) -> Case {
    Lane::new(INSTANCES, |_| {})
        .before(EDGE, &frames::opening(true))
        .before(EDGE, &asking)
        .round(EDGE, asking)
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
    changing(frames::asking)
}

/// The same of requests with neither labels nor prefixes.
pub(crate) fn verify_brief() -> Case {
    changing(frames::asking_briefly)
}

fn changing(asking: fn(usize) -> Vec<Vec<u8>>) -> Case {
    let (mut now, mut next) = (asking(0), asking(ROUND));
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

/// The same of a datagram and a request with neither labels nor prefixes.
pub(crate) fn bad_brief() -> Case {
    Lane::new(INSTANCES, |_| {})
        .round(EDGE, frames::forged_briefly())
        .counting(&[Figure::Drop(DropReason::MacInvalid), Figure::FastPath])
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

/// The same of requests with neither labels nor prefixes, to one of 64.
pub(crate) fn new_brief_64() -> Case {
    dispatching(64, frames::brief_tasks())
}

fn new_flow(instances: u16) -> Case {
    dispatching(instances, frames::tasks())
}

fn dispatching(instances: u16, tasks: Vec<Vec<u8>>) -> Case {
    Lane::new(instances, |_| {})
        .round(EDGE, tasks)
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

/// A tunnelled reply with a new report. It is dated at the last sample of what was committed, not before the first as the
/// guard would have it.
pub(crate) fn reply_fresh() -> Case {
    Lane::new(INSTANCES, |config| config.dispatch.guard_us = 0)
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

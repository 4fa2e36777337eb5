//! The fast path: packets that make up nearly all of the traffic, taken in a straight line.
//!
//! Two shapes are recognised ([`shape`]): a client's packet of an established flow, whose metadata (if any) were verified
//! before or just now ([`request`], which also refuses what would open a flow under a wrong MAC); and a tunnelled reply, whose state report (if any) is learned on the way
//! ([`reply`]). Whatever is not exactly that, in any respect, is left to the stages of the whole path, unchanged: the fast path
//! decides nothing that they would decide otherwise, and a test holds both against each other on the same packets.
//!
//! Exits: forwarded, dropped for its MAC, or `None`: not for the fast path, and nothing was changed.

mod plan;
mod shape;
mod ahead;
mod macs;
mod request;
mod reply;

pub(crate) use macs::MacCheck;
pub(crate) use plan::Plan;
pub(crate) use shape::{Kind, Quick};

use crate::counters::{Figure, LocalCounters};
use crate::verdict::MetadataNote;

/// What the fast path counts in one burst, in registers.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    requests: u64,
    unchanged: u64,
    replies: u64,
    same: u64,
}

impl Tally {
    /// Enters the burst's counts.
    #[inline]
    pub(crate) fn enter(self, counters: &mut LocalCounters) {
        counters.add(Figure::ForwardedRequest, self.requests);
        counters.add(Figure::ForwardedReply, self.replies);
        counters.add(Figure::FastPath, self.requests + self.replies);
        counters.add(Figure::Note(MetadataNote::RequestUnchanged), self.unchanged);
        counters.add(Figure::Note(MetadataNote::ReportSame), self.same);
    }
}

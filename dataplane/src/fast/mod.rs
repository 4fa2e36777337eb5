//! The fast path: packets that make up nearly all of the traffic, taken in a straight line.
//!
//! Two shapes are recognised ([`shape`]): a client's packet of an established flow, whose metadata (if any) were verified
//! before or just now ([`request`]), one that would open a flow under a wrong MAC and is refused ([`refusal`]), or one that is
//! dispatched anew and asks for what the one before it did ([`task`]); and a tunnelled reply, whose state report (if any) is learned on the way
//! ([`reply`]). Whatever is not exactly that, in any respect, is left to
//! the stages of the whole path, unchanged: the fast path decides nothing that they would decide otherwise, and a test holds
//! both against each other on the same packets.
//!
//! Exits: forwarded, dropped for its MAC, or `None`: not for the fast path, and nothing was changed.

mod plan;
mod quick;
mod shape;
mod ahead;
mod claims;
mod macs;
mod given;
mod request;
mod refusal;
mod task;
mod reply;

pub(crate) use claims::Claims;
pub(crate) use macs::MacCheck;
pub(crate) use plan::Plan;
pub(crate) use quick::{Kind, Quick};
pub(crate) use reply::Way;
pub(crate) use shape::Model;

use std::marker::PhantomData;

use dpdk::vector::{Level, wide};

use claims::BRIEF;
use quick::Shape;

use crate::counters::{Figure, LocalCounters};
use crate::flow::Ahead;
use crate::id::PortIx;
use crate::outs::{Out, Outs};
use crate::packet::PacketBuf;
use crate::packet::parse::protocol;
use crate::path::{BURST, Burst, Path};
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

// Each of these is a function of its own, so that its loop has the registers to itself.
impl Path<'_> {
    /// Says of each packet of the burst what it may be, and starts loading what it takes to find its flow.
    #[inline(never)]
    pub(crate) fn recognise<B: PacketBuf>(
        &self,
        ingress: PortIx,
        packets: &Burst<B>,
        quick: &mut [Quick; BURST],
        model: &mut Model,
    ) -> Recognition {
        wide(
            #[inline(always)]
            |level| {
                let flows = self.own.flows.ahead();
                let quick = &mut quick[..packets.len().min(BURST)];
                let (recognised, any_requests) =
                    self.recognise_all(level, ingress, flows, packets, quick, model);
                // The flows of others are nobody's to ask for.
                if any_requests {
                    find_all(quick, flows);
                }
                recognised
            },
        )
    }

    /// Says what each packet may be, and whether there may be clients' packets among them.
    #[inline(always)]
    fn recognise_all<B: PacketBuf>(
        &self,
        level: Level,
        ingress: PortIx,
        flows: Ahead<'_>,
        packets: &[B],
        quick: &mut [Quick],
        model: &mut Model,
    ) -> (Recognition, bool) {
        let port = self.plan.port(ingress);
        let (mut at, mut bytes) = (0, 0);
        let mut looked_at = None;
        let mut mixed = false;
        while at < quick.len() {
            let (packets, quick) = (&packets[at..], &mut quick[at..]);
            let alike = match model.simply() {
                // Each with a loop of its own.
                Some(Kind::Request) => {
                    recognise_alike(level, (model, Some(Kind::Request)), flows, packets, quick)
                }
                Some(Kind::Reply) => {
                    recognise_alike(level, (model, Some(Kind::Reply)), flows, packets, quick)
                }
                _ => recognise_alike(level, (model, None), flows, packets, quick),
            };
            at += alike.packets;
            bytes += alike.bytes;
            let others = (packets.get(alike.packets), quick.get_mut(alike.packets));
            let (Some(packet), Some(quick)) = others else {
                break;
            };
            mixed |= at != 0;
            // It is the model of those after it, and of itself.
            if looked_at != Some(at)
                && packet.is_contiguous()
                && let Some(seen) = self.plan.look(port, packet.data())
            {
                *model = seen;
                looked_at = Some(at);
                continue;
            }
            // Nor what the packet was that lay here in another burst.
            *quick = Quick::NOTHING;
            at += 1;
            bytes += packet.data().len();
        }
        let recognised = Recognition {
            bytes,
            uniform: !mixed,
        };
        (recognised, looked_at.is_some() || model.is_request())
    }

    /// Sends the packets from `at` on their way, up to the first that is not one of this `kind` for the fast path. Returns
    /// its place. `uniform`: as [`Recognition`] says.
    #[inline(always)]
    pub(crate) fn fast<B: PacketBuf>(
        &mut self,
        (kind, uniform): (Kind, bool),
        packets: &mut Burst<B>,
        quick: &[Quick; BURST],
        at: usize,
        outs: &mut Outs,
        tally: &mut Tally,
    ) -> usize {
        match kind {
            Kind::Request => self.fast_requests(uniform, packets, quick, at, outs, tally),
            Kind::Reply => self.fast_run::<B, Replies>(packets, quick, at, outs, tally),
            Kind::Whole => at,
        }
    }

    /// The same of clients' packets: those of known flows, and those that are refused, by turns.
    #[inline(always)]
    fn fast_requests<B: PacketBuf>(
        &mut self,
        uniform: bool,
        packets: &mut Burst<B>,
        quick: &[Quick; BURST],
        mut at: usize,
        outs: &mut Outs,
        tally: &mut Tally,
    ) -> usize {
        loop {
            let turn = Turn::of(&quick[at]);
            let next = match turn {
                Turn::OfFlows => {
                    self.fast_of_flows::<B, false>(uniform, packets, quick, at, outs, tally)
                }
                Turn::Checked => {
                    self.fast_of_flows::<B, true>(uniform, packets, quick, at, outs, tally)
                }
                Turn::Refused => {
                    let next = self.fast_refusals(packets, quick, at);
                    outs.tell(next, Out::NOWHERE);
                    next
                }
                Turn::Other => at,
            };
            let of_other_turn =
                |quick: &Quick| quick.shape.kind == Kind::Request && Turn::of(quick) != turn;
            if next == at || next >= packets.len() || !quick.get(next).is_some_and(of_other_turn) {
                return next;
            }
            at = next;
        }
    }

    /// The same of those of known flows, which are before or behind the check of MACs. The commonest shapes have loops of their
    /// own, where all packets of the burst have the same.
    #[inline(always)]
    fn fast_of_flows<B: PacketBuf, const CHECKED: bool>(
        &mut self,
        uniform: bool,
        packets: &mut Burst<B>,
        quick: &[Quick; BURST],
        at: usize,
        outs: &mut Outs,
        tally: &mut Tally,
    ) -> usize {
        let shape = quick[at].shape;
        let is_tcp = shape.protocol == protocol::TCP;
        // What has no metadata has no MAC that was checked.
        match (usize::from(shape.object_len), is_tcp) {
            (0, true) if uniform && !CHECKED => self
                .fast_run::<B, Requests<CHECKED, Uniform<true, 0>>>(
                    packets, quick, at, outs, tally,
                ),
            (0, false) if uniform && !CHECKED => self
                .fast_run::<B, Requests<CHECKED, Uniform<false, 0>>>(
                    packets, quick, at, outs, tally,
                ),
            (BRIEF, true) if uniform => self
                .fast_run::<B, Requests<CHECKED, Uniform<true, BRIEF>>>(
                    packets, quick, at, outs, tally,
                ),
            (BRIEF, false) if uniform => self
                .fast_run::<B, Requests<CHECKED, Uniform<false, BRIEF>>>(
                    packets, quick, at, outs, tally,
                ),
            _ => self.fast_run::<B, Requests<CHECKED, Any>>(packets, quick, at, outs, tally),
        }
    }

    #[inline(never)]
    fn fast_run<B: PacketBuf, R: Run>(
        &mut self,
        packets: &mut Burst<B>,
        quick: &[Quick; BURST],
        at: usize,
        outs: &mut Outs,
        tally: &mut Tally,
    ) -> usize {
        wide(
            #[inline(always)]
            |level| {
                let mut counted = *tally;
                let mut way = Out::NOWHERE;
                let mut taken = 0;
                let row = R::row(&quick[at..]);
                for (packet, quick) in packets[at..].iter_mut().zip(&quick[at..]) {
                    let Some(port) = R::take(self, level, packet, (quick, &row), &mut counted)
                    else {
                        break;
                    };
                    let out = Out::by(port);
                    if out != way {
                        outs.tell(at + taken, way);
                        way = out;
                    }
                    taken += 1;
                }
                outs.tell(at + taken, way);
                *R::count(&mut counted) += taken as u64;
                *tally = counted;
                at + taken
            },
        )
    }
}

/// What is known of a burst once its packets are recognised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recognition {
    /// Its bytes.
    pub(crate) bytes: usize,
    /// All packets that were recognised have the same shape.
    pub(crate) uniform: bool,
}

// Loops by name: the compiler takes it from their arguments that what they write is nothing of what they read, and reads that once.

/// Packets, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Alike {
    packets: usize,
    bytes: usize,
}

/// Recognises packets like the model, up to the first that is not.
#[inline(always)]
fn recognise_alike<B: PacketBuf>(
    level: Level,
    (model, simply): (&Model, Option<Kind>),
    flows: Ahead<'_>,
    packets: &[B],
    quick: &mut [Quick],
) -> Alike {
    let mut alike = Alike::default();
    for (packet, quick) in packets.iter().zip(quick) {
        let frame = packet.data();
        if !packet.is_contiguous() || !model.recognise(simply, level, frame, flows, quick) {
            break;
        }
        alike.packets += 1;
        alike.bytes += frame.len();
    }
    alike
}

#[inline(always)]
fn find_all(quick: &mut [Quick], flows: Ahead<'_>) {
    for quick in quick {
        Plan::find(quick, flows);
    }
}

/// What clients' packets are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Of known flows, their metadata not looked at yet.
    OfFlows,
    /// Of known flows, once MACs are checked.
    Checked,
    /// Those that are dropped for their MAC.
    Refused,
    /// Not for here.
    Other,
}

impl Turn {
    #[inline(always)]
    fn of(quick: &Quick) -> Self {
        match (quick.flow.is_some(), quick.known) {
            (true, false) => Self::OfFlows,
            (true, true) => Self::Checked,
            (false, _) if quick.may_be_refused() => Self::Refused,
            (false, _) => Self::Other,
        }
    }
}

/// What is done with each packet of a row of them.
trait Run {
    /// What is known of all packets of a row.
    type Row;

    /// The same, of the row that these begin with.
    fn row(quick: &[Quick]) -> Self::Row;

    /// Sends the packet on its way, if it is one of these.
    fn take<B: PacketBuf>(
        path: &mut Path<'_>,
        level: Level,
        packet: &mut B,
        row: (&Quick, &Self::Row),
        tally: &mut Tally,
    ) -> Option<PortIx>;

    /// Where they are counted.
    fn count(tally: &mut Tally) -> &mut u64;
}

/// Clients' packets of known flows: [`Turn::Checked`], or [`Turn::OfFlows`].
struct Requests<const CHECKED: bool, S>(PhantomData<S>);
/// Tunnelled replies.
struct Replies;

/// What is known of the shapes of a row.
trait Shapes {
    fn of_row(quick: &[Quick]) -> Self;

    /// The shape of one of its packets.
    fn of<'s>(&'s self, quick: &'s Quick) -> &'s Shape;
}

/// Nothing: each has its own.
struct Any;
/// All have this one: TCP or UDP, with so many bytes of metadata.
struct Uniform<const TCP: bool, const OBJECT_LEN: usize>(Shape);

impl Shapes for Any {
    #[inline(always)]
    fn of_row(_: &[Quick]) -> Self {
        Self
    }

    #[inline(always)]
    fn of<'s>(&'s self, quick: &'s Quick) -> &'s Shape {
        &quick.shape
    }
}

impl<const TCP: bool, const OBJECT_LEN: usize> Shapes for Uniform<TCP, OBJECT_LEN> {
    #[inline(always)]
    fn of_row(quick: &[Quick]) -> Self {
        Self(Shape {
            protocol: if TCP { protocol::TCP } else { protocol::UDP },
            object_len: OBJECT_LEN as u8,
            ..quick.first().map_or(Shape::NOTHING, |first| first.shape)
        })
    }

    #[inline(always)]
    fn of<'s>(&'s self, quick: &'s Quick) -> &'s Shape {
        debug_assert_eq!(self.0, quick.shape, "the burst is uniform");
        &self.0
    }
}

impl<const CHECKED: bool, S: Shapes> Run for Requests<CHECKED, S> {
    type Row = S;

    #[inline(always)]
    fn row(quick: &[Quick]) -> S {
        S::of_row(quick)
    }

    #[inline(always)]
    fn take<B: PacketBuf>(
        path: &mut Path<'_>,
        level: Level,
        packet: &mut B,
        (quick, row): (&Quick, &S),
        tally: &mut Tally,
    ) -> Option<PortIx> {
        // Of another kind is none that has a flow.
        path.fast_request::<B, CHECKED>(level, packet, quick, row.of(quick), tally)
    }

    #[inline(always)]
    fn count(tally: &mut Tally) -> &mut u64 {
        &mut tally.requests
    }
}

impl Run for Replies {
    type Row = ();

    #[inline(always)]
    fn row(_: &[Quick]) {}

    #[inline(always)]
    fn take<B: PacketBuf>(
        path: &mut Path<'_>,
        _: Level,
        packet: &mut B,
        (quick, ()): (&Quick, &()),
        tally: &mut Tally,
    ) -> Option<PortIx> {
        if quick.shape.kind != Kind::Reply {
            return None;
        }
        path.fast_reply(packet, quick, tally)
    }

    #[inline(always)]
    fn count(tally: &mut Tally) -> &mut u64 {
        &mut tally.replies
    }
}

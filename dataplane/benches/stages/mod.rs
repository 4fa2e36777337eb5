//! What is measured, described once for both harnesses: `nanoseconds` (criterion) and `instructions` (callgrind).
//!
//! [`single`] and [`decision`] have the stages that can be called by themselves, each under the name of its file. The
//! others ([`path`]) are measured through `Worker::burst`, in bursts of 32: a packet that ends in the stage it is named
//! after, or the whole way of a packet. A stage's figure there includes those before it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

pub(crate) mod single;
pub(crate) mod decision;
pub(crate) mod path;
mod lane;
mod frames;
mod site;
mod buffer;

/// Packets, or calls, in a round.
pub(crate) const ROUND: usize = 256;

/// Rounds after which tables, keys and what was learned are as they stay.
const WARM_UP: usize = 3;

/// Something to be measured, a round at a time.
pub(crate) struct Case(Box<dyn Work>);

trait Work {
    /// Makes everything ready for a round. Not measured.
    fn refill(&mut self);

    /// Does what is measured, [`ROUND`] times.
    fn run(&mut self);
}

impl Case {
    /// `one` is measured, with the number of the call in its round; `refill` is done before each round.
    fn new<S: 'static>(
        state: S,
        refill: impl Fn(&mut S) + 'static,
        one: impl Fn(&mut S, usize) + 'static,
    ) -> Self {
        Self(Box::new(Each { state, refill, one }))
    }

    /// The case with its tables as they stay.
    pub(crate) fn warm(make: fn() -> Self) -> Self {
        let mut case = make();
        for _ in 0..WARM_UP {
            case.refill();
            case.run();
        }
        case
    }

    /// Makes the case ready for a round. What the round before counted is checked.
    pub(crate) fn refill(&mut self) {
        self.0.refill();
    }

    /// What is measured.
    pub(crate) fn run(&mut self) {
        self.0.run();
    }
}

struct Each<S, R, O> {
    state: S,
    refill: R,
    one: O,
}

impl<S, R: Fn(&mut S), O: Fn(&mut S, usize)> Work for Each<S, R, O> {
    fn refill(&mut self) {
        (self.refill)(&mut self.state);
    }

    fn run(&mut self) {
        for n in 0..ROUND {
            (self.one)(&mut self.state, n);
        }
    }
}

/// Hands the list of all cases, each with what makes it, to a macro: first the stages in the order in which a packet meets
/// them, then whole ways.
macro_rules! all_stages {
    ($with:ident) => {
        $with! {
            parse = stages::single::parse,
            parse_plain = stages::single::parse_plain,
            boundary = stages::path::boundary,
            boundary_strip = stages::path::boundary_strip,
            flow_hit = stages::single::flow_hit,
            flow_miss = stages::single::flow_miss,
            flow_insert = stages::single::flow_insert,
            verify_aes_cmac = stages::single::verify_aes_cmac,
            verify_siphash = stages::single::verify_siphash,
            verify_together = stages::single::verify_together,
            verify_none = stages::single::verify_none,
            admit = stages::single::admit,
            replay_guard = stages::single::replay_guard,
            match_64 = stages::decision::match_64,
            match_1024 = stages::decision::match_1024,
            match_anew_64 = stages::decision::match_anew_64,
            match_anew_1024 = stages::decision::match_anew_1024,
            score_64 = stages::decision::score_64,
            score_1024 = stages::decision::score_1024,
            score_anew_64 = stages::decision::score_anew_64,
            score_anew_1024 = stages::decision::score_anew_1024,
            dispatch_64 = stages::decision::dispatch_64,
            dispatch_1024 = stages::decision::dispatch_1024,
            encap = stages::single::encap,
            encap_template = stages::single::encap_template,
            decap = stages::path::decap,
            learn_same = stages::path::learn_same,
            learn_fresh = stages::path::learn_fresh,
            strip = stages::single::strip,
            route = stages::path::route,
            established = stages::path::established,
            established_brief = stages::path::established_brief,
            established_srh = stages::path::established_srh,
            plain = stages::path::plain,
            verify_every = stages::path::verify_every,
            verify_brief = stages::path::verify_brief,
            new_brief_64 = stages::path::new_brief_64,
            bad_mac = stages::path::bad_mac,
            bad_brief = stages::path::bad_brief,
            new_flow_64 = stages::path::new_flow_64,
            new_flow_1024 = stages::path::new_flow_1024,
            reply_plain = stages::path::reply_plain,
            reply_same = stages::path::reply_same,
            reply_fresh = stages::path::reply_fresh,
            transit_strip = stages::path::transit_strip,
        }
    };
}
pub(crate) use all_stages;

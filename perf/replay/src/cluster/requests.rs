//! What became of each request.

use crate::figures::Served;
use crate::router::Instance;
use crate::workload::Job;

/// Times that a client asks again, at the most.
const RETRIES: u32 = 5;
/// How long it waits before the first of them; twice as long before each next, and [`LONGEST_MS`] at the most.
const FIRST_MS: f64 = 500.0;
const LONGEST_MS: f64 = 8_000.0;

/// What was counted of all requests.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that broke, refused ones included.
    pub broken: usize,
    /// Of these, after the first token.
    pub broken_answers: usize,
    /// Requests at an instance that lacked what they needed.
    pub misdispatched: usize,
    /// Running requests that an engine threw out for want of room, and took up again.
    pub readmissions: usize,
}

/// One request.
#[derive(Clone, Debug, Default)]
struct Request {
    /// Where it is now.
    instance: Option<Instance>,
    /// Of its prompt, tokens that were found in the cache when it was first admitted there.
    reused_tokens: Option<u32>,
    has_first: bool,
    served: Option<Served>,
    is_over: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Requests {
    all: Vec<Request>,
    over: usize,
    tally: Tally,
}

/// What a client does whose connection broke.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Next {
    RetryAfter(f64),
    GiveUp,
}

impl Requests {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: vec![Request::default(); count],
            over: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn are_all_over(&self) -> bool {
        self.over == self.all.len()
    }

    /// It has a connection to an instance.
    pub(super) fn placed(&mut self, id: u32, instance: Instance) {
        let request = &mut self.all[id as usize];
        request.instance = Some(instance);
        request.reused_tokens = None;
        request.has_first = false;
    }

    /// Its engine takes it into the batch. One that is taken up again finds its own blocks: that is nothing saved.
    pub(super) fn admitted(&mut self, id: u32, reused_tokens: u32) {
        let request = &mut self.all[id as usize];
        if request.reused_tokens.is_some() {
            self.tally.readmissions += 1;
        }
        request.reused_tokens.get_or_insert(reused_tokens);
    }

    /// A token of it leaves its engine.
    pub(super) fn token(&mut self, now_ms: f64, job: &Job, instance: Instance, speed: f64) {
        let request = &mut self.all[job.id as usize];
        let reused_tokens = request.reused_tokens.unwrap_or_default();
        request.served.get_or_insert(Served {
            arrival_ms: job.arrival_ms,
            ttft_ms: now_ms - job.arrival_ms,
            input_tokens: job.input_tokens,
            reused_tokens: reused_tokens.min(job.input_tokens),
            instance,
            speed,
        });
    }

    /// Whether the token is the first of this attempt; asked once a token.
    pub(super) fn is_first(&mut self, id: u32) -> bool {
        let request = &mut self.all[id as usize];
        !std::mem::replace(&mut request.has_first, true)
    }

    /// It is answered, or never will be.
    pub(super) fn over(&mut self, id: u32, is_answered: bool) {
        let request = &mut self.all[id as usize];
        if !std::mem::replace(&mut request.is_over, true) {
            self.over += 1;
        }
        request.instance = None;
        if !is_answered {
            request.served = None;
        }
    }

    pub(super) fn misdispatched(&mut self, id: u32) {
        self.tally.misdispatched += 1;
        self.over(id, false);
    }

    /// Its connection broke: where it was, and what its client does.
    pub(super) fn broken(&mut self, job: &Job) -> Option<(Instance, Next)> {
        let request = &mut self.all[job.id as usize];
        let instance = request.instance.take()?;
        self.tally.broken += 1;
        self.tally.broken_answers += usize::from(request.has_first);
        if job.attempt >= RETRIES {
            self.over(job.id, false);
            return Some((instance, Next::GiveUp));
        }
        let wait_ms = FIRST_MS * f64::from(1_u32 << job.attempt);
        Some((instance, Next::RetryAfter(wait_ms.min(LONGEST_MS))))
    }

    /// What was served, in the order of arrival, and what was counted.
    pub(super) fn conclude(self) -> (Vec<Served>, Tally) {
        let served = self.all.into_iter().filter_map(|request| request.served);
        (served.collect(), self.tally)
    }
}

//! The AFR as a router of the replay: a request is a TCP connection whose SYN carries real signed metadata, given as a frame
//! to a worker; the instance is the one whose SID the frame leaves for. Its first payload follows a round trip later, the
//! client's FIN when the answer ends. Instances' agents see what their engines do, and report: in the reply with the first
//! token, through the worker that has it, and in datagrams to every AFR; both later, and not always.
//!
//! | module | is |
//! |---|---|
//! | [`config`] | `afrd.toml` of a run, and what varies |
//! | [`frames`] | the clients' and the instances' frames |
//! | [`agent`] | an instance's agent |
//! | [`appliance`] | one AFR |

mod config;
mod frames;
mod agent;
mod appliance;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use afr_controlplane::api::core::Operation;
use afr_controlplane::config::Problems;
use afr_dataplane::aft::inflight::FINE_TICK_US;
use afr_dataplane::counters::Figure;
use afr_dataplane::id::{Now, PortIx};
use afr_dataplane::verdict::MetadataNote;
use afr_endpoint::report::ReportError;
use afr_perf::rng::{self, SplitMix64};
use afr_wire::EventOp;

use agent::Agent;
use appliance::Appliance;
pub use config::{AfrOptions, Depths};
pub use frames::FrameError;
use frames::{Clients, FIRST_SEQUENCE, flag};

use crate::router::{EngineLoad, Instance, Micros, RouteError, Router, Standing};
use crate::workload::{Block, Job};

const CLIENTS: PortIx = PortIx(0);
const FABRIC: PortIx = PortIx(1);
/// The AFRs' monotonic clock when a run begins.
const BEGIN_US: u64 = 100_000_000;
/// The same of the calendar.
const BEGIN_UNIX_MS: u64 = 1_793_318_400_000;
/// How often control cores wake and workers look after their flows.
const STEP_US: Micros = 1_000;
/// When the dead report.
const NEVER: Micros = Micros::MAX;

/// A frame under way to an AFR.
struct Coming {
    afr: usize,
    worker: usize,
    port: PortIx,
    frame: Vec<u8>,
    /// Where it must go, if it is one of a connection that was dispatched.
    bound_for: Option<Instance>,
}

/// A connection.
struct Connection {
    afr: usize,
    worker: usize,
    header: Vec<u8>,
    sent: u32,
}

/// All AFRs of a cluster, and its instances' agents.
pub struct Afrs {
    options: AfrOptions,
    clients: Clients,
    afrs: Vec<Appliance>,
    agents: Vec<Agent>,
    rate_tokens_s: u32,
    /// By instance: how often it has died.
    deaths: Vec<u32>,
    /// By instance: when its agent looks again whether to send a datagram, and when it sent the last; never while it is
    /// dead.
    polls: Vec<(Micros, Micros)>,
    connections: HashMap<u32, Connection>,
    coming: BTreeMap<(Micros, u64), Coming>,
    sent: u64,
    next_step: Micros,
    dice: SplitMix64,
    tally: Tally,
}

/// What is counted beside the AFRs' own figures.
#[derive(Debug, Default)]
struct Tally {
    reports: u64,
    lost: u64,
    faults: u64,
    /// Segments of a connection that left for another instance than its SYN.
    inconsistent: u64,
}

impl Afrs {
    /// AFRs before so many instances, which compute `rate_tokens_s` prompt tokens a second.
    ///
    /// # Errors
    ///
    /// [`Problems`] of the options' lines of `afrd.toml`.
    pub fn new(
        options: &AfrOptions,
        instances: usize,
        rate_tokens_s: u32,
    ) -> Result<Self, Box<Problems>> {
        let mut afrs = Vec::with_capacity(options.afrs);
        for afr in 0..options.afrs {
            let loaded = config::loaded(options, instances, rate_tokens_s)?;
            let seed = rng::at(options.seed, afr as u64);
            afrs.push(Appliance::new(loaded, options.workers, seed, clock(0)));
        }
        let agent = |instance| Agent::new(instance, BEGIN_UNIX_MS, rate_tokens_s, 0);
        let (shortest_us, _) = options.report_interval_us;
        // Agents are not in step.
        let poll = |instance: usize| (shortest_us * instance as u64 / instances as u64, 0);
        Ok(Self {
            clients: Clients::new(options.depths, &options.needs),
            afrs,
            agents: (0..instances).map(agent).collect(),
            rate_tokens_s,
            deaths: vec![0; instances],
            polls: (0..instances).map(poll).collect(),
            connections: HashMap::new(),
            coming: BTreeMap::new(),
            sent: 0,
            next_step: STEP_US,
            dice: SplitMix64::new(rng::at(options.seed, u64::MAX)),
            tally: Tally::default(),
            options: options.clone(),
        })
    }

    /// What happens until `now`, in its order.
    fn advance(&mut self, now: Micros) {
        loop {
            let arrives = self.coming.first_key_value().map(|((at, _), _)| *at);
            let polls = self.polls.iter().enumerate();
            let poll = polls.map(|(n, (at, _))| (*at, n)).min();
            let at = [arrives, poll.map(|(at, _)| at), Some(self.next_step)];
            let Some(at) = at.into_iter().flatten().min().filter(|at| *at <= now) else {
                return;
            };
            if at == self.next_step {
                let mut is_idle = true;
                for afr in &mut self.afrs {
                    is_idle &= afr.step(clock(at));
                }
                is_idle &= self.options.publish_us <= STEP_US;
                self.next_step = if is_idle {
                    next_sample(at)
                } else {
                    at + STEP_US
                };
            } else if arrives == Some(at) {
                if let Some((_, coming)) = self.coming.pop_first() {
                    self.receive(at, &coming);
                }
            } else if let Some((_, instance)) = poll {
                self.poll(at, instance);
            }
        }
    }

    /// Something happens: the control cores' next waking is no idle one.
    fn wake(&mut self, at: Micros) {
        self.next_step = self.next_step.min(at - at % STEP_US + STEP_US);
    }

    fn receive(&mut self, at: Micros, coming: &Coming) {
        self.wake(at);
        let afr = &mut self.afrs[coming.afr];
        let left_for = afr.receive(coming.worker, coming.port, &coming.frame, clock(at));
        let is_alive = |instance: &Instance| self.polls[*instance].0 != NEVER;
        if coming.bound_for.is_some_and(|it| is_alive(&it)) && left_for != coming.bound_for {
            self.tally.inconsistent += 1;
        }
    }

    /// An agent looks whether there is something to tell.
    fn poll(&mut self, at: Micros, instance: Instance) {
        let (shortest_us, longest_us) = self.options.report_interval_us;
        let agent = &mut self.agents[instance];
        let (next, last) = &mut self.polls[instance];
        *next = at + shortest_us.max(1);
        if at - *last < longest_us && !agent.has_news() {
            return;
        }
        *last = at;
        match agent.datagram(clock(at).unix_ms) {
            Ok(report) => {
                let frame = frames::datagram(instance, &report);
                for afr in 0..self.afrs.len() {
                    let worker = instance % self.options.workers;
                    self.report(at, afr, worker, frame.clone());
                }
            }
            Err(error) => self.is_at_fault(error),
        }
    }

    fn is_at_fault(&mut self, _: ReportError) {
        self.tally.faults += 1;
    }

    /// A report sets out to an AFR, and may not get there.
    fn report(&mut self, at: Micros, afr: usize, worker: usize, frame: Vec<u8>) {
        self.tally.reports += 1;
        if self.dice.next_f64() < self.options.report_loss {
            self.tally.lost += 1;
            return;
        }
        let coming = Coming {
            afr,
            worker,
            port: FABRIC,
            frame,
            bound_for: None,
        };
        self.send(at + self.options.report_delay_us, coming);
    }

    fn send(&mut self, at: Micros, coming: Coming) {
        self.sent += 1;
        self.coming.insert((at, self.sent), coming);
    }

    /// The client's next segment, which must go where the first went.
    fn follow(&mut self, at: Micros, job: &Job, flags: u8, instance: Instance) {
        let Some(connection) = self.connections.get_mut(&job.id) else {
            return;
        };
        let sequence = FIRST_SEQUENCE.wrapping_add(connection.sent);
        let frame = frames::segment(job, &connection.header, flags, sequence);
        connection.sent += 31;
        let coming = Coming {
            afr: connection.afr,
            worker: connection.worker,
            port: CLIENTS,
            frame,
            bound_for: Some(instance),
        };
        self.send(at, coming);
    }
}

impl Router for Afrs {
    /// Candidates are the AFR's own affair.
    fn place(&mut self, now: Micros, job: &Job, _: &[Instance]) -> Result<Instance, RouteError> {
        self.advance(now);
        self.wake(now);
        let refused = |why: String| RouteError::Refused { job: job.id, why };
        let flow = u64::from(job.attempt) << 32 | u64::from(job.id);
        let hash = rng::at(self.options.seed, flow);
        let afr = (hash % self.afrs.len() as u64) as usize;
        let worker = ((hash >> 32) % self.options.workers as u64) as usize;
        let clock = clock(now);
        let header = self.clients.header(job, clock.unix_s() as u32);
        let header = header.map_err(|error| refused(error.to_string()))?;
        let syn = frames::segment(job, &header, flag::SYN, FIRST_SEQUENCE);
        let appliance = &mut self.afrs[afr];
        let instance = appliance
            .receive(worker, CLIENTS, &syn, clock)
            .ok_or_else(|| refused(appliance.account()))?;
        let connection = Connection {
            afr,
            worker,
            header,
            sent: 1,
        };
        self.connections.insert(job.id, connection);
        if self.polls[instance].0 != NEVER {
            let payload_at = now + self.options.round_trip_us;
            self.follow(payload_at, job, flag::PSH_ACK, instance);
        }
        Ok(instance)
    }

    fn prefilled(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.advance(now);
        let Some(Connection { afr, worker, .. }) = self.connections.get(&job.id) else {
            return;
        };
        let (afr, worker) = (*afr, *worker);
        if self.options.in_band {
            match self.agents[instance].header(clock(now).unix_ms) {
                Ok(header) => {
                    let frame = frames::reply(job, instance, &header);
                    self.report(now, afr, worker, frame);
                }
                Err(error) => self.is_at_fault(error),
            }
        }
        let acknowledged_at = now + self.options.round_trip_us;
        self.follow(acknowledged_at, job, flag::ACK, instance);
    }

    fn finished(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.advance(now);
        let end_at = now + self.options.round_trip_us;
        self.follow(end_at, job, flag::FIN_ACK, instance);
        self.connections.remove(&job.id);
    }

    /// The client was reset: it sends nothing more.
    fn broken(&mut self, now: Micros, job: &Job, _: Instance) {
        self.advance(now);
        self.connections.remove(&job.id);
    }

    fn stored(&mut self, now: Micros, instance: Instance, blocks: &[Block]) {
        self.advance(now);
        self.agents[instance].cached(EventOp::Stored, blocks);
    }

    fn evicted(&mut self, now: Micros, instance: Instance, blocks: &[Block]) {
        self.advance(now);
        self.agents[instance].cached(EventOp::Evicted, blocks);
    }

    fn loaded(&mut self, now: Micros, instance: Instance, load: &EngineLoad) {
        self.advance(now);
        self.agents[instance].loaded(load);
    }

    fn paced(&mut self, now: Micros, instance: Instance, speed: f64) {
        self.advance(now);
        self.agents[instance].paced(speed);
    }

    fn died(&mut self, now: Micros, instance: Instance) {
        self.advance(now);
        self.deaths[instance] += 1;
        self.polls[instance].0 = NEVER;
    }

    fn returned(&mut self, now: Micros, instance: Instance) {
        self.advance(now);
        let (unix_ms, deaths) = (clock(now).unix_ms, self.deaths[instance]);
        self.agents[instance] = Agent::new(instance, unix_ms, self.rate_tokens_s, deaths);
        // It says at once that it is there.
        self.polls[instance] = (now, 0);
    }

    /// An operator drains; that an instance is dead the AFR finds out by itself, from its silence.
    fn declared(&mut self, now: Micros, instance: Instance, standing: Standing) {
        self.advance(now);
        let operation = match standing {
            Standing::Up => Operation::Undrain,
            Standing::Draining => Operation::Drain,
            Standing::Down => return,
        };
        for afr in &mut self.afrs {
            afr.operate(instance, operation);
        }
        self.wake(now);
    }

    fn counts(&self) -> Vec<(&'static str, f64)> {
        let sum = |figure| self.afrs.iter().map(|afr| afr.figure(figure)).sum::<u64>();
        let note = |note| sum(Figure::Note(note)) as f64;
        let prompt = sum(Figure::PromptTokens).max(1) as f64;
        vec![
            ("reports", self.tally.reports as f64),
            ("reports_lost", self.tally.lost as f64),
            ("reports_applied", note(MetadataNote::ReportApplied)),
            ("report_faults", self.tally.faults as f64),
            ("inconsistent_segments", self.tally.inconsistent as f64),
            (
                "believed_reuse",
                sum(Figure::AffinityTokens) as f64 / prompt,
            ),
        ]
    }
}

/// When control cores would next wake to something where nothing happens: to sample the tokens in flight.
const fn next_sample(at: Micros) -> Micros {
    let tick = (BEGIN_US + at) / FINE_TICK_US + 1;
    (tick * FINE_TICK_US - BEGIN_US).next_multiple_of(STEP_US)
}

/// What the clocks of AFRs and instances show.
const fn clock(at: Micros) -> Now {
    Now {
        mono_us: BEGIN_US + at,
        unix_ms: BEGIN_UNIX_MS + at / 1_000,
    }
}

//! A cluster in virtual time: engines of any make, each with its own speed, under a router, with clients that ask again
//! when their connection breaks, and with what happens to instances by a [`Scenario`].
//!
//! At one instant steps end first, in the order of instances, then things happen, then requests arrive, then engines that
//! can begin a step; this is the order of `aisimulate-core`'s own replay, which this loop must equal on an even cluster.
//!
//! | module | is |
//! |---|---|
//! | [`engine`] | what the loop wants of an engine |
//! | [`slot`] | an instance's place in it |
//! | [`requests`] | what became of each request |
//! | [`faults`] | what happens to instances, and to who is connected with them |

pub mod engine;
mod requests;
mod slot;
mod faults;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use engine::{CacheChange, Engine, EngineError, Output, micros};
use requests::Requests;
pub use requests::Tally;
use slot::Slot;

use crate::engines::Engines;
use crate::figures::Served;
use crate::router::{Instance, RouteError, Router};
use crate::scenario::{Fault, Scenario};
use crate::workload::{Job, Workload};

/// How often engines are looked at: more often than the shortest step of an engine at the model's speed (5.74 ms), so that
/// none is missed.
const LOOK_MS: f64 = 5.0;

/// What varies of the clients and the control plane.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Timing {
    /// From an instance's death to when the control plane knows of it.
    pub detect_ms: f64,
    /// From a client's SYN to the answer of who refuses it.
    pub round_trip_ms: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            detect_ms: 1_000.0,
            round_trip_ms: 0.2,
        }
    }
}

/// What comes at a time of its own.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Coming {
    Fault(Instance, Fault),
    /// The control plane looks whether the instance that died in this life is back.
    Found(Instance, u32),
    /// A connection attempt is refused.
    Refused(u32),
    Retry(u32),
}

/// A cluster during a run.
struct Cluster<'a, E> {
    scenario: &'a Scenario,
    timing: Timing,
    router: &'a mut dyn Router,
    make: &'a mut dyn FnMut(Instance) -> Result<E, EngineError>,
    jobs: Vec<Job>,
    requests: Requests,
    slots: Vec<Slot<E>>,
    engines: Engines,
    /// Candidates by kind of request.
    candidates: Vec<Vec<Instance>>,
    /// Ends of steps under way.
    ends: BTreeSet<(At, Instance)>,
    /// Engines that may be able to begin a step.
    ready: BTreeSet<Instance>,
    agenda: BTreeMap<(At, u64), Coming>,
    entered: u64,
}

/// A time that is not negative, in an order.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At(u64);

impl At {
    const fn ms(ms: f64) -> Self {
        // Floating-point numbers that are not negative are in the order of their bits.
        Self(ms.to_bits())
    }

    const fn to_ms(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// Runs a workload on engines that `make` makes.
///
/// # Errors
///
/// [`EngineError`] of any engine.
pub fn run<E: Engine>(
    workload: &Workload,
    scenario: &Scenario,
    timing: Timing,
    router: &mut dyn Router,
    make: &mut dyn FnMut(Instance) -> Result<E, EngineError>,
) -> Result<(Vec<Served>, Tally), EngineError> {
    let count = scenario.speeds.len();
    let mut cluster = Cluster {
        scenario,
        timing,
        router,
        slots: Vec::with_capacity(count),
        make,
        jobs: workload.jobs.clone(),
        requests: Requests::new(workload.jobs.len()),
        engines: Engines::new(count),
        candidates: vec![Vec::new(); scenario.variants.len().max(1)],
        ends: BTreeSet::new(),
        ready: BTreeSet::new(),
        agenda: BTreeMap::new(),
        entered: 0,
    };
    for (at, speed) in scenario.speeds.iter().enumerate() {
        let mut engine = (cluster.make)(at)?;
        engine.set_speed(*speed);
        cluster.slots.push(Slot::new(engine, *speed));
    }
    cluster.find_candidates();
    let last_ms = workload.jobs.last().map_or(0.0, |job| job.arrival_ms);
    for event in &scenario.events {
        if event.instance < count {
            cluster.enter(
                event.at * last_ms,
                Coming::Fault(event.instance, event.fault),
            );
        }
    }
    cluster.run()?;
    Ok(cluster.requests.conclude())
}

impl<E: Engine> Cluster<'_, E> {
    fn run(&mut self) -> Result<(), EngineError> {
        let mut arrived = 0;
        let mut look_ms = LOOK_MS;
        while !self.requests.are_all_over() {
            let arrival = self.jobs.get(arrived).map(|job| At::ms(job.arrival_ms));
            let end = self.ends.first().map(|(at, _)| *at);
            let coming = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let times = [arrival, end, coming, Some(At::ms(look_ms))];
            let Some(now) = times.into_iter().flatten().min() else {
                break;
            };
            loop {
                let mut changed = self.end_steps(now)?;
                changed |= self.happen(now)?;
                while let Some(job) = self.jobs.get(arrived)
                    && At::ms(job.arrival_ms) <= now
                {
                    self.place(now, arrived)?;
                    arrived += 1;
                    changed = true;
                }
                changed |= self.begin_steps(now)?;
                if At::ms(look_ms) <= now {
                    self.look(now);
                    look_ms += LOOK_MS;
                    changed = true;
                }
                if !changed {
                    break;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, at_ms: f64, coming: Coming) {
        self.entered += 1;
        self.agenda.insert((At::ms(at_ms), self.entered), coming);
    }

    fn end_steps(&mut self, now: At) -> Result<bool, EngineError> {
        let mut changed = false;
        while let Some((at, instance)) = self.ends.first().copied()
            && at <= now
        {
            self.ends.pop_first();
            self.end_step(now, instance)?;
            changed = true;
        }
        Ok(changed)
    }

    fn end_step(&mut self, now: At, instance: Instance) -> Result<(), EngineError> {
        let (now_ms, now_us) = (now.to_ms(), micros(now.to_ms()));
        let slot = &mut self.slots[instance];
        let Some(engine) = &mut slot.engine else {
            return Ok(());
        };
        let ended = engine.end(now_ms)?;
        slot.stepped.push(ended.prefilled_tokens);
        slot.gauges = ended.gauges;
        let did_nothing = slot.begun_ms == now_ms && ended.outputs.is_empty();
        if let Some(speed) = slot.measured() {
            self.router.paced(now_us, instance, speed);
        }
        for change in &ended.cache {
            match change {
                CacheChange::Stored(blocks) => {
                    self.engines.stored(instance, blocks);
                    self.router.stored(now_us, instance, blocks);
                }
                CacheChange::Evicted(blocks) => {
                    self.engines.evicted(instance, blocks);
                    self.router.evicted(now_us, instance, blocks);
                }
            }
        }
        for output in &ended.outputs {
            self.answer(now, instance, *output);
        }
        // What took no time and did nothing would do it again for ever.
        if !did_nothing {
            self.ready.insert(instance);
        }
        Ok(())
    }

    fn answer(&mut self, now: At, instance: Instance, output: Output) {
        let now_us = micros(now.to_ms());
        let job = &self.jobs[output.job as usize];
        let speed = self.slots[instance].speed;
        if output.has_token {
            self.requests.token(now.to_ms(), job, instance, speed);
        }
        if output.is_last {
            self.slots[instance].requests.remove(&job.id);
            self.engines.prefilled(job.id);
            self.router.finished(now_us, job, instance);
            self.requests.over(job.id, output.has_token);
        } else if self.requests.is_first(job.id) {
            self.engines.prefilled(job.id);
            self.tell(now, instance);
            let job = &self.jobs[output.job as usize];
            self.router.prefilled(now_us, job, instance);
        }
    }

    fn begin_steps(&mut self, now: At) -> Result<bool, EngineError> {
        let mut changed = false;
        while let Some(instance) = self.ready.pop_first() {
            let slot = &mut self.slots[instance];
            let Some(engine) = &mut slot.engine else {
                continue;
            };
            let Some(begun) = engine.begin(now.to_ms())? else {
                continue;
            };
            slot.began(now.to_ms());
            for (job, reused_tokens) in begun.admitted {
                self.requests.admitted(job, reused_tokens);
            }
            self.ends.insert((At::ms(begun.ends_ms).max(now), instance));
            changed = true;
        }
        Ok(changed)
    }

    /// A request arrives, for the first time or again.
    fn place(&mut self, now: At, at: usize) -> Result<(), EngineError> {
        let now_us = micros(now.to_ms());
        let job = &self.jobs[at];
        let candidates = self.candidates.get(job.variant);
        let candidates = candidates.map_or(&[][..], |them| &them[..]);
        let instance = match self.router.place(now_us, job, candidates) {
            Ok(instance) => instance,
            Err(RouteError::Refused { .. } | RouteError::NoCandidate { .. }) => {
                self.requests.over(job.id, false);
                return Ok(());
            }
        };
        self.requests.placed(job.id, instance);
        if !self.scenario.serves(instance, job.variant) {
            self.router.broken(now_us, job, instance);
            self.requests.misdispatched(job.id);
            return Ok(());
        }
        let slot = &mut self.slots[instance];
        if let Some(engine) = &mut slot.engine {
            slot.requests.insert(job.id);
            self.engines.arrived(instance, job);
            let gauges = engine.submit(now.to_ms(), job)?;
            self.tell(now, instance);
            self.slots[instance].gauges = gauges;
            self.ready.insert(instance);
        } else if slot.is_silent {
            slot.requests.insert(job.id);
        } else {
            let id = job.id;
            self.enter(now.to_ms() + self.timing.round_trip_ms, Coming::Refused(id));
        }
        Ok(())
    }

    /// Tells what an engine does, and what it says that it does.
    fn tell(&mut self, now: At, instance: Instance) {
        let now_us = micros(now.to_ms());
        let (load, slot) = (self.engines.load(instance), &self.slots[instance]);
        self.router.truth(now_us, instance, &load, slot.speed);
        let said = if slot.lies { Default::default() } else { load };
        self.router.loaded(now_us, instance, &said);
    }

    /// Whoever stands beside the engines looks at them.
    fn look(&mut self, now: At) {
        for instance in 0..self.slots.len() {
            let slot = &mut self.slots[instance];
            if slot.engine.is_none() {
                continue;
            }
            let before = self.engines.load(instance);
            for tokens in slot.stepped.drain(..) {
                self.engines.stepped(instance, tokens);
            }
            let gauges = slot.gauges;
            self.engines
                .observed(instance, gauges.waiting, gauges.running, gauges.kv_used);
            if self.engines.load(instance) != before {
                self.tell(now, instance);
            }
        }
    }
}

//! What happens to instances, and to who is connected with them.

use super::engine::{Engine, EngineError, micros};
use super::requests::Next;
use super::{At, Cluster, Coming};
use crate::router::{Instance, Standing};
use crate::scenario::Fault;

impl<E: Engine> Cluster<'_, E> {
    /// What is due happens.
    pub(super) fn happen(&mut self, now: At) -> Result<bool, EngineError> {
        let mut changed = false;
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
        {
            changed = true;
            match entry.remove() {
                Coming::Fault(instance, fault) => self.strike(now, instance, fault)?,
                Coming::Found(instance, life) => {
                    let slot = &self.slots[instance];
                    if slot.engine.is_none() && slot.lives == life {
                        self.declare(now, instance, Standing::Down);
                        self.break_all(now, instance);
                    }
                }
                Coming::Refused(job) => self.break_one(now, job),
                Coming::Retry(job) => {
                    self.jobs[job as usize].attempt += 1;
                    self.place(now, job as usize)?;
                }
            }
        }
        Ok(changed)
    }

    fn strike(&mut self, now: At, instance: Instance, fault: Fault) -> Result<(), EngineError> {
        let now_us = micros(now.to_ms());
        let slot = &mut self.slots[instance];
        match fault {
            Fault::Dies | Fault::Vanishes => {
                if slot.engine.is_none() {
                    return Ok(());
                }
                slot.dies(fault == Fault::Vanishes);
                let life = slot.lives;
                self.ends.retain(|(_, at)| *at != instance);
                self.ready.remove(&instance);
                self.engines.cleared(instance);
                self.router.died(now_us, instance);
                if fault == Fault::Dies {
                    self.break_all(now, instance);
                }
                let found_ms = now.to_ms() + self.timing.detect_ms;
                self.enter(found_ms, Coming::Found(instance, life));
            }
            Fault::Returns => {
                if slot.engine.is_some() {
                    return Ok(());
                }
                let mut engine = (self.make)(instance)?;
                engine.set_speed(slot.speed);
                slot.returns(engine);
                self.router.returned(now_us, instance);
                // Who waited for the silent one is told by the one that is back.
                self.break_all(now, instance);
                self.declare(now, instance, Standing::Up);
            }
            Fault::Drains => self.declare(now, instance, Standing::Draining),
            Fault::Undrains => self.declare(now, instance, Standing::Up),
            Fault::Pace(speed) => {
                slot.speed = speed;
                if let Some(engine) = &mut slot.engine {
                    engine.set_speed(speed);
                    self.tell(now, instance);
                }
            }
            Fault::Lies | Fault::Confesses => {
                slot.lies = fault == Fault::Lies;
                if slot.engine.is_some() {
                    self.tell(now, instance);
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, now: At, instance: Instance, standing: Standing) {
        if self.slots[instance].standing != standing {
            self.slots[instance].standing = standing;
            self.find_candidates();
            let now_us = micros(now.to_ms());
            self.router.declared(now_us, instance, standing);
        }
    }

    pub(super) fn find_candidates(&mut self) {
        for (variant, candidates) in self.candidates.iter_mut().enumerate() {
            let may = |at: &Instance| {
                self.slots[*at].standing == Standing::Up && self.scenario.serves(*at, variant)
            };
            *candidates = (0..self.slots.len()).filter(may).collect();
        }
    }

    /// All connections with an instance break.
    fn break_all(&mut self, now: At, instance: Instance) {
        for job in std::mem::take(&mut self.slots[instance].requests) {
            self.break_one(now, job);
        }
    }

    /// A connection breaks; its client asks again after a while, a few times.
    fn break_one(&mut self, now: At, id: u32) {
        let job = &self.jobs[id as usize];
        let Some((instance, next)) = self.requests.broken(job) else {
            return;
        };
        self.engines.prefilled(id);
        self.router.broken(micros(now.to_ms()), job, instance);
        if let Next::RetryAfter(ms) = next {
            self.enter(now.to_ms() + ms, Coming::Retry(id));
        }
    }
}

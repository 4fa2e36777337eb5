//! Routers that know nothing of prompts: at most how many of their own requests are with whom.

use afr_perf::rng::{self, SplitMix64};

use super::least;
use crate::router::{Instance, Micros, RouteError, Router};
use crate::workload::Job;

/// In turn.
#[derive(Debug)]
pub struct RoundRobin {
    instances: usize,
    next: usize,
}

impl RoundRobin {
    /// Over so many instances.
    #[must_use]
    pub const fn new(instances: usize) -> Self {
        Self { instances, next: 0 }
    }
}

impl Router for RoundRobin {
    fn place(&mut self, _: Micros, _: &Job) -> Result<Instance, RouteError> {
        let chosen = self.next;
        self.next = (self.next + 1) % self.instances;
        Ok(chosen)
    }
}

/// By dice.
#[derive(Debug)]
pub struct Random {
    instances: usize,
    dice: SplitMix64,
}

impl Random {
    /// Over so many instances.
    #[must_use]
    pub const fn new(instances: usize, seed: u64) -> Self {
        Self {
            instances,
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Random {
    fn place(&mut self, _: Micros, _: &Job) -> Result<Instance, RouteError> {
        Ok(self.dice.below(self.instances as u64) as usize)
    }
}

/// A router's own requests that have not ended, by instance.
#[derive(Debug)]
pub(super) struct OwnRequests(pub(super) Vec<u32>);

impl OwnRequests {
    pub(super) fn new(instances: usize) -> Self {
        Self(vec![0; instances])
    }

    pub(super) fn ended(&mut self, instance: Instance) {
        self.0[instance] = self.0[instance].saturating_sub(1);
    }
}

/// Fewest own requests, from prompt to last token; ties by dice.
#[derive(Debug)]
pub struct LeastRequests {
    own: OwnRequests,
    dice: SplitMix64,
}

impl LeastRequests {
    /// Over so many instances.
    #[must_use]
    pub fn new(instances: usize, seed: u64) -> Self {
        Self {
            own: OwnRequests::new(instances),
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for LeastRequests {
    fn place(&mut self, _: Micros, _: &Job) -> Result<Instance, RouteError> {
        let own = &mut self.own.0;
        let chosen = least(own.len(), &mut self.dice, |at| own[at]);
        own[chosen] += 1;
        Ok(chosen)
    }

    fn finished(&mut self, _: Micros, _: &Job, instance: Instance) {
        self.own.ended(instance);
    }
}

/// Fewer own requests of two by dice.
#[derive(Debug)]
pub struct TwoChoices {
    own: OwnRequests,
    dice: SplitMix64,
}

impl TwoChoices {
    /// Over so many instances.
    #[must_use]
    pub fn new(instances: usize, seed: u64) -> Self {
        Self {
            own: OwnRequests::new(instances),
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for TwoChoices {
    fn place(&mut self, _: Micros, _: &Job) -> Result<Instance, RouteError> {
        let own = &mut self.own.0;
        let count = own.len() as u64;
        let one = self.dice.below(count);
        let other = (one + 1 + self.dice.below(count - 1)) % count;
        let [one, other] = [one as usize, other as usize];
        let chosen = if own[other] < own[one] { other } else { one };
        own[chosen] += 1;
        Ok(chosen)
    }

    fn finished(&mut self, _: Micros, _: &Job, instance: Instance) {
        self.own.ended(instance);
    }
}

/// Consistent hashing of conversations. While nobody comes or goes, any even hash chooses as Maglev does.
#[derive(Debug)]
pub struct Maglev {
    instances: usize,
    seed: u64,
}

impl Maglev {
    /// Over so many instances.
    #[must_use]
    pub const fn new(instances: usize, seed: u64) -> Self {
        Self { instances, seed }
    }
}

impl Router for Maglev {
    fn place(&mut self, _: Micros, job: &Job) -> Result<Instance, RouteError> {
        Ok((rng::at(self.seed, job.conversation) % self.instances as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    fn places(router: &mut dyn Router, jobs: &[Job]) -> Vec<Instance> {
        jobs.iter()
            .map(|job| router.place(0, job).unwrap())
            .collect()
    }

    fn jobs(count: u64) -> Vec<Job> {
        let ids: Vec<[u64; 2]> = (0..count).map(|n| [0, n / 2 + 1]).collect();
        let requests: Vec<_> = ids.iter().map(|ids| (1_024, &ids[..])).collect();
        workload(&requests).jobs
    }

    #[test]
    fn in_turn_and_by_dice() {
        assert_eq!(places(&mut RoundRobin::new(3), &jobs(4)), [0, 1, 2, 0]);
        let chosen = places(&mut Random::new(4, 1), &jobs(400));
        for instance in 0..4 {
            let here = chosen.iter().filter(|at| **at == instance).count();
            assert!((70..130).contains(&here), "{here}");
        }
    }

    #[test]
    fn the_least_loaded_gets_it() {
        let jobs = jobs(5);
        let mut router = LeastRequests::new(4, 1);
        let mut first = places(&mut router, &jobs[..4]);
        let freed = first[2];
        router.finished(1, &jobs[2], freed);
        assert_eq!(router.place(1, &jobs[4]), Ok(freed));
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
    }

    #[test]
    fn of_two_the_less_loaded() {
        let jobs = jobs(200);
        let mut router = TwoChoices::new(2, 1);
        let chosen = places(&mut router, &jobs);
        let first = chosen.iter().filter(|at| **at == 0).count();
        assert_eq!(first, 100, "of two, two choices is the least loaded");
    }

    #[test]
    fn a_conversation_stays() {
        let jobs = jobs(200);
        let chosen = places(&mut Maglev::new(8, 1), &jobs);
        assert!(chosen.chunks(2).all(|turns| turns[0] == turns[1]));
        assert!((0..8).all(|instance| chosen.contains(&instance)));
    }
}

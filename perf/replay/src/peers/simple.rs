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
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        // The next in turn that is a candidate.
        for _ in 0..self.instances {
            let chosen = self.next;
            self.next = (self.next + 1) % self.instances;
            if candidates.binary_search(&chosen).is_ok() {
                return Ok(chosen);
            }
        }
        Err(RouteError::NoCandidate { job: job.id })
    }
}

/// By dice.
#[derive(Debug)]
pub struct Random {
    dice: SplitMix64,
}

impl Random {
    /// With these dice.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            dice: SplitMix64::new(seed),
        }
    }
}

impl Router for Random {
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        least(job, candidates, &mut self.dice, |_| 0)
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
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let own = &mut self.own.0;
        let chosen = least(job, candidates, &mut self.dice, |at| own[at])?;
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
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let own = &mut self.own.0;
        let count = candidates.len() as u64;
        let one = self.dice.below(count);
        let other = (one + 1 + self.dice.below(count.saturating_sub(1))) % count.max(1);
        let pair = [one, other].map(|at| candidates.get(at as usize).copied());
        let [Some(one), Some(other)] = pair else {
            return Err(RouteError::NoCandidate { job: job.id });
        };
        let chosen = if own[other] < own[one] { other } else { one };
        own[chosen] += 1;
        Ok(chosen)
    }

    fn finished(&mut self, _: Micros, _: &Job, instance: Instance) {
        self.own.ended(instance);
    }
}

/// Hashes of a conversation that are tried before the first candidate is taken.
const HASHES: u64 = 1_000;

/// Consistent hashing of conversations. While nobody comes or goes, any even hash chooses as Maglev does; who goes leaves
/// to the others what it had, evenly, and nothing else moves.
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
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let mut hash = rng::at(self.seed, job.conversation);
        for _ in 0..HASHES {
            let chosen = (hash % self.instances as u64) as usize;
            if candidates.binary_search(&chosen).is_ok() {
                return Ok(chosen);
            }
            hash = rng::at(hash, 0);
        }
        let none = RouteError::NoCandidate { job: job.id };
        candidates.first().copied().ok_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    fn places(router: &mut dyn Router, jobs: &[Job], instances: usize) -> Vec<Instance> {
        let all: Vec<Instance> = (0..instances).collect();
        jobs.iter()
            .map(|job| router.place(0, job, &all).unwrap())
            .collect()
    }

    fn jobs(count: u64) -> Vec<Job> {
        let ids: Vec<[u64; 2]> = (0..count).map(|n| [0, n / 2 + 1]).collect();
        let requests: Vec<_> = ids.iter().map(|ids| (1_024, &ids[..])).collect();
        workload(&requests).jobs
    }

    #[test]
    fn in_turn_and_by_dice() {
        let jobs = jobs(400);
        let mut in_turn = RoundRobin::new(3);
        assert_eq!(places(&mut in_turn, &jobs[..4], 3), [0, 1, 2, 0]);
        let chosen = places(&mut Random::new(1), &jobs, 4);
        for instance in 0..4 {
            let here = chosen.iter().filter(|at| **at == instance).count();
            assert!((70..130).contains(&here), "{here}");
        }
    }

    #[test]
    fn the_least_loaded_gets_it() {
        let jobs = jobs(5);
        let mut router = LeastRequests::new(4, 1);
        let mut first = places(&mut router, &jobs[..4], 4);
        let freed = first[2];
        router.finished(1, &jobs[2], freed);
        assert_eq!(router.place(1, &jobs[4], &[0, 1, 2, 3]), Ok(freed));
        router.broken(2, &jobs[0], first[0]);
        assert_eq!(router.place(2, &jobs[0], &[0, 1, 2, 3]), Ok(first[0]));
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
    }

    #[test]
    fn of_two_the_less_loaded() {
        let jobs = jobs(200);
        let mut router = TwoChoices::new(2, 1);
        let chosen = places(&mut router, &jobs, 2);
        let first = chosen.iter().filter(|at| **at == 0).count();
        assert_eq!(first, 100, "of two, two choices is the least loaded");
    }

    #[test]
    fn a_conversation_stays() {
        let jobs = jobs(200);
        let chosen = places(&mut Maglev::new(8, 1), &jobs, 8);
        assert!(chosen.chunks(2).all(|turns| turns[0] == turns[1]));
        assert!((0..8).all(|instance| chosen.contains(&instance)));
        let without: Vec<Instance> = (0..8).filter(|at| *at != 5).collect();
        let mut router = Maglev::new(8, 1);
        for (job, before) in jobs.iter().zip(&chosen) {
            let after = router.place(0, job, &without).unwrap();
            assert!(after != 5 && (*before == 5 || after == *before));
        }
    }

    #[test]
    fn only_candidates_are_chosen() {
        let jobs = jobs(100);
        let routers: [Box<dyn Router>; 5] = [
            Box::new(RoundRobin::new(5)),
            Box::new(Random::new(1)),
            Box::new(LeastRequests::new(5, 1)),
            Box::new(TwoChoices::new(5, 1)),
            Box::new(Maglev::new(5, 1)),
        ];
        for mut router in routers {
            let chosen: Vec<_> = jobs
                .iter()
                .map(|job| router.place(0, job, &[1, 3]).unwrap())
                .collect();
            assert!(chosen.iter().all(|at| [1, 3].contains(at)));
            assert!([1, 3].iter().all(|at| chosen.contains(at)));
            assert_eq!(router.place(0, &jobs[0], &[4]), Ok(4));
            let none = Err(RouteError::NoCandidate { job: 0 });
            assert_eq!(router.place(0, &jobs[0], &[]), none);
        }
    }
}

//! SGLang's cache-aware router: affinity by its own record of what it sent, until requests are out of balance.
//!
//! After `cache_aware.rs` of sglang-router with its defaults: if the greatest number of requests exceeds the smallest by more
//! than 64 and by half, the shortest queue; else the instance that was sent the longest prefix, if it is over 0.3 of the
//! prompt; else the least loaded. It hears nothing from engines; its record holds 2²⁶ characters an instance, here at
//! four to a token.

use afr_perf::rng::SplitMix64;

use super::least;
use super::recency::Recency;
use super::simple::OwnRequests;
use crate::router::{Instance, Micros, RouteError, Router, Standing};
use crate::workload::Job;

const BALANCE_ABSOLUTE: u32 = 64;
const BALANCE_RELATIVE: f64 = 1.5;
const CACHE_THRESHOLD: f64 = 0.3;
/// 2²⁶ characters in blocks of 512 tokens.
const RECORD_BLOCKS: usize = (1 << 26) / (4 * 512);

/// The router.
#[derive(Debug)]
pub struct CacheAware {
    own: OwnRequests,
    records: Vec<Recency>,
    dice: SplitMix64,
}

impl CacheAware {
    /// Over so many instances.
    #[must_use]
    pub fn new(instances: usize, seed: u64) -> Self {
        Self {
            own: OwnRequests::new(instances),
            records: (0..instances)
                .map(|_| Recency::new(RECORD_BLOCKS))
                .collect(),
            dice: SplitMix64::new(seed),
        }
    }

    fn choose(&mut self, job: &Job, candidates: &[Instance]) -> Result<Instance, RouteError> {
        let own = &self.own.0;
        let requests = || candidates.iter().map(|at| own[*at]);
        let most = requests().max().unwrap_or_default();
        let fewest = requests().min().unwrap_or_default();
        let is_unbalanced = most - fewest > BALANCE_ABSOLUTE
            && f64::from(most) > BALANCE_RELATIVE * f64::from(fewest);
        if !is_unbalanced {
            let matched: Vec<u32> = (self.records.iter())
                .map(|record| job.reused_tokens(record.matched(&job.blocks)))
                .collect();
            let longest = candidates.iter().map(|at| matched[*at]).max();
            let longest = longest.unwrap_or_default();
            if f64::from(longest) > CACHE_THRESHOLD * f64::from(job.input_tokens) {
                return least(job, candidates, &mut self.dice, |at| longest - matched[at]);
            }
        }
        least(job, candidates, &mut self.dice, |at| own[at])
    }
}

impl Router for CacheAware {
    fn place(
        &mut self,
        _: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let chosen = self.choose(job, candidates)?;
        self.records[chosen].sent(&job.blocks);
        self.own.0[chosen] += 1;
        Ok(chosen)
    }

    fn finished(&mut self, _: Micros, _: &Job, instance: Instance) {
        self.own.ended(instance);
    }

    fn declared(&mut self, _: Micros, instance: Instance, standing: Standing) {
        if standing == Standing::Down {
            self.records[instance] = Recency::new(RECORD_BLOCKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn a_long_prefix_is_followed_until_the_balance_is_lost() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4]), (2_560, &[1, 2, 3, 4, 5])]).jobs;
        let mut router = CacheAware::new(2, 1);
        let home = router.place(0, &jobs[0], &[0, 1]).unwrap();
        for _ in 1..=64 {
            assert_eq!(router.place(0, &jobs[1], &[0, 1]), Ok(home));
        }
        assert_eq!(router.place(0, &jobs[1], &[0, 1]), Ok(1 - home), "65 to 0");
        for _ in 0..2 {
            router.finished(0, &jobs[1], home);
        }
        assert_eq!(router.place(0, &jobs[1], &[home]), Ok(home));
    }

    #[test]
    fn a_short_prefix_is_not() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4]), (2_048, &[1, 7, 8, 9])]).jobs;
        let mut router = CacheAware::new(2, 1);
        let first = router.place(0, &jobs[0], &[0, 1]).unwrap();
        let second = router.place(0, &jobs[1], &[0, 1]);
        assert_eq!(second, Ok(1 - first), "a quarter");
    }

    #[test]
    fn one_that_was_down_comes_back_without_a_record() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4]), (2_048, &[1, 2, 3, 4])]).jobs;
        let mut router = CacheAware::new(2, 1);
        let home = router.place(0, &jobs[0], &[0, 1]).unwrap();
        assert_eq!(router.place(1, &jobs[1], &[1 - home]), Ok(1 - home));
        router.declared(2, home, Standing::Down);
        router.broken(2, &jobs[0], home);
        router.declared(3, home, Standing::Up);
        // Held by the other alone, which is the busier.
        assert_eq!(router.place(4, &jobs[1], &[0, 1]), Ok(1 - home));
    }
}

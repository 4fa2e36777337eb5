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
use crate::router::{Instance, Micros, RouteError, Router};
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

    fn choose(&mut self, job: &Job) -> Instance {
        let own = &self.own.0;
        let most = own.iter().max().copied().unwrap_or_default();
        let fewest = own.iter().min().copied().unwrap_or_default();
        let is_unbalanced = most - fewest > BALANCE_ABSOLUTE
            && f64::from(most) > BALANCE_RELATIVE * f64::from(fewest);
        if !is_unbalanced {
            let matched: Vec<u32> = (self.records.iter())
                .map(|record| job.reused_tokens(record.matched(&job.blocks)))
                .collect();
            let longest = matched.iter().max().copied().unwrap_or_default();
            if f64::from(longest) > CACHE_THRESHOLD * f64::from(job.input_tokens) {
                return least(matched.len(), &mut self.dice, |at| longest - matched[at]);
            }
        }
        least(own.len(), &mut self.dice, |at| own[at])
    }
}

impl Router for CacheAware {
    fn place(&mut self, _: Micros, job: &Job) -> Result<Instance, RouteError> {
        let chosen = self.choose(job);
        self.records[chosen].sent(&job.blocks);
        self.own.0[chosen] += 1;
        Ok(chosen)
    }

    fn finished(&mut self, _: Micros, _: &Job, instance: Instance) {
        self.own.ended(instance);
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
        let home = router.place(0, &jobs[0]).unwrap();
        for _ in 1..=64 {
            assert_eq!(router.place(0, &jobs[1]), Ok(home));
        }
        assert_eq!(router.place(0, &jobs[1]), Ok(1 - home), "65 to 0");
        for _ in 0..2 {
            router.finished(0, &jobs[1], home);
        }
        assert!(router.place(0, &jobs[1]).is_ok());
    }

    #[test]
    fn a_short_prefix_is_not() {
        let jobs = workload(&[(2_048, &[1, 2, 3, 4]), (2_048, &[1, 7, 8, 9])]).jobs;
        let mut router = CacheAware::new(2, 1);
        let first = router.place(0, &jobs[0]).unwrap();
        assert_eq!(router.place(0, &jobs[1]), Ok(1 - first), "a quarter");
    }
}

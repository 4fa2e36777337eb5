//! A made-up workload: sessions of agents that call tools, to contexts of 100,000 tokens and more.
//!
//! All sessions share the harness's system prompt and tools, those of a project its instructions as well. A step's prompt is
//! the step before with its answer and a tool's output at the end. Now and then a step forks sub-agents, which begin with
//! the whole context, work for some steps side by side, and are gone; the session goes on when the last is. A context that
//! would grow beyond the longest prompt is begun anew, with a summary. Sessions begin in bursts, and the first arrival
//! finds them under way.
//!
//! Where the figures of [`Agents::default`] are from:
//!
//! | figure | source |
//! |---|---|
//! | shared prompt of 24 blocks, 12,288 tokens | Codex on SWE-bench Pro, 610 traces (`Inferact/codex_swebenchpro_traces`, 2026): the first prompt has 12,367 tokens on average, 12,278 in the middle |
//! | steps of a session, median 30, 90 % below 57 | the same: calls of a trial 30, 57 |
//! | growth of 2,250 tokens a step, with an answer of 520 | the same: from 12,367 to 84,482 tokens in 33 calls, 17,239 of output; the spread from AIPerf's profile of Claude Code sessions (mean over median 1.5 and 1.25) |
//! | pauses between steps, median 2.0 s, mean 7.6 s | AIPerf's published trace *Inference Day 2026* (2,023 ms, 7,557 ms; 95 % below 30.8 s there, 29 s here); answers at 60 tokens a second, as there |
//! | longest prompt of 167,000 tokens | AIPerf's default |
//! | a sub-agent's eight steps | TraceLab (Zhu et al., arXiv:2606.30560): steps that tools cause, of one request |
//! | bursts of seven | Azure's 2023 code trace: its arrivals' variance is 13 times their mean in windows of a second |
//!
//! How often sub-agents are forked, how many projects there are, and how long their instructions, is chosen.

use afr_perf::engine::BLOCK_TOKENS;
use afr_perf::rng::{self, SplitMix64};
use afr_perf::trace::TraceRequest;

/// Tokens of an answer in a second.
const OUTPUT_PER_S: f64 = 60.0;
/// Sessions of a burst begin within so many milliseconds.
const BURST_MS: f64 = 1_000.0;
/// So long before the first arrival the first sessions begin: longer than nearly all last.
const BEFORE_MS: f64 = 1_200_000.0;

/// A distribution of positive numbers with a long tail, log-normal.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Long {
    /// Half are below.
    pub median: f64,
    /// The mean, greater than that.
    pub mean: f64,
}

impl Long {
    fn draw(&self, rng: &mut SplitMix64) -> f64 {
        let sigma = (2.0 * (self.mean / self.median).ln().max(0.0)).sqrt();
        self.median * (sigma * normal(rng)).exp()
    }

    fn count(&self, rng: &mut SplitMix64) -> u32 {
        self.draw(rng).max(1.0) as u32
    }
}

/// Box and Muller's.
fn normal(rng: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - rng.next_f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.next_f64()).cos()
}

/// What the sessions are like.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Agents {
    /// Sessions that begin in a second.
    pub per_second: f64,
    /// Blocks that all share.
    pub harness_blocks: u64,
    /// Projects.
    pub projects: u64,
    /// Blocks of a project's instructions.
    pub project_blocks: u64,
    /// Steps of a session.
    pub steps: Long,
    /// Tokens that a step adds, its answer included.
    pub growth: Long,
    /// Tokens of an answer.
    pub output: Long,
    /// From the end of an answer to the next step, in milliseconds.
    pub pause_ms: Long,
    /// Share of steps that fork sub-agents.
    pub forks: f64,
    /// Sub-agents of a fork, at the most.
    pub children: u64,
    /// Steps of a sub-agent.
    pub child_steps: Long,
    /// Longest prompt.
    pub most_tokens: u32,
    /// Mean sessions of a burst.
    pub burst: f64,
}

impl Default for Agents {
    fn default() -> Self {
        let long = |median, mean| Long { median, mean };
        Self {
            per_second: 1.0,
            harness_blocks: 24,
            projects: 8,
            project_blocks: 4,
            steps: long(30.0, 34.0),
            growth: long(1_500.0, 2_250.0),
            output: long(416.0, 520.0),
            pause_ms: long(2_023.0, 7_557.0),
            forks: 0.02,
            children: 3,
            child_steps: long(6.0, 8.0),
            most_tokens: 167_000,
            burst: 7.0,
        }
    }
}

/// A context as it grows: its whole blocks.
#[derive(Clone, Debug)]
struct Context {
    id: u64,
    tokens: u32,
    blocks: Vec<u64>,
}

impl Context {
    fn grow(&mut self, tokens: u32) {
        self.tokens += tokens;
        while self.blocks.len() < (self.tokens / BLOCK_TOKENS) as usize {
            self.blocks.push(rng::at(self.id, self.blocks.len() as u64));
        }
    }

    /// The prompt's blocks. One that it does not fill is another than the whole one of the next step: no engine keeps it.
    fn hash_ids(&self) -> Vec<u64> {
        let mut ids = self.blocks.clone();
        if !self.tokens.is_multiple_of(BLOCK_TOKENS) {
            ids.push(rng::at(!self.id, u64::from(self.tokens)));
        }
        ids
    }

    /// Another that begins the same.
    fn fork(&self, number: u64) -> Self {
        Self {
            id: rng::at(rng::at(self.id, u64::from(self.tokens)), number),
            ..self.clone()
        }
    }
}

impl Agents {
    /// The first block of a prompt that is the session's own.
    #[must_use]
    pub const fn own_block(&self) -> usize {
        (self.harness_blocks + self.project_blocks) as usize
    }

    /// The first `count` requests of the workload that `seed` stands for.
    #[must_use]
    pub fn generate(&self, count: usize, seed: u64) -> Vec<TraceRequest> {
        let mut rng = SplitMix64::new(seed);
        let mut requests: Vec<TraceRequest> = Vec::new();
        let (mut burst_ms, mut session) = (-BEFORE_MS, 0);
        let bursts_per_ms = self.per_second / 1_000.0 / self.burst;
        // A session that begins after `count` requests have arrived adds none of the first `count`.
        while arrived_by(&requests, burst_ms) < count {
            loop {
                let begins_ms = burst_ms + rng.next_f64() * BURST_MS;
                let mut own = SplitMix64::new(rng::at(seed, session));
                self.session(&mut requests, begins_ms, &mut own);
                session += 1;
                if rng.next_f64() < 1.0 / self.burst {
                    break;
                }
            }
            burst_ms += rng.exponential(1.0 / bursts_per_ms);
        }
        requests.sort_by(|a, b| a.arrival_ms.total_cmp(&b.arrival_ms));
        requests.truncate(count);
        requests
    }

    fn session(&self, requests: &mut Vec<TraceRequest>, begins_ms: f64, rng: &mut SplitMix64) {
        let project = rng.below(self.projects.max(1));
        let mut context = self.fresh(project, rng);
        let mut now_ms = begins_ms;
        for _ in 0..self.steps.count(rng) {
            now_ms = self.step(requests, now_ms, &mut context, rng);
            if context.tokens > self.most_tokens {
                context = self.fresh(project, rng);
            }
            if rng.next_f64() < self.forks {
                let children = 1 + rng.below(self.children.max(1));
                let forks = (0..children).map(|number| context.fork(number));
                let ends = forks.map(|mut child| {
                    let mut child_ms = now_ms;
                    child.grow(self.growth.count(rng));
                    for _ in 0..self.child_steps.count(rng) {
                        if child.tokens > self.most_tokens {
                            break;
                        }
                        child_ms = self.step(requests, child_ms, &mut child, rng);
                    }
                    child_ms
                });
                now_ms = ends.fold(now_ms, f64::max);
            }
        }
    }

    /// A context with what is shared, and a task or a summary.
    fn fresh(&self, project: u64, rng: &mut SplitMix64) -> Context {
        let harness = (0..self.harness_blocks).map(|at| rng::at(0, at));
        let instructions = (0..self.project_blocks).map(|at| rng::at(project + 1, at));
        let mut context = Context {
            id: rng.next_u64(),
            tokens: self.own_block() as u32 * BLOCK_TOKENS,
            blocks: harness.chain(instructions).collect(),
        };
        context.grow(self.growth.count(rng));
        context
    }

    /// One request. When the next may follow.
    fn step(
        &self,
        requests: &mut Vec<TraceRequest>,
        now_ms: f64,
        context: &mut Context,
        rng: &mut SplitMix64,
    ) -> f64 {
        let growth = self.growth.count(rng);
        let output_tokens = self.output.count(rng);
        if now_ms >= 0.0 {
            let own = self.own_block();
            requests.push(TraceRequest {
                arrival_ms: now_ms,
                input_tokens: context.tokens,
                output_tokens,
                hash_ids: context.hash_ids(),
                recurring_blocks: own,
                class: 0,
            });
        }
        context.grow(growth.max(output_tokens));
        now_ms + f64::from(output_tokens) * 1_000.0 / OUTPUT_PER_S + self.pause_ms.draw(rng)
    }
}

fn arrived_by(requests: &[TraceRequest], time_ms: f64) -> usize {
    let arrived = |request: &&TraceRequest| request.arrival_ms <= time_ms;
    requests.iter().filter(arrived).count()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn generate(count: usize) -> Vec<TraceRequest> {
        Agents::default().generate(count, 1)
    }

    fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[(share * values.len() as f64) as usize]
    }

    #[test]
    fn the_same_seed_is_the_same_workload() {
        let requests = generate(500);
        assert_eq!(requests.len(), 500);
        assert!(requests.is_sorted_by(|a, b| a.arrival_ms <= b.arrival_ms));
        assert_eq!(requests, generate(500));
        assert_eq!(requests[..200], generate(200)[..]);
    }

    #[test]
    fn contexts_are_shared_grow_long_and_fork() {
        let agents = Agents::default();
        let requests = generate(4_000);
        let harness = &requests[0].hash_ids[..agents.harness_blocks as usize];
        assert!(
            requests
                .iter()
                .all(|request| request.hash_ids.starts_with(harness))
        );
        let projects: HashSet<&[u64]> = requests
            .iter()
            .map(|request| &request.hash_ids[..agents.own_block()])
            .collect();
        assert_eq!(projects.len() as u64, agents.projects);
        let longest = requests.iter().map(|request| request.input_tokens).max();
        assert!((100_000..=agents.most_tokens).contains(&longest.unwrap()));
        for request in &requests {
            let blocks = request.input_tokens.div_ceil(BLOCK_TOKENS);
            assert_eq!(request.hash_ids.len(), blocks as usize);
        }
        // Two that begin with the same block of their own and part later, both whole there.
        let mut next: std::collections::HashMap<u64, HashSet<u64>> = Default::default();
        for request in &requests {
            let whole = (request.input_tokens / BLOCK_TOKENS) as usize;
            for pair in request.hash_ids[agents.own_block()..whole].windows(2) {
                next.entry(pair[0]).or_default().insert(pair[1]);
            }
        }
        let forks = next.values().filter(|after| after.len() > 1).count();
        assert!(forks > 20, "{forks}");
    }

    #[test]
    fn distributions_are_the_cited_ones() {
        let mut rng = SplitMix64::new(1);
        let Agents {
            steps, pause_ms, ..
        } = Agents::default();
        let drawn: Vec<f64> = (0..40_000).map(|_| steps.draw(&mut rng)).collect();
        assert!((29.5..30.5).contains(&quantile(drawn.clone(), 0.5)));
        assert!((54.0..60.0).contains(&quantile(drawn, 0.9)));
        let drawn: Vec<f64> = (0..40_000).map(|_| pause_ms.draw(&mut rng)).collect();
        assert!((1_950.0..2_100.0).contains(&quantile(drawn.clone(), 0.5)));
        assert!((27_000.0..31_500.0).contains(&quantile(drawn.clone(), 0.95)));
        let mean = drawn.iter().sum::<f64>() / 40_000.0;
        assert!((7_000.0..8_200.0).contains(&mean), "{mean}");
    }

    /// A second's count varies 13 times as much as if sessions began by themselves.
    #[test]
    fn sessions_begin_in_bursts() {
        let agents = Agents {
            per_second: 5.0,
            steps: Long {
                median: 1.0,
                mean: 1.0,
            },
            forks: 0.0,
            ..Agents::default()
        };
        let requests = agents.generate(40_000, 1);
        let seconds = (requests[39_999].arrival_ms / 1_000.0) as usize;
        let mut counts = vec![0.0; seconds + 1];
        for request in &requests {
            counts[(request.arrival_ms / 1_000.0) as usize] += 1.0;
        }
        let mean = 40_000.0 / seconds as f64;
        let square: f64 = counts.iter().map(|count| (count - mean).powi(2)).sum();
        let dispersion = square / seconds as f64 / mean;
        // A burst is spread over two windows of a second: less than 13.
        assert!((6.0..13.0).contains(&dispersion), "{dispersion}");
    }
}

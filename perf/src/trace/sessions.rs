//! A made-up workload for where no trace is: agentic sessions.
//!
//! Sessions begin at random (Poisson). Each is of one of a few kinds of agent, whose system prompt and tool definitions
//! all its sessions share, and goes on for some turns. A turn's prompt is the previous one with something new at its
//! end: the answer, the tool's output, the next question.

use super::{TraceRequest, mark_recurring};
use crate::engine::BLOCK_TOKENS;
use crate::rng::{self, SplitMix64};

/// What the sessions are like. Means are of exponential distributions.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Sessions that begin in a second.
    pub per_second: f64,
    /// Kinds of agent, at least 1.
    pub kinds: u64,
    /// Length of a kind's system prompt, in tokens.
    pub system_tokens: u32,
    /// Mean length of what a session begins with.
    pub opening_tokens: f64,
    /// Mean length of what each turn adds.
    pub growth_tokens: f64,
    /// Mean length of an answer.
    pub output_tokens: f64,
    /// Mean number of turns.
    pub turns: f64,
    /// Mean time between two turns.
    pub pause_ms: f64,
}

impl Default for Sessions {
    /// About the shape of Mooncake's tool-and-agent trace.
    fn default() -> Self {
        Self {
            per_second: 1.0,
            kinds: 4,
            system_tokens: 2_048,
            opening_tokens: 3_000.0,
            growth_tokens: 1_200.0,
            output_tokens: 200.0,
            turns: 5.0,
            pause_ms: 8_000.0,
        }
    }
}

impl Sessions {
    /// The first block of a prompt that is the session's own.
    #[must_use]
    pub fn own_block(&self) -> usize {
        self.system_tokens.div_ceil(BLOCK_TOKENS) as usize
    }

    /// The first `count` requests of the workload that `seed` stands for.
    #[must_use]
    pub fn generate(&self, count: usize, seed: u64) -> Vec<TraceRequest> {
        let mut rng = SplitMix64::new(seed);
        let mut requests: Vec<TraceRequest> = Vec::new();
        let mut begins_ms = 0.0;
        let mut session = 0;
        // A session that begins after `count` requests have arrived adds none of the first `count`.
        while arrived_by(&requests, begins_ms) < count {
            self.append_session(&mut requests, begins_ms, rng::at(seed, session), &mut rng);
            begins_ms += rng.exponential(1_000.0 / self.per_second);
            session += 1;
        }
        requests.sort_by(|a, b| a.arrival_ms.total_cmp(&b.arrival_ms));
        requests.truncate(count);
        mark_recurring(&mut requests);
        requests
    }

    fn append_session(
        &self,
        requests: &mut Vec<TraceRequest>,
        begins_ms: f64,
        id: u64,
        rng: &mut SplitMix64,
    ) {
        let kind = rng.below(self.kinds);
        let system_blocks = self.own_block() as u64;
        // Whole blocks, so that what sessions share ends where a block does.
        let system_tokens = system_blocks as u32 * BLOCK_TOKENS;
        let mut input_tokens = system_tokens + length(rng, self.opening_tokens);
        let mut arrival_ms = begins_ms;
        for _ in 0..length(rng, self.turns) {
            let blocks = u64::from(input_tokens.div_ceil(BLOCK_TOKENS));
            // A block that the prompt does not fill is another than the whole one of the next turn: no engine keeps it.
            let whole_blocks = u64::from(input_tokens / BLOCK_TOKENS);
            let block = |at| {
                if at < system_blocks {
                    rng::at(kind, at)
                } else if at < whole_blocks {
                    rng::at(id, at)
                } else {
                    rng::at(id ^ u64::from(input_tokens), at)
                }
            };
            requests.push(TraceRequest {
                arrival_ms,
                input_tokens,
                output_tokens: length(rng, self.output_tokens),
                hash_ids: (0..blocks).map(block).collect(),
                recurring_blocks: 0,
                class: 0,
            });
            input_tokens += length(rng, self.growth_tokens);
            arrival_ms += rng.exponential(self.pause_ms);
        }
    }
}

fn arrived_by(requests: &[TraceRequest], time_ms: f64) -> usize {
    requests
        .iter()
        .filter(|request| request.arrival_ms <= time_ms)
        .count()
}

/// At least 1, at most ten times the mean.
fn length(rng: &mut SplitMix64, mean: f64) -> u32 {
    rng.exponential(mean).clamp(1.0, (10.0 * mean).max(1.0)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_workload() {
        let sessions = Sessions::default();
        let requests = sessions.generate(300, 7);
        assert_eq!(requests.len(), 300);
        assert!(requests.is_sorted_by(|a, b| a.arrival_ms <= b.arrival_ms));
        assert_eq!(requests, sessions.generate(300, 7));
        assert_ne!(requests, sessions.generate(300, 8));
        assert_eq!(
            requests[..100],
            sessions.generate(100, 7)[..],
            "a longer one begins the same"
        );
    }

    #[test]
    fn turns_grow_and_kinds_share_their_system_prompt() {
        let sessions = Sessions::default();
        let requests = sessions.generate(300, 7);
        let system_blocks = (sessions.system_tokens / BLOCK_TOKENS) as usize;
        let systems: std::collections::HashSet<&[u64]> = requests
            .iter()
            .map(|request| &request.hash_ids[..system_blocks])
            .collect();
        assert_eq!(systems.len() as u64, sessions.kinds);
        let later_turns = requests
            .iter()
            .filter(|request| request.recurring_blocks > system_blocks);
        assert!(later_turns.count() > 100);
        for request in &requests {
            // What recurs are whole blocks: what a sender carries of it is what an engine has.
            assert!(request.recurring_blocks <= (request.input_tokens / BLOCK_TOKENS) as usize);
            let blocks = request.input_tokens.div_ceil(BLOCK_TOKENS) as usize;
            assert_eq!(request.hash_ids.len(), blocks);
        }
    }
}

//! A workload as every router and the engines see it: requests in the order of their arrival, whole blocks with what names
//! them to an engine and on the wire.

use std::collections::HashMap;

use afr_perf::engine::BLOCK_TOKENS;
use afr_perf::rng;
use afr_perf::trace::TraceRequest;
use afr_wire::{DomainKey, Prefix, SignatureChain, UNIT_TOKENS};

/// Units of the signature chain in a block.
pub const BLOCK_UNITS: u16 = (BLOCK_TOKENS as usize / UNIT_TOKENS) as u16;
/// The tenant's key in every run.
const DOMAIN_KEY: DomainKey = DomainKey::new(*b"replayed tenant!");

/// A whole block of a prompt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Names the block and all before it.
    pub key: u64,
    /// The same on the wire: the real signature chain over the block's tokens.
    pub prefix: Prefix,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its place in the workload.
    pub id: u32,
    /// Milliseconds since the beginning.
    pub arrival_ms: f64,
    /// Length of the prompt in tokens.
    pub input_tokens: u32,
    /// Length of the answer in tokens.
    pub output_tokens: u32,
    /// Ids of its blocks, numbered from 1 in order of appearance; the last may be cut short. Every token of a block has
    /// the block's id, as in Dynamo's replay.
    pub block_ids: Vec<u32>,
    /// Its whole blocks.
    pub blocks: Vec<Block>,
    /// Depths in units that a client would know to recur, the most valuable first.
    pub boundaries: Vec<u16>,
    /// The same for all requests of a conversation: what consistent hashing goes by.
    pub conversation: u64,
    /// Its kind, which says what it needs.
    pub variant: usize,
    /// How often it has been asked before: its connection broke.
    pub attempt: u32,
}

impl Job {
    /// Tokens of the prompt that need not be computed where so many of its blocks are held; the last token always is.
    #[must_use]
    pub fn reused_tokens(&self, blocks: usize) -> u32 {
        let held = (blocks as u32).saturating_mul(BLOCK_TOKENS);
        held.min(self.input_tokens.saturating_sub(1))
    }

    /// Tokens that must be computed where so many blocks are held.
    #[must_use]
    pub fn new_tokens(&self, blocks: usize) -> u32 {
        self.input_tokens - self.reused_tokens(blocks)
    }
}

/// A workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What it is called in results.
    pub name: String,
    /// Its requests, ascending in arrival.
    pub jobs: Vec<Job>,
}

impl Workload {
    /// From requests of a trace or a generator. `own_block` is the first of a prompt's blocks that only its conversation
    /// has.
    #[must_use]
    pub fn new(name: &str, requests: &[TraceRequest], own_block: usize) -> Self {
        let mut chains = Chains::default();
        let job = |(id, request): (u32, &TraceRequest)| {
            let conversation = request.hash_ids.get(own_block).or(request.hash_ids.last());
            let (block_ids, blocks) = chains.walk(request);
            Job {
                id,
                arrival_ms: request.arrival_ms,
                input_tokens: request.input_tokens,
                output_tokens: request.output_tokens,
                block_ids,
                blocks,
                boundaries: request.boundaries(),
                conversation: conversation.copied().unwrap_or_default(),
                variant: request.class,
                attempt: 0,
            }
        };
        Self {
            name: name.to_owned(),
            jobs: (0..).zip(requests).map(job).collect(),
        }
    }

    /// The same requests, arriving so many times as fast, each answered by itself.
    #[must_use]
    pub fn sped_up(&self, ratio: f64) -> Self {
        let mut faster = self.clone();
        for job in &mut faster.jobs {
            job.arrival_ms /= ratio;
        }
        faster
    }

    /// Requests a second, on average.
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        let last_ms = self.jobs.last().map_or(0.0, |job| job.arrival_ms);
        self.jobs.len() as f64 * 1_000.0 / last_ms.max(1.0)
    }
}

/// Every beginning met so far, hashed once.
#[derive(Default)]
struct Chains {
    ids: HashMap<u64, u32>,
    states: HashMap<u64, (SignatureChain, Block)>,
}

impl Chains {
    fn walk(&mut self, request: &TraceRequest) -> (Vec<u32>, Vec<Block>) {
        let whole = (request.input_tokens / BLOCK_TOKENS) as usize;
        let mut key = 0;
        let mut chain = SignatureChain::new(&DOMAIN_KEY);
        let (mut ids, mut blocks) = (Vec::new(), Vec::new());
        for (at, hash_id) in request.hash_ids.iter().enumerate() {
            let next = self.ids.len() as u32 + 1;
            let id = *self.ids.entry(*hash_id).or_insert(next);
            ids.push(id);
            if at >= whole {
                continue;
            }
            key = rng::at(key, u64::from(id));
            let entry = self.states.entry(key).or_insert_with(|| {
                let mut chain = chain.clone();
                let unit = [id; UNIT_TOKENS];
                let mut prefix = Prefix::default();
                for _ in 0..BLOCK_UNITS {
                    prefix.signature = chain.push_tokens(&unit);
                }
                prefix.depth = chain.depth();
                (chain, Block { key, prefix })
            });
            chain = entry.0.clone();
            blocks.push(entry.1);
        }
        (ids, blocks)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Requests a second apart: length in tokens and ids of blocks.
    pub(crate) fn workload(requests: &[(u32, &[u64])]) -> Workload {
        let request = |(at, (input_tokens, ids)): (usize, &(u32, &[u64]))| TraceRequest {
            arrival_ms: at as f64 * 1_000.0,
            input_tokens: *input_tokens,
            output_tokens: 10,
            hash_ids: ids.to_vec(),
            recurring_blocks: 0,
            class: 0,
        };
        let requests: Vec<_> = requests.iter().enumerate().map(request).collect();
        Workload::new("test", &requests, 1)
    }

    #[test]
    fn equal_beginnings_have_equal_blocks_and_the_wires_signatures() {
        let jobs = workload(&[
            (1_100, &[90, 91, 92]),
            (1_600, &[90, 91, 93, 94]),
            (512, &[91]),
        ])
        .jobs;
        assert_eq!(jobs[0].block_ids, [1, 2, 3]);
        assert_eq!(jobs[0].blocks.len(), 2, "the third is cut short");
        assert_eq!(jobs[0].blocks[..], jobs[1].blocks[..2]);
        assert_ne!(
            jobs[2].blocks[0], jobs[0].blocks[1],
            "the same block elsewhere"
        );
        let mut tokens = vec![1; 512];
        tokens.extend([2; 512]);
        let real: Vec<Prefix> = SignatureChain::over_tokens(&DOMAIN_KEY, &tokens).collect();
        assert_eq!(jobs[0].blocks[1].prefix, real[3]);
        assert_eq!(jobs[0].blocks[0].prefix, real[1]);
        assert_eq!(jobs[0].conversation, jobs[1].conversation);
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let jobs = workload(&[(1_024, &[1, 2])]).jobs;
        assert_eq!((jobs[0].new_tokens(0), jobs[0].new_tokens(1)), (1_024, 512));
        assert_eq!(jobs[0].new_tokens(2), 1);
    }
}

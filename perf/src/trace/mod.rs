//! Workloads: which requests arrive when, and the text of their prompts.
//!
//! A workload is read from a trace ([`mooncake`]) or made up ([`sessions`]). Prompts are given as the ids of their
//! blocks, as the Mooncake traces do, and the text is made from the ids: equal beginnings are equal bytes.

pub mod mooncake;
pub mod sessions;

use std::collections::HashSet;

use crate::answer::TOKEN_BYTES;
use crate::engine::BLOCK_TOKENS;
use crate::rng;

/// Bytes of text of a whole block.
pub const BLOCK_BYTES: usize = BLOCK_TOKENS as usize * TOKEN_BYTES;
/// Units of the signature chain in a block.
const BLOCK_UNITS: usize = BLOCK_BYTES / afr_wire::UNIT_BYTES;

/// One request of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRequest {
    /// Milliseconds since the beginning of the workload.
    pub arrival_ms: f64,
    /// Length of the prompt in tokens.
    pub input_tokens: u32,
    /// Length of the answer in tokens.
    pub output_tokens: u32,
    /// Its blocks; the last may be cut short.
    pub hash_ids: Vec<u64>,
    /// Blocks at its beginning that an earlier request of the workload had: where the previous turn ended, or the
    /// system prompt. A client knows this of its own conversation.
    pub recurring_blocks: usize,
    /// Index into the table of classes; 0 until [`assign_classes`].
    pub class: usize,
}

impl TraceRequest {
    /// The prompt: ASCII that needs no escaping in JSON, `input_tokens` × 4 bytes.
    #[must_use]
    pub fn prompt(&self) -> String {
        let bytes = self.input_tokens as usize * TOKEN_BYTES;
        let mut text = String::with_capacity(bytes.next_multiple_of(BLOCK_BYTES));
        for id in &self.hash_ids {
            append_block(&mut text, *id);
        }
        text.truncate(bytes);
        text
    }

    /// Depths of the prompt that recur, in units of the signature chain, the most valuable first.
    #[must_use]
    pub fn boundaries(&self) -> Vec<u16> {
        let units = |blocks: usize| u16::try_from(blocks * BLOCK_UNITS).unwrap_or(u16::MAX);
        let mut depths = vec![units(self.recurring_blocks), units(1)];
        depths.dedup();
        depths
    }
}

fn append_block(text: &mut String, id: u64) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    const PER_WORD: usize = 8;
    for word in 0..BLOCK_BYTES / PER_WORD {
        let bits = rng::at(id, word as u64);
        text.extend((0..PER_WORD).map(|at| char::from(ALPHABET[(bits >> (8 * at)) as usize & 63])));
    }
}

/// Which part of a workload to play, and how fast.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Slice {
    /// Requests to leave out at the beginning.
    pub skip: usize,
    /// Most requests to play.
    pub take: usize,
    /// Arrivals per time, relative to the workload's own.
    pub rate: f64,
    /// Longest prompt in tokens; longer ones are cut.
    pub max_input_tokens: u32,
    /// Longest answer in tokens; longer ones are cut.
    pub max_output_tokens: u32,
}

impl Slice {
    /// The part, beginning at 0 ms.
    #[must_use]
    pub fn of(&self, workload: Vec<TraceRequest>) -> Vec<TraceRequest> {
        let mut part: Vec<TraceRequest> = workload
            .into_iter()
            .skip(self.skip)
            .take(self.take)
            .collect();
        let begins_ms = part.first().map_or(0.0, |request| request.arrival_ms);
        for request in &mut part {
            request.arrival_ms = (request.arrival_ms - begins_ms) / self.rate;
            request.input_tokens = request.input_tokens.min(self.max_input_tokens);
            request.output_tokens = request.output_tokens.min(self.max_output_tokens);
            let blocks = request.input_tokens.div_ceil(BLOCK_TOKENS) as usize;
            request.hash_ids.truncate(blocks);
        }
        mark_recurring(&mut part);
        part
    }
}

/// Finds out which beginnings an earlier request had.
fn mark_recurring(requests: &mut [TraceRequest]) {
    let mut seen = HashSet::new();
    for request in requests {
        let is_known = |id: &&u64| seen.contains(*id);
        request.recurring_blocks = request.hash_ids.iter().take_while(is_known).count();
        seen.extend(request.hash_ids.iter().copied());
    }
}

/// Gives each request a class, by shares of any sum. Requests of one conversation get the same: `own_block` is the first of
/// a prompt's blocks that no other conversation has, behind the system prompt.
pub fn assign_classes(requests: &mut [TraceRequest], shares: &[f64], own_block: usize, seed: u64) {
    let sum: f64 = shares.iter().sum();
    for request in requests {
        let conversation = request.hash_ids.get(own_block).or(request.hash_ids.last());
        let mut dice = rng::SplitMix64::new(rng::at(seed, conversation.copied().unwrap_or(0)));
        let mut left = dice.next_f64() * sum;
        request.class = shares
            .iter()
            .position(|share| {
                left -= share;
                left < 0.0
            })
            .unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arrival_ms: f64, input_tokens: u32, hash_ids: &[u64]) -> TraceRequest {
        TraceRequest {
            arrival_ms,
            input_tokens,
            output_tokens: 100,
            hash_ids: hash_ids.to_vec(),
            recurring_blocks: 0,
            class: 0,
        }
    }

    #[test]
    fn equal_beginnings_are_equal_text() {
        let short = request(0.0, 700, &[1, 2]).prompt();
        let long = request(0.0, 1_500, &[1, 2, 3]).prompt();
        assert_eq!((short.len(), long.len()), (2_800, 6_000));
        assert!(long.starts_with(&short));
        assert_ne!(request(0.0, 700, &[1, 9]).prompt(), short);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ' || c == '.';
        assert!(long.chars().all(plain));
    }

    #[test]
    fn a_slice_begins_at_zero_and_is_cut_to_size() {
        let slice = Slice {
            skip: 1,
            take: 2,
            rate: 2.0,
            max_input_tokens: 600,
            max_output_tokens: 50,
        };
        let part = slice.of(vec![
            request(0.0, 10, &[0]),
            request(100.0, 1_500, &[1, 2, 3]),
            request(300.0, 1_100, &[1, 2, 4]),
            request(400.0, 10, &[1]),
        ]);
        let arrivals: Vec<f64> = part.iter().map(|request| request.arrival_ms).collect();
        assert_eq!(arrivals, [0.0, 100.0]);
        assert_eq!(part[0].hash_ids, [1, 2]);
        assert_eq!((part[0].input_tokens, part[0].output_tokens), (600, 50));
        assert_eq!([part[0].recurring_blocks, part[1].recurring_blocks], [0, 2]);
        assert_eq!(part[1].boundaries(), [4, 2]);
    }

    #[test]
    fn a_conversation_keeps_its_class_and_shares_are_kept() {
        let mut requests: Vec<TraceRequest> = (0..2_000)
            .map(|n| request(0.0, 1_024, &[0, n / 2 + 1]))
            .collect();
        assign_classes(&mut requests, &[3.0, 1.0], 1, 5);
        assert!(
            requests
                .chunks(2)
                .all(|turns| turns[0].class == turns[1].class)
        );
        let first = requests.iter().filter(|request| request.class == 0).count();
        assert!((1_400..1_600).contains(&first), "{first} of 2,000");
    }
}

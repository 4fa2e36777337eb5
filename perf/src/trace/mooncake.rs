//! Reader of Mooncake's traces (FAST '25 release, Apache-2.0): one JSON object a line, with `timestamp` in milliseconds,
//! `input_length` and `output_length` in tokens and `hash_ids` of 512-token blocks.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::{TraceRequest, mark_recurring};
use crate::rng::SplitMix64;

/// What timestamps are rounded to in the conversation trace, about.
const QUANTUM_MS: u64 = 3_000;

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be read.
    #[error("reading the trace: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the trace: {source}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A request without a prompt or whose ids do not cover it.
    #[error("line {line} of the trace: {blocks} blocks for {input_tokens} tokens")]
    Blocks {
        /// Number of the line, from 1.
        line: usize,
        /// Ids there are.
        blocks: usize,
        /// Length of the prompt.
        input_tokens: u32,
    },
}

#[derive(Deserialize)]
struct Line {
    timestamp: u64,
    input_length: u32,
    output_length: u32,
    hash_ids: Vec<u64>,
}

/// Reads a whole trace. Requests with the same timestamp are spread evenly until the next timestamp, at most over the
/// quantum that timestamps were rounded to: else they would be a burst that never was. They keep their order.
///
/// # Errors
///
/// [`TraceError`] for the first line that is wrong.
pub fn read(input: impl BufRead, seed: u64) -> Result<Vec<TraceRequest>, TraceError> {
    let mut rng = SplitMix64::new(seed);
    read_with(input, || rng.next_f64())
}

/// Reads a whole trace with its timestamps as they are, bursts that never were included: for comparison with figures that
/// others took so.
///
/// # Errors
///
/// [`TraceError`] for the first line that is wrong.
pub fn read_as_is(input: impl BufRead) -> Result<Vec<TraceRequest>, TraceError> {
    read_with(input, || 0.0)
}

/// `place` says where in its quantum a request goes, from 0 to 1.
fn read_with(
    input: impl BufRead,
    mut place: impl FnMut() -> f64,
) -> Result<Vec<TraceRequest>, TraceError> {
    let mut lines = Vec::new();
    for (line, text) in (1..).zip(input.lines()) {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        let request: Line =
            serde_json::from_str(&text).map_err(|source| TraceError::Line { line, source })?;
        let blocks = request.hash_ids.len();
        let covered = blocks as u64 * u64::from(crate::engine::BLOCK_TOKENS);
        if request.input_length == 0 || covered < u64::from(request.input_length) {
            return Err(TraceError::Blocks {
                line,
                blocks,
                input_tokens: request.input_length,
            });
        }
        lines.push(request);
    }
    lines.sort_by_key(|request| request.timestamp);

    let mut requests = Vec::with_capacity(lines.len());
    let mut rest = lines.as_slice();
    while let Some(first) = rest.first() {
        let same = rest.partition_point(|request| request.timestamp == first.timestamp);
        let (together, later) = rest.split_at(same);
        let gap_ms = later
            .first()
            .map_or(QUANTUM_MS, |next| next.timestamp - first.timestamp);
        let span_ms = gap_ms.min(QUANTUM_MS) as f64;
        let mut jitter: Vec<f64> = together.iter().map(|_| place() * span_ms).collect();
        jitter.sort_by(f64::total_cmp);
        for (line, jitter_ms) in together.iter().zip(jitter) {
            requests.push(TraceRequest {
                arrival_ms: line.timestamp as f64 + jitter_ms,
                input_tokens: line.input_length,
                output_tokens: line.output_length.max(1),
                hash_ids: line.hash_ids.clone(),
                recurring_blocks: 0,
                class: 0,
            });
        }
        rest = later;
    }
    mark_recurring(&mut requests);
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 0, "input_length": 1100, "output_length": 0, "hash_ids": [0, 1, 2]}
{"timestamp": 3000, "input_length": 512, "output_length": 7, "hash_ids": [0]}
{"timestamp": 90000, "input_length": 512, "output_length": 7, "hash_ids": [9]}
"#;

    #[test]
    fn requests_are_spread_inside_their_quantum_and_keep_their_order() {
        let requests = read(SAMPLE.as_bytes(), 1).unwrap();
        let lengths: Vec<u32> = requests
            .iter()
            .map(|request| request.input_tokens)
            .collect();
        assert_eq!(lengths, [600, 1_100, 512, 512]);
        let arrivals: Vec<f64> = requests.iter().map(|request| request.arrival_ms).collect();
        assert!(arrivals.is_sorted());
        assert!(arrivals[1] < 3_000.0 && arrivals[2] < 6_000.0 && arrivals[3] >= 90_000.0);
        assert!(arrivals[1] - arrivals[0] > 0.0);
        let recurring: Vec<usize> = requests
            .iter()
            .map(|request| request.recurring_blocks)
            .collect();
        assert_eq!(recurring, [0, 2, 1, 0]);
        assert_eq!(requests[1].output_tokens, 1, "nobody asks for nothing");
        assert_eq!(requests, read(SAMPLE.as_bytes(), 1).unwrap());
        assert_ne!(requests, read(SAMPLE.as_bytes(), 2).unwrap());
        let as_is = read_as_is(SAMPLE.as_bytes()).unwrap();
        let arrivals: Vec<f64> = as_is.iter().map(|request| request.arrival_ms).collect();
        assert_eq!(arrivals, [0.0, 0.0, 3_000.0, 90_000.0]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = read(&b"\n{\"timestamp\": 1}\n"[..], 1).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 2 of the trace: missing field"),
            "{error}"
        );
        let short = r#"{"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[0]}"#;
        let error = read(short.as_bytes(), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1 of the trace: 1 blocks for 600 tokens"
        );
    }
}

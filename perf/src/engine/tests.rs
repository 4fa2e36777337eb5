//! Properties of the engine model.

use super::*;
use afr_wire::{EventOp, Prefix, Signature};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// A job whose block at each depth is one of a few, so that prompts share beginnings.
fn job(id: u64, path: &[u8], tail_tokens: u32, output_tokens: u32) -> Job {
    let mut key = 0;
    let blocks: Vec<Block> = path
        .iter()
        .zip(1..)
        .map(|(name, depth)| {
            key = crate::rng::at(key, u64::from(*name));
            let prefix = Prefix {
                depth,
                signature: Signature((key as u32).to_be_bytes()),
            };
            Block { key, prefix }
        })
        .collect();
    Job {
        id: SequenceId(id),
        prompt_tokens: blocks.len() as u32 * BLOCK_TOKENS + tail_tokens,
        blocks,
        output_tokens,
    }
}

/// Lets everything finish, and says when the last thing did.
fn drain(engine: &mut Engine) -> u64 {
    let mut last_us = 0;
    while let Some(next_us) = engine.next_event_us() {
        engine.advance(next_us);
        last_us = next_us;
    }
    last_us
}

fn generated(notices: &[Notice], id: u64) -> Vec<(u64, u32, bool)> {
    notices
        .iter()
        .filter(|notice| notice.id == SequenceId(id))
        .filter_map(|notice| match notice.progress {
            Progress::Generated { tokens, finished } => Some((notice.at_us, tokens, finished)),
            Progress::Admitted { .. } => None,
        })
        .collect()
}

fn cached_tokens(notices: &[Notice], id: u64) -> Vec<u32> {
    notices
        .iter()
        .filter(|notice| notice.id == SequenceId(id))
        .filter_map(|notice| match notice.progress {
            Progress::Admitted { cached_tokens } => Some(cached_tokens),
            Progress::Generated { .. } => None,
        })
        .collect()
}

fn us(ms: f64) -> u64 {
    (ms * 1_000.0).round() as u64
}

#[test]
fn a_lone_request_takes_what_the_model_says() {
    let mut engine = Engine::new(EngineConfig::default());
    engine.submit(1_000, job(1, &[1, 2], 10, 3)).unwrap();
    drain(&mut engine);
    let notices = engine.take_notices();
    let first_us = 1_000 + us(cost::prefill_ms(1_034));
    // Two whole blocks and 13 tokens more: three blocks of 2,048 in use.
    let decode_us = us(cost::decode_ms(3.0 / 2_048.0));
    assert_eq!(
        generated(&notices, 1),
        [(first_us, 1, false), (first_us + 2 * decode_us, 3, true)]
    );
}

#[test]
fn long_prompts_are_prefilled_in_chunks() {
    let mut engine = Engine::new(EngineConfig::default());
    let path: Vec<u8> = (0..40).collect();
    engine.submit(0, job(1, &path, 0, 1)).unwrap();
    let end_us = drain(&mut engine);
    let chunks = [8_192, 8_192, 20_480 - 2 * 8_192];
    assert_eq!(
        end_us,
        chunks
            .map(|tokens| us(cost::prefill_ms(tokens)))
            .iter()
            .sum::<u64>()
    );
    assert_eq!(engine.take_cache_events().len(), 40);
}

#[test]
fn a_repeated_prompt_prefills_only_its_tail() {
    let mut engine = Engine::new(EngineConfig::default());
    engine.submit(0, job(1, &[1, 2, 3], 100, 1)).unwrap();
    let first_us = drain(&mut engine);
    engine.submit(first_us, job(2, &[1, 2, 3], 100, 1)).unwrap();
    assert_eq!(engine.load().pending_prefill_tokens, 100);
    let second_us = drain(&mut engine);
    assert_eq!(second_us - first_us, us(cost::prefill_ms(100)));
    // A prompt of whole blocks only: the last is computed again for its last token.
    engine.submit(second_us, job(3, &[1, 2, 3], 0, 1)).unwrap();
    drain(&mut engine);
    let notices = engine.take_notices();
    assert_eq!(cached_tokens(&notices, 2), [1_536]);
    assert_eq!(cached_tokens(&notices, 3), [1_024]);
    assert_eq!(engine.take_cache_events().len(), 3, "stored once");
}

#[test]
fn a_slow_engine_takes_longer() {
    let took = |speed| {
        let mut engine = Engine::new(EngineConfig {
            speed,
            ..EngineConfig::default()
        });
        engine.submit(0, job(1, &[1, 2], 0, 100)).unwrap();
        drain(&mut engine) as f64
    };
    assert!((took(0.25) / took(1.0) - 4.0).abs() < 0.001);
}

#[test]
fn a_sequence_waits_while_there_is_no_room() {
    let mut engine = Engine::new(EngineConfig {
        kv_blocks: 4,
        ..EngineConfig::default()
    });
    engine.submit(0, job(1, &[1, 2], 1, 500)).unwrap();
    engine.submit(0, job(2, &[7, 8], 1, 5)).unwrap();
    assert_eq!((engine.load().running, engine.load().waiting), (1, 1));
    let too_long = SubmitError::TooLong {
        needed: 5,
        capacity: 4,
    };
    assert_eq!(engine.submit(0, job(3, &[1, 2, 3, 4], 0, 1)), Err(too_long));
    assert_eq!(engine.submit(0, job(3, &[], 0, 1)), Err(SubmitError::Empty));
    drain(&mut engine);
    let notices = engine.take_notices();
    let finished_us = generated(&notices, 1).last().unwrap().0;
    assert!(generated(&notices, 2)[0].0 > finished_us);
    assert_eq!(engine.load(), Load::default());
}

#[test]
fn a_cancelled_sequence_gives_its_room_to_the_next() {
    let mut engine = Engine::new(EngineConfig {
        kv_blocks: 4,
        ..EngineConfig::default()
    });
    engine.submit(0, job(1, &[1, 2], 1, 500)).unwrap();
    engine.submit(0, job(2, &[7, 8], 1, 5)).unwrap();
    engine.submit(0, job(3, &[7, 8], 1, 5)).unwrap();
    engine.cancel(SequenceId(1));
    engine.cancel(SequenceId(3));
    drain(&mut engine);
    let notices = engine.take_notices();
    assert!(generated(&notices, 1).is_empty() && generated(&notices, 3).is_empty());
    assert_eq!(generated(&notices, 2).last().unwrap().1, 5);
    assert_eq!(engine.load(), Load::default());
}

#[test]
fn a_cleared_cache_holds_nothing() {
    let mut engine = Engine::new(EngineConfig::default());
    engine.submit(0, job(1, &[1, 2], 1, 1)).unwrap();
    let end_us = drain(&mut engine);
    engine.clear_cache();
    assert_eq!(engine.cache_generation(), 1);
    engine.submit(end_us, job(2, &[1, 2], 1, 1)).unwrap();
    assert_eq!(cached_tokens(&engine.take_notices(), 2), [0]);
}

#[derive(Clone, Debug)]
enum Action {
    Submit {
        path: Vec<u8>,
        tail: u32,
        output: u32,
    },
    Pass(u64),
    Cancel(u64),
    Clear,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (prop::collection::vec(0_u8..3, 0..7), 1_u32..600, 1_u32..40)
            .prop_map(|(path, tail, output)| Action::Submit { path, tail, output }),
        4 => (0_u64..200_000).prop_map(Action::Pass),
        1 => (0_u64..40).prop_map(Action::Cancel),
        1 => Just(Action::Clear),
    ]
}

proptest! {
    #[test]
    fn the_store_is_bounded_and_no_sequence_is_lost(
        actions in prop::collection::vec(action(), 1..60),
        kv_blocks in 9_u32..24,
        max_sequences in 1_usize..5,
    ) {
        let mut engine = Engine::new(EngineConfig {
            kv_blocks,
            max_sequences,
            max_batched_tokens: 1_000,
            notice_tokens: 4,
            ..EngineConfig::default()
        });
        let mut now_us = 0;
        let mut submitted = HashMap::new();
        let mut cancelled = HashSet::new();
        let mut notices = Vec::new();
        let mut held = HashSet::new();
        for (id, action) in (0..).zip(actions) {
            match action {
                Action::Submit { path, tail, output } => {
                    engine.submit(now_us, job(id, &path, tail, output)).unwrap();
                    submitted.insert(id, output);
                }
                Action::Pass(us) => now_us += us,
                Action::Cancel(id) => {
                    engine.cancel(SequenceId(id));
                    cancelled.insert(id);
                }
                Action::Clear => engine.clear_cache(),
            }
            engine.advance(now_us);
            notices.extend(engine.take_notices());

            let cache = &engine.cache;
            prop_assert!(cache.active() <= kv_blocks);
            let reserved: u32 = engine.running.iter().map(|one| one.reserved).sum();
            prop_assert!(cache.cached() + reserved <= kv_blocks);
            prop_assert!(engine.running.len() <= max_sequences);
            let is_idle = engine.running.is_empty() && engine.waiting.is_empty();
            prop_assert!(engine.step_ends_us.is_some() || is_idle, "nobody waits for ever");
            for event in engine.take_cache_events() {
                let changed = match event.op {
                    EventOp::Stored => held.insert(event.prefix),
                    EventOp::Evicted => held.remove(&event.prefix),
                };
                prop_assert!(changed, "{event:?} changed nothing");
            }
            prop_assert_eq!(held.len(), engine.cache.cached() as usize);
            for sequence in &engine.running {
                let used = &sequence.job.blocks[..sequence.referenced];
                prop_assert_eq!(engine.cache.held_prefix(used), used.len());
            }
        }
        drain(&mut engine);
        notices.extend(engine.take_notices());

        prop_assert_eq!(engine.load(), Load::default());
        let mut by_id: HashMap<SequenceId, (u32, bool)> = HashMap::new();
        let mut last_us = 0;
        for notice in notices {
            prop_assert!(notice.at_us >= last_us, "notices are in order");
            last_us = notice.at_us;
            if let Progress::Generated { tokens, finished } = notice.progress {
                let before = by_id.entry(notice.id).or_default();
                prop_assert!(tokens > before.0 && !before.1);
                *before = (tokens, finished);
            }
        }
        for (id, output) in submitted {
            let end = by_id.get(&SequenceId(id)).copied();
            prop_assert!(end == Some((output, true)) || cancelled.contains(&id));
        }
    }

    /// What the cache saves is exactly what was computed before, whatever the prompts share.
    #[test]
    fn an_unbounded_cache_never_computes_a_block_twice(
        paths in prop::collection::vec(prop::collection::vec(0_u8..3, 1..7), 1..20),
    ) {
        let mut engine = Engine::new(EngineConfig::default());
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut now_us = 0;
        for (id, path) in (0..).zip(paths) {
            engine.submit(now_us, job(id, &path, 1, 1)).unwrap();
            now_us = drain(&mut engine);
            let shared = (0..=path.len()).rev().find(|depth| *depth == 0 || seen.contains(&path[..*depth]));
            let expected = shared.unwrap_or(0) as u32 * BLOCK_TOKENS;
            prop_assert_eq!(cached_tokens(&engine.take_notices(), id), [expected]);
            seen.extend((1..=path.len()).map(|depth| path[..depth].to_vec()));
        }
    }
}

//! The model of an inference engine: what happens when, in virtual time, as a pure state machine.
//!
//! The engine works in steps. A step decodes one token of every sequence whose prompt is done, and prefills chunks of other
//! prompts until the batch is full; its length is [`cost`]'s. Sequences wait, first come first served, while the
//! batch has no place for them or the KV store ([`cache`]) no room. A sequence takes all the blocks it will need when it
//! is admitted, so that none is ever thrown out half-way.
//!
//! Time is an argument in microseconds and never goes back. Nothing here knows real time, threads or sockets.

pub mod cost;
pub mod cache;

use std::collections::VecDeque;

use afr_wire::Event;

use cache::{Block, PrefixCache};

/// Tokens of a block of the KV store.
pub const BLOCK_TOKENS: u32 = 512;

/// One sequence; the caller's number, used once.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Sizes and speed of an engine.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// Blocks of the KV store.
    pub kv_blocks: u32,
    /// Most sequences in a batch.
    pub max_sequences: usize,
    /// Most tokens in a batch, decoded and prefilled.
    pub max_batched_tokens: u32,
    /// Speed relative to the model's; 0.33 takes three times as long.
    pub speed: f64,
    /// Tokens of a sequence between two notices.
    pub notice_tokens: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kv_blocks: 2048,
            max_sequences: 256,
            max_batched_tokens: 8192,
            speed: 1.0,
            notice_tokens: 16,
        }
    }
}

/// A request as the engine sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number.
    pub id: SequenceId,
    /// Length of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// The prompt's whole blocks of [`BLOCK_TOKENS`].
    pub blocks: Vec<Block>,
    /// Tokens to generate, at least 1.
    pub output_tokens: u32,
}

impl Job {
    fn blocks_needed(&self) -> u32 {
        let tokens = u64::from(self.prompt_tokens) + u64::from(self.output_tokens);
        tokens.div_ceil(u64::from(BLOCK_TOKENS)) as u32
    }
}

/// Why a job was not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It would not fit into an empty store.
    #[error("needs {needed} blocks of KV store, the engine has {capacity}")]
    TooLong {
        /// Blocks it needs.
        needed: u32,
        /// Blocks there are.
        capacity: u32,
    },
    /// No prompt, or nothing to generate.
    #[error("empty prompt or no tokens to generate")]
    Empty,
}

/// News of one sequence.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub id: SequenceId,
    /// When, in microseconds.
    pub at_us: u64,
    /// What.
    pub progress: Progress,
}

/// How far a sequence is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is in the batch; so many tokens of its prompt were found in the cache.
    Admitted {
        /// A multiple of [`BLOCK_TOKENS`], less than the prompt.
        cached_tokens: u32,
    },
    /// So many tokens exist.
    Generated {
        /// At least 1.
        tokens: u32,
        /// Whether these are all; the sequence is gone then.
        finished: bool,
    },
}

/// What is going on, for reports and metrics.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Sequences waiting.
    pub waiting: usize,
    /// Sequences in the batch.
    pub running: usize,
    /// Tokens still to prefill, of waiting sequences without what the cache holds now.
    pub pending_prefill_tokens: u64,
    /// Fraction of the KV store that sequences use, 0 to 1.
    pub kv_used: f64,
}

#[derive(Debug)]
struct Sequence {
    job: Job,
    /// Tokens of the prompt that are in the store.
    computed_tokens: u32,
    /// Blocks of `job.blocks` that the sequence references.
    referenced: usize,
    /// Blocks it has reserved besides.
    reserved: u32,
    generated_tokens: u32,
    part: Part,
}

/// What the current step does for a sequence.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Prefill(u32),
    Decode,
}

impl Sequence {
    const fn to_prefill(&self) -> u32 {
        self.job.prompt_tokens - self.computed_tokens
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    waiting: VecDeque<Job>,
    running: Vec<Sequence>,
    cache: PrefixCache,
    /// End of the current step. There is one exactly while there are sequences.
    step_ends_us: Option<u64>,
    notices: Vec<Notice>,
    generation: u32,
}

impl Engine {
    /// An idle engine with an empty store.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            waiting: VecDeque::new(),
            running: Vec::new(),
            cache: PrefixCache::new(config.kv_blocks),
            step_ends_us: None,
            notices: Vec::new(),
            generation: 0,
        }
    }

    /// Takes a job at `now_us`.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] for a job that could never run.
    pub fn submit(&mut self, now_us: u64, job: Job) -> Result<(), SubmitError> {
        self.advance(now_us);
        if job.prompt_tokens == 0 || job.output_tokens == 0 {
            return Err(SubmitError::Empty);
        }
        let (needed, capacity) = (job.blocks_needed(), self.cache.capacity());
        if needed > capacity {
            return Err(SubmitError::TooLong { needed, capacity });
        }
        self.waiting.push_back(job);
        if self.step_ends_us.is_none() {
            self.begin_step(now_us);
        }
        Ok(())
    }

    /// Forgets a sequence, wherever it is; the step it is part of takes as long as it would have.
    pub fn cancel(&mut self, id: SequenceId) {
        self.waiting.retain(|job| job.id != id);
        if let Some(at) = self.running.iter().position(|one| one.job.id == id) {
            let sequence = self.running.remove(at);
            self.release(&sequence);
        }
    }

    /// Lets the time until `now_us` pass.
    pub fn advance(&mut self, now_us: u64) {
        while let Some(end_us) = self.step_ends_us
            && end_us <= now_us
        {
            self.end_step(end_us);
            self.begin_step(end_us);
        }
    }

    /// When something will happen next, if nothing is submitted until then.
    #[must_use]
    pub const fn next_event_us(&self) -> Option<u64> {
        self.step_ends_us
    }

    /// What happened to sequences since the last call, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What entered and left the cache since the last call, in order.
    pub fn take_cache_events(&mut self) -> Vec<Event> {
        self.cache.take_events()
    }

    /// Evicts every block that no sequence uses, and begins a new cache generation.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
        self.generation = self.generation.wrapping_add(1);
    }

    /// How often the cache was cleared.
    #[must_use]
    pub const fn cache_generation(&self) -> u32 {
        self.generation
    }

    /// What is going on.
    #[must_use]
    pub fn load(&self) -> Load {
        let running: u64 = self
            .running
            .iter()
            .map(|one| u64::from(one.to_prefill()))
            .sum();
        let uncached = |job: &Job| u64::from(job.prompt_tokens - self.cached_tokens(job));
        let waiting: u64 = self.waiting.iter().map(uncached).sum();
        Load {
            waiting: self.waiting.len(),
            running: self.running.len(),
            pending_prefill_tokens: running + waiting,
            kv_used: self.kv_used(),
        }
    }

    /// Tokens prefilled per second where batches are full.
    #[must_use]
    pub fn prefill_rate_tokens_s(&self) -> f64 {
        cost::prefill_rate_tokens_s(self.config.max_batched_tokens) * self.config.speed
    }

    fn kv_used(&self) -> f64 {
        f64::from(self.cache.active()) / f64::from(self.cache.capacity().max(1))
    }

    /// Blocks of the prompt that need not be computed. The last token always is: its output is the first answer.
    fn held_blocks(&self, job: &Job) -> usize {
        let most = (job.prompt_tokens - 1) / BLOCK_TOKENS;
        let blocks = job.blocks.get(..most as usize).unwrap_or(&job.blocks);
        self.cache.held_prefix(blocks)
    }

    fn cached_tokens(&self, job: &Job) -> u32 {
        self.held_blocks(job) as u32 * BLOCK_TOKENS
    }

    fn begin_step(&mut self, now_us: u64) {
        let mut decoding: u32 = 0;
        for sequence in &mut self.running {
            sequence.part = Part::Nothing;
            if sequence.to_prefill() == 0 {
                sequence.part = Part::Decode;
                decoding += 1;
            }
        }
        let budget = self.config.max_batched_tokens.saturating_sub(decoding);
        let mut left = budget;
        for sequence in &mut self.running {
            if sequence.part == Part::Nothing {
                left -= plan_chunk(sequence, left);
            }
        }
        while left > 0 && self.running.len() < self.config.max_sequences {
            let Some(mut sequence) = self.admit(now_us) else {
                break;
            };
            left -= plan_chunk(&mut sequence, left);
            self.running.push(sequence);
        }
        if self.running.is_empty() {
            self.step_ends_us = None;
            return;
        }
        let mut length_ms = cost::prefill_ms(budget - left);
        if decoding > 0 {
            length_ms += cost::decode_ms(self.kv_used());
        }
        let length_us = (length_ms * 1_000.0 / self.config.speed).round() as u64;
        // A step of no length would let `advance` go on for ever.
        self.step_ends_us = Some(now_us + length_us.max(1));
    }

    /// Takes the first that waits into the batch, if the store has room for all it will need.
    fn admit(&mut self, now_us: u64) -> Option<Sequence> {
        let job = self.waiting.pop_front()?;
        let referenced = self.held_blocks(&job);
        let held = job.blocks.get(..referenced).unwrap_or_default();
        // Referenced first, so that room is not made by evicting the very blocks that are needed.
        self.cache.reference(held);
        let reserved = job.blocks_needed() - referenced as u32;
        if self.cache.reserve(reserved).is_err() {
            self.cache.release(held, 0);
            self.waiting.push_front(job);
            return None;
        }
        let cached_tokens = referenced as u32 * BLOCK_TOKENS;
        self.notices.push(Notice {
            id: job.id,
            at_us: now_us,
            progress: Progress::Admitted { cached_tokens },
        });
        Some(Sequence {
            job,
            computed_tokens: cached_tokens,
            referenced,
            reserved,
            generated_tokens: 0,
            part: Part::Nothing,
        })
    }

    fn end_step(&mut self, now_us: u64) {
        let mut running = std::mem::take(&mut self.running);
        running.retain_mut(|sequence| {
            let generates = match sequence.part {
                Part::Nothing => false,
                Part::Decode => true,
                Part::Prefill(tokens) => {
                    self.prefill(sequence, tokens);
                    sequence.to_prefill() == 0
                }
            };
            let finished = generates && self.generate(sequence, now_us);
            if finished {
                self.release(sequence);
            }
            !finished
        });
        self.running = running;
    }

    fn prefill(&mut self, sequence: &mut Sequence, tokens: u32) {
        sequence.computed_tokens += tokens;
        let whole = (sequence.computed_tokens / BLOCK_TOKENS) as usize;
        let whole = whole.min(sequence.job.blocks.len());
        for block in sequence
            .job
            .blocks
            .iter()
            .take(whole)
            .skip(sequence.referenced)
        {
            self.cache.store(*block);
            sequence.reserved -= 1;
        }
        sequence.referenced = sequence.referenced.max(whole);
    }

    /// One more token; says whether it was the last.
    fn generate(&mut self, sequence: &mut Sequence, now_us: u64) -> bool {
        sequence.generated_tokens += 1;
        let tokens = sequence.generated_tokens;
        let finished = tokens == sequence.job.output_tokens;
        if tokens == 1 || finished || tokens.is_multiple_of(self.config.notice_tokens.max(1)) {
            self.notices.push(Notice {
                id: sequence.job.id,
                at_us: now_us,
                progress: Progress::Generated { tokens, finished },
            });
        }
        finished
    }

    fn release(&mut self, sequence: &Sequence) {
        let referenced = sequence.job.blocks.get(..sequence.referenced);
        self.cache
            .release(referenced.unwrap_or_default(), sequence.reserved);
    }
}

/// Gives a sequence as much of the batch as it can use, and says how much that is.
fn plan_chunk(sequence: &mut Sequence, left: u32) -> u32 {
    let tokens = sequence.to_prefill().min(left);
    if tokens > 0 {
        sequence.part = Part::Prefill(tokens);
    }
    tokens
}

#[cfg(test)]
mod tests;

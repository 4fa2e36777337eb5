//! One instance: the engine, who waits for its tokens, and what is reported of it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use afr_endpoint::events::EventFeed;
use afr_endpoint::report::{MAX_REPORT_HEADER_LEN, ReportError, Reporter, Sample, Wire};
use afr_wire::{DomainKey, MAX_REPORT_LEN, ReportFlags, SignatureChain, UNIT_BYTES};
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::StartError;
use super::args::EmulatorArgs;
use super::clock::EngineClock;
use super::metrics::Metrics;
use crate::answer::tokens_in;
use crate::engine::cache::Block;
use crate::engine::{Engine, EngineConfig, Job, Load, Progress, SequenceId, SubmitError};
use crate::trace::BLOCK_BYTES;

/// What an instance says of itself with every answer.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Number of the instance.
    pub instance_id: u32,
    /// Name of the model.
    pub model: String,
    /// Capability classes.
    pub classes: Vec<u32>,
    /// Labels.
    pub labels: Vec<String>,
    /// Speed relative to the engine model's.
    pub speed: f64,
}

impl Profile {
    fn new(args: &EmulatorArgs) -> Result<Self, StartError> {
        let travels = |label: &&String| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b',')
        };
        if let Some(label) = args.labels.iter().find(|label| !travels(label)) {
            return Err(StartError::Label {
                label: label.clone(),
            });
        }
        Ok(Self {
            instance_id: args.instance_id,
            model: args.model.clone(),
            classes: args.classes.clone(),
            labels: args.labels.clone(),
            speed: args.engine.speed,
        })
    }
}

/// The instance. Every method takes effect at the moment it is called.
#[derive(Debug)]
pub struct Instance {
    profile: Profile,
    max_sequences: usize,
    domain_key: DomainKey,
    clock: EngineClock,
    state: Mutex<State>,
    is_draining: AtomicBool,
    /// The engine's loop sleeps too long.
    submitted: Notify,
    /// There may be something to report.
    changed: Notify,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    next_id: u64,
    waiters: HashMap<SequenceId, Waiter>,
    feed: EventFeed,
    reporter: Reporter,
    reported: Sample,
}

#[derive(Debug)]
struct Waiter {
    progress: UnboundedSender<Progress>,
    submitted_us: u64,
    prompt_tokens: u32,
    output_tokens: u32,
}

impl Instance {
    /// An idle instance whose time begins now.
    ///
    /// # Errors
    ///
    /// [`StartError`] for a label that cannot travel, or a name that Prometheus does not accept.
    pub fn new(args: &EmulatorArgs, reporter: Reporter) -> Result<Self, StartError> {
        Ok(Self {
            profile: Profile::new(args)?,
            max_sequences: args.engine.max_sequences,
            domain_key: args.trust.domain_key.clone(),
            clock: EngineClock::start(args.engine.time_scale),
            state: Mutex::new(State {
                engine: Engine::new(EngineConfig::from(&args.engine)),
                next_id: 0,
                waiters: HashMap::new(),
                feed: EventFeed::new(),
                reporter,
                reported: Sample::default(),
            }),
            is_draining: AtomicBool::new(false),
            submitted: Notify::new(),
            changed: Notify::new(),
            metrics: Metrics::new(&args.model)?,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Most sequences in a batch.
    #[must_use]
    pub const fn max_sequences(&self) -> usize {
        self.max_sequences
    }

    /// What it counts.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What its engine is doing.
    #[must_use]
    pub fn load(&self) -> Load {
        self.state.lock().engine.load()
    }

    /// Begins to answer `prompt` with so many tokens.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] for what the engine could never answer.
    pub fn submit(
        self: &Arc<Self>,
        prompt: &[u8],
        output_tokens: u32,
    ) -> Result<Generation, SubmitError> {
        // Hashed before the lock is taken and the time is read: it is the instance's own time, not the engine's.
        let blocks = blocks_of(prompt, &self.domain_key);
        let prompt_tokens = tokens_in(prompt);
        let mut state = self.state.lock();
        let id = SequenceId(state.next_id);
        state.next_id += 1;
        let now_us = self.clock.now_us();
        let job = Job {
            id,
            prompt_tokens,
            blocks,
            output_tokens,
        };
        let (sender, progress) = unbounded_channel();
        let waiter = Waiter {
            progress: sender,
            submitted_us: now_us,
            prompt_tokens,
            output_tokens,
        };
        // Before the job: an idle engine admits it at once.
        state.waiters.insert(id, waiter);
        let outcome = state.engine.submit(now_us, job);
        if outcome.is_err() {
            state.waiters.remove(&id);
        }
        self.publish(&mut state);
        outcome?;
        self.submitted.notify_one();
        self.changed.notify_one();
        Ok(Generation {
            id,
            instance: Arc::clone(self),
            progress,
            prompt_tokens,
            cached_tokens: 0,
        })
    }

    fn cancel(&self, id: SequenceId) {
        let mut state = self.state.lock();
        if state.waiters.remove(&id).is_some() {
            state.engine.cancel(id);
            self.changed.notify_one();
        }
    }

    /// Brings the engine up to date; says when it will have news by itself.
    pub fn advance(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.engine.advance(self.clock.now_us());
        self.publish(&mut state);
        let next_us = state.engine.next_event_us()?;
        Some(self.clock.instant(next_us))
    }

    /// Hands on what happened in the engine.
    fn publish(&self, state: &mut State) {
        let events = state.engine.take_cache_events();
        let notices = state.engine.take_notices();
        if !events.is_empty() || !notices.is_empty() {
            self.changed.notify_one();
        }
        events.into_iter().for_each(|event| state.feed.push(event));
        for notice in notices {
            let Some(waiter) = state.waiters.get(&notice.id) else {
                continue;
            };
            match notice.progress {
                Progress::Admitted { cached_tokens } => {
                    self.metrics.admitted(waiter.prompt_tokens, cached_tokens);
                }
                Progress::Generated { tokens: 1, .. } => {
                    self.metrics
                        .first_token(notice.at_us.saturating_sub(waiter.submitted_us));
                }
                Progress::Generated { .. } => {}
            }
            // Whoever waited may be gone.
            let _ = waiter.progress.send(notice.progress);
            if let Progress::Generated { finished: true, .. } = notice.progress {
                self.metrics
                    .finished(waiter.prompt_tokens, waiter.output_tokens);
                state.waiters.remove(&notice.id);
            }
        }
    }

    /// Ready after the next [`Instance::submit`].
    pub fn submitted(&self) -> impl Future<Output = ()> + '_ {
        self.submitted.notified()
    }

    /// Ready once there may be something new to report.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Takes no more work, as far as AFRs heed its reports.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Forgets what no sequence uses.
    pub fn clear_cache(&self) {
        let mut state = self.state.lock();
        state.engine.clear_cache();
        self.publish(&mut state);
        self.changed.notify_one();
    }

    /// Whether the next datagram would say something else than the last.
    #[must_use]
    pub fn has_unreported(&self) -> bool {
        let state = self.state.lock();
        let sample = self.sample(&state.engine, 0);
        !sample.says_the_same(&state.reported) || state.reporter.has_news(&state.feed)
    }

    /// The next report as a datagram's payload; the real time is `unix_ms`.
    ///
    /// # Errors
    ///
    /// [`ReportError`], which is a fault of the engine's events.
    pub fn datagram(&self, unix_ms: u64) -> Result<Wire<MAX_REPORT_LEN>, ReportError> {
        let mut state = self.state.lock();
        self.bring_up_to_date(&mut state);
        let sample = self.sample(&state.engine, unix_ms);
        state.reported = sample;
        let State { reporter, feed, .. } = &mut *state;
        reporter.datagram(&sample, feed)
    }

    /// The next report as a header for a reply; the real time is `unix_ms`.
    ///
    /// # Errors
    ///
    /// As [`Instance::datagram`].
    pub fn reply_header(&self, unix_ms: u64) -> Result<Wire<MAX_REPORT_HEADER_LEN>, ReportError> {
        let mut state = self.state.lock();
        self.bring_up_to_date(&mut state);
        let sample = self.sample(&state.engine, unix_ms);
        let State { reporter, feed, .. } = &mut *state;
        reporter.header(&sample, feed)
    }

    /// A report's date is the moment of its figures: steps that ended since the engine's loop last woke are in them.
    fn bring_up_to_date(&self, state: &mut State) {
        state.engine.advance(self.clock.now_us());
        self.publish(state);
    }

    /// The engine now. Rates are per second of real time, which is the AFR's.
    fn sample(&self, engine: &Engine, unix_ms: u64) -> Sample {
        let load = engine.load();
        let is_draining = self.is_draining.load(Ordering::Relaxed);
        let batch = (load.running + load.waiting) as f64 / self.max_sequences as f64;
        Sample {
            // The wire has the low 32 bits.
            sampled_at_ms: unix_ms as u32,
            flags: if is_draining {
                ReportFlags::DRAINING
            } else {
                ReportFlags::NONE
            },
            queue_depth: u16::try_from(load.waiting).unwrap_or(u16::MAX),
            running: u16::try_from(load.running).unwrap_or(u16::MAX),
            pending_prefill_tokens: u32::try_from(load.pending_prefill_tokens).unwrap_or(u32::MAX),
            prefill_rate_tokens_s: (engine.prefill_rate_tokens_s() * self.clock.scale()) as u32,
            kv_used: of_255(load.kv_used),
            // One score: whichever of the KV store and the batch is nearer to its end.
            load_class: of_255(load.kv_used.max(batch)),
            cache_generation: engine.cache_generation(),
            ..Sample::default()
        }
    }
}

/// A fraction in 255ths.
fn of_255(fraction: f64) -> u8 {
    (fraction.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The prompt's whole blocks: named for the engine by a hash of its own, on the wire by their signatures.
fn blocks_of(prompt: &[u8], key: &DomainKey) -> Vec<Block> {
    let units = SignatureChain::over_bytes(key, prompt);
    let ends = units
        .skip(BLOCK_BYTES / UNIT_BYTES - 1)
        .step_by(BLOCK_BYTES / UNIT_BYTES);
    let mut key = 0;
    prompt
        .chunks_exact(BLOCK_BYTES)
        .zip(ends)
        .map(|(text, prefix)| {
            let mut hasher = SipHasher13::new();
            hasher.write_u64(key);
            hasher.write(text);
            key = hasher.finish();
            Block { key, prefix }
        })
        .collect()
}

/// An answer that is being generated. Dropped, it is cancelled.
#[derive(Debug)]
pub struct Generation {
    id: SequenceId,
    instance: Arc<Instance>,
    progress: UnboundedReceiver<Progress>,
    prompt_tokens: u32,
    cached_tokens: u32,
}

impl Generation {
    /// Length of the prompt.
    #[must_use]
    pub const fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// Tokens of the prompt that were in the cache; known once there is a first token.
    #[must_use]
    pub const fn cached_tokens(&self) -> u32 {
        self.cached_tokens
    }

    /// Whose answer it is.
    #[must_use]
    pub const fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// How many tokens there are, once there are more than at the last call, and whether these are all. `None`: there
    /// will be no more.
    pub fn poll_tokens(&mut self, context: &mut Context<'_>) -> Poll<Option<(u32, bool)>> {
        let mut latest = None;
        loop {
            match self.progress.poll_recv(context) {
                Poll::Ready(Some(Progress::Admitted { cached_tokens })) => {
                    self.cached_tokens = cached_tokens;
                }
                Poll::Ready(Some(Progress::Generated { tokens, finished })) => {
                    latest = Some((tokens, finished));
                }
                Poll::Ready(None) => return Poll::Ready(latest),
                Poll::Pending if latest.is_some() => return Poll::Ready(latest),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Waits until all tokens are there; says how many. `None` if that will never be.
    pub async fn finished(&mut self) -> Option<u32> {
        loop {
            match std::future::poll_fn(|context| self.poll_tokens(context)).await {
                Some((tokens, true)) => return Some(tokens),
                Some((_, false)) => {}
                None => return None,
            }
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.instance.cancel(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_as_senders_name_them() {
        let key = DomainKey::new([5; 16]);
        let prompt: Vec<u8> = (0..3 * BLOCK_BYTES + 100).map(|n| (n / 7) as u8).collect();
        let blocks = blocks_of(&prompt, &key);
        let depths: Vec<u16> = blocks.iter().map(|block| block.prefix.depth).collect();
        assert_eq!(depths, [2, 4, 6]);
        let sent: Vec<_> = SignatureChain::over_bytes(&key, &prompt).collect();
        assert!(blocks.iter().all(|block| sent.contains(&block.prefix)));

        let shorter = blocks_of(&prompt[..2 * BLOCK_BYTES], &key);
        assert_eq!(shorter[..], blocks[..2]);
        let mut other = prompt;
        other[0] ^= 1;
        assert!(
            blocks_of(&other, &key)
                .iter()
                .zip(&blocks)
                .all(|(a, b)| a.key != b.key)
        );
    }
}

//! What the loop wants of an engine.

use crate::router::Micros;
use crate::workload::{Block, Job};

/// An engine did what it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine: {0}")]
pub struct EngineError(pub String);

/// What an engine shows of itself.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests waiting.
    pub waiting: u32,
    /// Requests in the batch.
    pub running: u32,
    /// KV capacity in use by them, from 0 to 1.
    pub kv_used: f64,
}

/// A step was begun.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begun {
    /// When it will end.
    pub ends_ms: f64,
    /// Requests taken into the batch, and how many of their tokens were found in the cache.
    pub admitted: Vec<(u32, u32)>,
}

/// Blocks that entered or left the cache.
#[derive(Clone, Debug, PartialEq)]
pub enum CacheChange {
    /// These entered.
    Stored(Vec<Block>),
    /// These left.
    Evicted(Vec<Block>),
}

/// A token of an answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Whose.
    pub job: u32,
    /// Whether there is one; without, the request ended for nothing.
    pub has_token: bool,
    /// Whether it is the last.
    pub is_last: bool,
}

/// A step has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Prompt tokens that were computed in it.
    pub prefilled_tokens: u64,
    /// Changes of the cache, in order.
    pub cache: Vec<CacheChange>,
    /// Tokens that came of it, in order.
    pub outputs: Vec<Output>,
    /// What the engine shows now.
    pub gauges: Gauges,
}

/// An engine that works in steps. Times are milliseconds of the virtual clock.
pub trait Engine {
    /// Takes a request.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if it cannot.
    fn submit(&mut self, now_ms: f64, job: &Job) -> Result<Gauges, EngineError>;

    /// Begins a step, if there is anything to do and none is under way.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if it cannot.
    fn begin(&mut self, now_ms: f64) -> Result<Option<Begun>, EngineError>;

    /// Ends the step under way.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there is none, or it is too early.
    fn end(&mut self, now_ms: f64) -> Result<Ended, EngineError>;

    /// From the next step on it is so many times as fast as the model.
    fn set_speed(&mut self, speed: f64);
}

/// The microsecond of a time.
#[must_use]
pub fn micros(ms: f64) -> Micros {
    (ms * 1_000.0).round() as Micros
}

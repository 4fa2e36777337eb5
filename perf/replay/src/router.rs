//! What a router is asked and told. All times are microseconds of the virtual clock and never go back.
//!
//! Everything is told at the moment at which it is true, for every router alike. What a router would learn later than
//! that, or not at all, is its own affair to delay or to leave out.

use crate::workload::{Block, Job};

/// Microseconds since the beginning.
pub type Micros = u64;

/// An instance, from 0.
pub type Instance = usize;

/// An engine at one moment.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct EngineLoad {
    /// Requests whose prefill has not begun.
    pub waiting: u32,
    /// Requests in the batch.
    pub running: u32,
    /// Uncached tokens still to prefill, those in the batch included.
    pub pending_tokens: u32,
    /// KV capacity in use by running requests, from 0 to 1.
    pub kv_used: f64,
}

/// Why a request went nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The router refused it.
    #[error("request {job} was refused: {why}")]
    Refused {
        /// Which.
        job: u32,
        /// What the router said.
        why: String,
    },
}

/// A router of requests.
pub trait Router {
    /// Which instance is to have the request that arrives now.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if none is.
    fn place(&mut self, now: Micros, job: &Job) -> Result<Instance, RouteError>;

    /// The first token of a request leaves its instance.
    fn prefilled(&mut self, _now: Micros, _job: &Job, _instance: Instance) {}

    /// The last one does.
    fn finished(&mut self, _now: Micros, _job: &Job, _instance: Instance) {}

    /// An engine has put blocks into its cache.
    fn stored(&mut self, _now: Micros, _instance: Instance, _blocks: &[Block]) {}

    /// An engine has evicted blocks.
    fn evicted(&mut self, _now: Micros, _instance: Instance, _blocks: &[Block]) {}

    /// What an engine is doing, told whenever it changes.
    fn loaded(&mut self, _now: Micros, _instance: Instance, _load: &EngineLoad) {}

    /// The run is over: what the router counted, by name.
    fn counts(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

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

/// What the control plane says of an instance.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It takes requests.
    #[default]
    Up,
    /// It takes no new ones.
    Draining,
    /// It was found dead.
    Down,
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
    /// No instance may have it.
    #[error("no instance that is up has what request {job} needs")]
    NoCandidate {
        /// Which.
        job: u32,
    },
}

/// A router of requests.
pub trait Router {
    /// Which instance is to have the request that arrives now. `candidates` are those that have what it needs and take
    /// requests as far as the control plane knows, ascending; a router that matches for itself does not look at them.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if none is.
    fn place(
        &mut self,
        now: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError>;

    /// The first token of a request leaves its instance.
    fn prefilled(&mut self, _now: Micros, _job: &Job, _instance: Instance) {}

    /// The last one does.
    fn finished(&mut self, _now: Micros, _job: &Job, _instance: Instance) {}

    /// A request's connection broke before that.
    fn broken(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.finished(now, job, instance);
    }

    /// An engine has put blocks into its cache.
    fn stored(&mut self, _now: Micros, _instance: Instance, _blocks: &[Block]) {}

    /// An engine has evicted blocks.
    fn evicted(&mut self, _now: Micros, _instance: Instance, _blocks: &[Block]) {}

    /// What an engine says that it is doing, told whenever it changes.
    fn loaded(&mut self, _now: Micros, _instance: Instance, _load: &EngineLoad) {}

    /// What it is doing, and its speed relative to the model's: for who knows everything.
    fn truth(&mut self, _now: Micros, _instance: Instance, _load: &EngineLoad, _speed: f64) {}

    /// The speed of an engine, relative to the model's, as who stands beside it measures it.
    fn paced(&mut self, _now: Micros, _instance: Instance, _speed: f64) {}

    /// An engine, its cache and who stands beside it are gone. No router is told: what runs on an instance is.
    fn died(&mut self, _now: Micros, _instance: Instance) {}

    /// They are there again, the cache empty.
    fn returned(&mut self, _now: Micros, _instance: Instance) {}

    /// The control plane says how an instance stands.
    fn declared(&mut self, _now: Micros, _instance: Instance, _standing: Standing) {}

    /// The run is over: what the router counted, by name.
    fn counts(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

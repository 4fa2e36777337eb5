//! An instance's place in the loop.

use std::collections::BTreeSet;

use super::engine::Gauges;
use crate::router::Standing;

/// How much of a new step's speed enters the measured one.
const SMOOTHING: f64 = 0.2;
/// Changes of the measured speed that are worth telling.
const WORTH_TELLING: f64 = 0.01;

/// The place.
#[derive(Debug)]
pub(super) struct Slot<E> {
    /// None while it is dead.
    pub(super) engine: Option<E>,
    /// Whether it is dead and answers nobody.
    pub(super) is_silent: bool,
    /// How often it has died.
    pub(super) lives: u32,
    /// What the control plane says of it.
    pub(super) standing: Standing,
    /// Its speed relative to the model's.
    pub(super) speed: f64,
    /// Whether it reports an empty queue.
    pub(super) lies: bool,
    /// Requests whose connections it has.
    pub(super) requests: BTreeSet<u32>,
    /// What its engine showed last.
    pub(super) gauges: Gauges,
    /// Prompt tokens of each step since the last look.
    pub(super) stepped: Vec<u64>,
    /// When the step under way was begun, and at what speed.
    pub(super) begun_ms: f64,
    begun_speed: f64,
    /// The speed as measured, and as told last.
    measured: f64,
    told: f64,
}

impl<E> Slot<E> {
    pub(super) const fn new(engine: E, speed: f64) -> Self {
        Self {
            engine: Some(engine),
            is_silent: false,
            lives: 0,
            standing: Standing::Up,
            speed,
            lies: false,
            requests: BTreeSet::new(),
            gauges: Gauges {
                waiting: 0,
                running: 0,
                kv_used: 0.0,
            },
            stepped: Vec::new(),
            begun_ms: 0.0,
            begun_speed: speed,
            measured: 1.0,
            told: 1.0,
        }
    }

    pub(super) const fn began(&mut self, now_ms: f64) {
        self.begun_ms = now_ms;
        self.begun_speed = self.speed;
    }

    /// A step has ended: the speed as measured now, if that is worth telling.
    pub(super) fn measured(&mut self) -> Option<f64> {
        self.measured += SMOOTHING * (self.begun_speed - self.measured);
        let is_news = (self.measured - self.told).abs() > WORTH_TELLING * self.told;
        is_news.then(|| {
            self.told = self.measured;
            self.measured
        })
    }

    pub(super) fn dies(&mut self, silently: bool) {
        self.engine = None;
        self.is_silent = silently;
        self.lives += 1;
        self.gauges = Gauges::default();
        self.stepped.clear();
    }

    pub(super) fn returns(&mut self, engine: E) {
        self.engine = Some(engine);
        self.is_silent = false;
        (self.measured, self.told) = (1.0, 1.0);
    }
}

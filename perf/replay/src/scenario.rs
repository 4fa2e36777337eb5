//! What a cluster is like and what happens to it: speeds, what each instance has, what requests need, failures.

mod event;

use afr_perf::rng;
use afr_perf::trace::{TraceRequest, assign_classes};

pub use event::{Event, EventError, Fault};

use crate::router::Instance;

/// A set of labels, by their places in [`LABELS`].
pub type Labels = u32;

/// Labels there are.
pub const LABELS: [&str; 6] = [
    "tool:browser",
    "ctx:128k",
    "lora:support",
    "lora:code",
    "lora:legal",
    "lora:sql",
];
const BROWSER: Labels = 1;
const LONG: Labels = 1 << 1;
/// The first of the adapters.
const ADAPTER: Labels = 1 << 2;
const ADAPTERS: usize = 4;

/// How fast an engine is that slows to a third.
const A_THIRD: f64 = 1.0 / 3.0;
/// The instance that things happen to.
const VICTIM: Instance = 2;

/// A kind of request.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its share of the conversations, in shares of any sum.
    pub share: f64,
    /// What an instance must have.
    pub needs: Labels,
    /// Whether it is computed with weights of its own, so that equal tokens are other blocks.
    pub has_own_weights: bool,
}

/// A cluster, what is asked of it, and what happens to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// Speed of each engine relative to the model's.
    pub speeds: Vec<f64>,
    /// What each instance has.
    pub labels: Vec<Labels>,
    /// Kinds of request; none: all are alike.
    pub variants: Vec<Variant>,
    /// What happens, ascending in time.
    pub events: Vec<Event>,
}

impl Scenario {
    /// All that have a name.
    pub const NAMED: [&str; 10] = [
        "even",
        "uneven",
        "capabilities",
        "adapters",
        "dies",
        "vanishes",
        "drains",
        "slows",
        "lies",
        "trouble",
    ];

    /// Equal engines, equal requests, nothing happens.
    #[must_use]
    pub fn even(instances: usize) -> Self {
        Self {
            name: "even".to_owned(),
            speeds: vec![1.0; instances],
            labels: vec![0; instances],
            ..Self::default()
        }
    }

    /// The one of this name on a cluster of so many.
    #[must_use]
    pub fn named(name: &str, instances: usize) -> Option<Self> {
        if !Self::NAMED.contains(&name) {
            return None;
        }
        let mut scenario = Self::even(instances);
        name.clone_into(&mut scenario.name);
        if ["uneven", "trouble"].contains(&name) {
            scenario.make_uneven();
        }
        if ["capabilities", "trouble"].contains(&name) {
            scenario.give_capabilities();
        }
        if name == "adapters" {
            scenario.give_adapters();
        }
        scenario.happens(what_happens(name));
        Some(scenario)
    }

    /// Of four engines two are as the model, one has half its speed, one once and a half.
    fn make_uneven(&mut self) {
        for (at, speed) in self.speeds.iter_mut().enumerate() {
            *speed = [1.0, 0.5, 1.0, 1.5][at % 4];
        }
    }

    /// Half of the instances have a browser, another half takes long contexts; half of the conversations need one of these.
    fn give_capabilities(&mut self) {
        for (at, labels) in self.labels.iter_mut().enumerate() {
            *labels = [0, BROWSER, LONG, BROWSER | LONG][at % 4];
        }
        let variant = |share, needs| Variant {
            share,
            needs,
            has_own_weights: false,
        };
        self.variants = vec![variant(2.0, 0), variant(1.0, BROWSER), variant(1.0, LONG)];
    }

    /// Each instance has two of four adapters beside the base model; three of five conversations are with an adapter.
    fn give_adapters(&mut self) {
        let adapter = |at: usize| ADAPTER << (at % ADAPTERS);
        for (at, labels) in self.labels.iter_mut().enumerate() {
            *labels = adapter(at) | adapter(at + 1);
        }
        let base = Variant {
            share: 0.4,
            needs: 0,
            has_own_weights: false,
        };
        let adapters = (0..ADAPTERS).map(|at| Variant {
            share: 0.15,
            needs: adapter(at),
            has_own_weights: true,
        });
        self.variants = std::iter::once(base).chain(adapters).collect();
    }

    /// On a cluster too small for a victim nothing happens to it.
    fn happens(&mut self, events: &[(f64, Instance, Fault)]) {
        let instances = self.speeds.len();
        let there_is = events.iter().filter(|(_, at, _)| *at < instances);
        let events = there_is.map(|(at, instance, fault)| Event {
            at: *at,
            instance: *instance,
            fault: *fault,
        });
        self.events.extend(events);
        self.events.sort_by(|a, b| a.at.total_cmp(&b.at));
    }

    /// Whether engines are equal and stay so, and requests alike: what the simulator's own replay can do.
    #[must_use]
    pub fn is_even(&self) -> bool {
        let Self {
            speeds,
            variants,
            events,
            ..
        } = self;
        speeds.iter().all(|speed| *speed == 1.0) && variants.is_empty() && events.is_empty()
    }

    /// Whether an instance may fall silent for good.
    #[must_use]
    pub fn has_deaths(&self) -> bool {
        let is_death = |event: &Event| matches!(event.fault, Fault::Dies | Fault::Vanishes);
        self.events.iter().any(is_death)
    }

    /// What a request of this kind needs.
    #[must_use]
    pub fn needs(&self, variant: usize) -> Labels {
        self.variants.get(variant).map_or(0, |it| it.needs)
    }

    /// Whether an instance has what a request of this kind needs.
    #[must_use]
    pub fn serves(&self, instance: Instance, variant: usize) -> bool {
        let needs = self.needs(variant);
        self.labels.get(instance).copied().unwrap_or_default() & needs == needs
    }

    /// Gives requests their kinds, all of a conversation the same. `own_block` is the first of a prompt's blocks that only
    /// its conversation has.
    pub fn dress(&self, requests: &mut [TraceRequest], own_block: usize, seed: u64) {
        if self.variants.is_empty() {
            return;
        }
        let shares: Vec<f64> = self.variants.iter().map(|it| it.share).collect();
        assign_classes(requests, &shares, own_block, seed);
        for request in requests {
            if self.variants[request.class].has_own_weights {
                let class = request.class as u64;
                request
                    .hash_ids
                    .iter_mut()
                    .for_each(|id| *id = rng::at(*id, class));
            }
        }
    }
}

/// What happens to whom in the scenario of this name, and when.
fn what_happens(name: &str) -> &'static [(f64, Instance, Fault)] {
    match name {
        "dies" => &[(0.4, VICTIM, Fault::Dies), (0.7, VICTIM, Fault::Returns)],
        "vanishes" => &[
            (0.4, VICTIM, Fault::Vanishes),
            (0.7, VICTIM, Fault::Returns),
        ],
        "drains" => &[(0.4, VICTIM, Fault::Drains), (0.7, VICTIM, Fault::Undrains)],
        "slows" => &[
            (0.3, VICTIM, Fault::Pace(A_THIRD)),
            (0.7, VICTIM, Fault::Pace(1.0)),
        ],
        "lies" => &[(0.3, VICTIM, Fault::Lies), (0.7, VICTIM, Fault::Confesses)],
        "trouble" => &[
            (0.2, 0, Fault::Pace(A_THIRD)),
            (0.3, 1, Fault::Lies),
            (0.4, VICTIM, Fault::Dies),
            (0.5, 5, Fault::Drains),
            (0.6, 0, Fault::Pace(1.0)),
            (0.7, VICTIM, Fault::Returns),
            (0.8, 5, Fault::Undrains),
            (0.9, 1, Fault::Confesses),
        ],
        _ => &[],
    }
}

/// The labels of a set, by name.
pub fn names(labels: Labels) -> impl Iterator<Item = &'static str> {
    (0..)
        .zip(LABELS)
        .filter_map(move |(at, name)| (labels >> at & 1 == 1).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(count: u64) -> Vec<TraceRequest> {
        let request = |n| TraceRequest {
            arrival_ms: 0.0,
            input_tokens: 1_024,
            output_tokens: 10,
            hash_ids: vec![0, n / 2 + 1],
            recurring_blocks: 0,
            class: 0,
        };
        (0..count).map(request).collect()
    }

    #[test]
    fn every_named_one_can_serve_every_kind_of_request() {
        for name in Scenario::NAMED {
            let scenario = Scenario::named(name, 8).unwrap();
            assert_eq!(scenario.is_even(), name == "even", "{name}");
            for variant in 0..scenario.variants.len() {
                let able = (0..8).filter(|at| scenario.serves(*at, variant)).count();
                assert!(able >= 2, "{name}, variant {variant}: {able}");
            }
            assert!(scenario.events.is_sorted_by(|a, b| a.at <= b.at));
        }
        assert_eq!(Scenario::named("odd", 8), None);
        assert!(
            Scenario::named("trouble", 2)
                .unwrap()
                .events
                .iter()
                .all(|event| event.instance < 2)
        );
    }

    #[test]
    fn conversations_keep_their_kind_and_adapters_share_no_blocks() {
        let scenario = Scenario::named("adapters", 8).unwrap();
        let (plain, mut dressed) = (requests(2_000), requests(2_000));
        scenario.dress(&mut dressed, 1, 1);
        for (before, after) in plain.chunks(2).zip(dressed.chunks(2)) {
            assert_eq!(after[0], after[1]);
            assert_eq!(after[0].class == 0, after[0].hash_ids == before[0].hash_ids);
        }
        let mut firsts: Vec<(u64, usize)> = dressed
            .iter()
            .map(|it| (it.hash_ids[0], it.class))
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 5, "one system prompt for each set of weights");
        let base = dressed.iter().filter(|request| request.class == 0).count();
        assert!((700..900).contains(&base), "{base} of 2,000");
        assert_eq!(
            names(BROWSER | ADAPTER).collect::<Vec<_>>(),
            ["tool:browser", "lora:support"]
        );
    }
}

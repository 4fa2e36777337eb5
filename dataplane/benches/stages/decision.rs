//! The dispatch decision, its parts and the whole.

use std::hint::black_box;

use afr_dataplane::aft::Aft;
use afr_dataplane::aft::epoch::Reader;
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::residency::Overlay;
use afr_dataplane::config::PolicyKind;
use afr_dataplane::id::{Slot, WorkerId};
use afr_dataplane::path::BURST;
use afr_dataplane::reply::overlay::LoadOverlay;
use afr_dataplane::request::admit::Admit;
use afr_dataplane::request::charges::Charges;
use afr_dataplane::request::matching::{Need, candidates};
use afr_dataplane::request::policy::{self, Task};
use afr_dataplane::request::replay_guard::ReplayGuard;
use afr_dataplane::request::score::{Scratch, View};
use afr_wire::{Bloom, DomainId, Label32, PolicyScope};

use super::Case;
use super::single::flow_key;
use super::site::{Site, prefixes};
use crate::support::setup::{CATALOGUE, CHAT_IX, CLIENT, LABELS, label};

/// No policy scope in particular.
const ANY: PolicyScope = PolicyScope(0);
/// Length of the prompt that is placed.
const PROMPT_TOKENS: u32 = 4_096;

/// The candidates among 64 instances, for two labels that were asked for before.
pub(crate) fn match_64() -> Case {
    matching(64, |_| ANY)
}

/// The candidates among 1,024 instances, for two labels that were asked for before.
pub(crate) fn match_1024() -> Case {
    matching(1_024, |_| ANY)
}

/// The same among 64, for what was not asked for before.
pub(crate) fn match_anew_64() -> Case {
    matching(64, another)
}

/// The same among 1,024, for what was not asked for before.
pub(crate) fn match_anew_1024() -> Case {
    matching(1_024, another)
}

/// A policy scope that everybody accepts, and that is forgotten until it is asked for again.
fn another(n: usize) -> PolicyScope {
    PolicyScope(1 + n as u16)
}

fn matching(instances: u16, scope: fn(usize) -> PolicyScope) -> Case {
    Case::new(
        Decision::new(instances),
        |_| {},
        move |decision, n| {
            let count = decision.candidates(scope(n));
            assert_eq!(count, usize::from(decision.site.instances));
        },
    )
}

/// The smallest estimate of 64, no load having changed.
pub(crate) fn score_64() -> Case {
    scoring(64, |_| {})
}

/// The smallest estimate of 1,024, no load having changed.
pub(crate) fn score_1024() -> Case {
    scoring(1_024, |_| {})
}

/// The same of 64, all loads having changed.
pub(crate) fn score_anew_64() -> Case {
    scoring(64, |decision| decision.scratch.standing.forget())
}

/// The same of 1,024, all loads having changed.
pub(crate) fn score_anew_1024() -> Case {
    scoring(1_024, |decision| decision.scratch.standing.forget())
}

fn scoring(instances: u16, before: fn(&mut Decision)) -> Case {
    let mut decision = Decision::new(instances);
    assert_eq!(decision.candidates(ANY), usize::from(instances));
    decision.reuse(0);
    Case::new(
        decision,
        |_| {},
        move |decision, n| {
            before(decision);
            black_box(decision.pick(n as u64));
        },
    )
}

/// The whole decision among 64 candidates: admitted, matched, reuse found, scored, checked exactly, charged.
pub(crate) fn dispatch_64() -> Case {
    dispatching(64)
}

/// The whole decision among 1,024 candidates.
pub(crate) fn dispatch_1024() -> Case {
    dispatching(1_024)
}

fn dispatching(instances: u16) -> Case {
    Case::new(
        Decision::new(instances),
        |decision| {
            decision.now_us += 10_000;
            decision.site.forget_dispatches();
        },
        |decision, n| {
            assert!(decision.decide(n).is_some());
        },
    )
}

/// What a dispatch decision is made from.
struct Decision {
    site: Site,
    reader: Reader<Aft>,
    loads: LoadOverlay,
    overlay: Overlay,
    admit: Admit,
    replay: ReplayGuard,
    scratch: Scratch,
    charges: Charges,
    bloom: Bloom<4>,
    labels: [Label32; 2],
    now_us: u64,
}

impl Decision {
    fn new(instances: u16) -> Self {
        let (site, reader) = Site::new(instances, |_| {});
        let config = &reader.get().config;
        let labels = [label(LABELS[0]), label(LABELS[1])];
        let mut bloom = Bloom::new();
        for label in labels {
            bloom.insert(label);
        }
        let slots = usize::from(instances);
        Self {
            loads: LoadOverlay::new(slots),
            overlay: Overlay::new(config.limits.overlay_signatures as usize),
            admit: Admit::new(&config.admit, config.limits.classes, 1),
            replay: ReplayGuard::new(&config.limits, &config.dispatch, 1),
            scratch: Scratch::new(slots, usize::from(config.limits.classes)),
            charges: Charges::new(slots),
            bloom,
            labels,
            now_us: site.now.mono_us,
            reader,
            site,
        }
    }

    #[inline]
    fn candidates(&mut self, policy: PolicyScope) -> usize {
        let need = Need {
            class: CHAT_IX,
            policy,
            bloom: black_box(self.bloom.words()),
        };
        let (aft, live) = (self.reader.get(), &self.site.shared.live);
        candidates(
            aft,
            live,
            &self.loads,
            &need,
            self.now_us,
            &mut self.scratch,
        )
    }

    #[inline]
    fn reuse(&mut self, n: usize) {
        let known = self.reader.get().known(WorkerId(0), &self.overlay);
        let prefixes = prefixes(n as u16);
        let words = self.scratch.candidates.len();
        let reuse = &mut self.scratch.reuse;
        let prefixes = black_box(&prefixes);
        reuse.compute_within(words, &known, CATALOGUE, DomainId(0), prefixes);
    }

    #[inline]
    fn pick(&mut self, flow_hash: u64) -> Option<Slot> {
        let aft = self.reader.get();
        let view = View {
            aft,
            loads: &self.loads,
            inflight: &self.site.shared.inflight,
            charges: &self.charges,
        };
        let task = Task {
            class: CHAT_IX,
            prompt_tokens: PROMPT_TOKENS,
            flow_hash: black_box(flow_hash),
        };
        let knobs = &aft.config.dispatch;
        policy::pick(PolicyKind::Ttft, &view, &task, knobs, &mut self.scratch)
    }

    fn decide(&mut self, n: usize) -> Option<Slot> {
        let key = flow_key(n);
        let source = u128::from(CLIENT);
        black_box(self.admit.admit(self.now_us, source, CHAT_IX, 0, 0));
        let now_s = self.now_us / 1_000_000;
        black_box(self.replay.charge(now_s, source, n as u64));
        let seed = &self.reader.get().config.maglev_seed;
        let hash = Maglev::flow_hash(seed, &key.src, &key.dst, key.proto, key.sport, key.dport);
        self.candidates(ANY);
        self.reuse(n);
        let slot = self.pick(hash)?;
        let (aft, shared) = (self.reader.get(), &self.site.shared);
        let takes = shared.live.accepts_new(slot, aft.incarnation(slot))
            && aft.has_labels(slot, black_box(&self.labels));
        self.charges.commit(&shared.inflight, slot, PROMPT_TOKENS);
        let view = View {
            aft,
            loads: &self.loads,
            inflight: &shared.inflight,
            charges: &self.charges,
        };
        let standing = &mut self.scratch.standing;
        standing.count(&view);
        if self.charges.slots().len() == BURST {
            self.charges.tell(&shared.inflight, standing);
        }
        takes.then_some(slot)
    }
}

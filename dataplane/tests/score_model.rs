//! The choice of the smallest estimate, made in vectors from figures that are kept between decisions, against a plain
//! reference that looks at every candidate by itself, over random tables and loads that change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

mod support;

use afr_dataplane::aft::residency::{Overlay, Said};
use afr_dataplane::aft::{Load, Op, RATE_SHIFT, ReportOrder, SigKey};
use afr_dataplane::config::PolicyKind;
use afr_dataplane::id::{Incarnation, Slot, WorkerId};
use afr_dataplane::reply::overlay::{Learned, LoadOverlay};
use afr_dataplane::request::charges::Charges;
use afr_dataplane::request::policy::{Task, pick};
use afr_dataplane::request::score::{Scratch, View};
use afr_dataplane::request::standing::MAX_COST_US;
use afr_wire::{DomainId, Prefix};
use proptest::prelude::*;
use support::metadata::prefix;
use support::setup::{CATALOGUE, CHAT_IX, Setup};
use support::world::World;

/// Instances of the table, at the most: three words of 64, the last one not full.
const MOST: u16 = 130;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A report that the next generation includes: tokens that wait, rate, KV use.
    Reported(u16, u32, u32, u8),
    /// One that only this worker knows of.
    Learned(u16, u32),
    /// Tokens sent by this worker.
    Charged(u16, u32),
    /// The same, to the one that has least to do.
    ChargedIdlest(u32),
    /// What it sent is told to the others.
    Told,
    /// By another one.
    ChargedElsewhere(u16, u32),
    /// A client of another worker's waits for its first answer, or has it.
    Waits(u16, u32),
    Answered(u16),
    /// Work is sent by another worker, and so many milliseconds later what was sent fades.
    Sent(u16, u32, u32),
    /// Many hold a prefix: every so many from some instance on.
    Stored(u8, u16, u16),
    /// This worker says that an instance holds a prefix, or no longer does.
    Said(u8, u16, bool),
    /// A decision.
    Decided(Decision),
}

/// What varies of one.
#[derive(Debug, Clone)]
struct Decision {
    prompt_tokens: u32,
    /// How many prefixes of three it carries.
    levels: usize,
    near_tie_us: u32,
    thrift_per_s: u32,
    flow_hash: u64,
    /// Which of the instances are out.
    out: u64,
}

fn event() -> impl Strategy<Value = Event> {
    let slot = || 0..MOST;
    // Few values and many, so that there are ties; and what takes longer than anybody waits.
    let tokens = || prop_oneof![Just(0), Just(4_096), 0..50_000_u32, any::<u32>()];
    let rate = prop_oneof![Just(10_000), 1..40_000_u32, Just(1)];
    prop_oneof![
        2 => (slot(), tokens(), rate, any::<u8>()).prop_map(|(s, t, r, k)| Event::Reported(s, t, r, k)),
        1 => (slot(), tokens()).prop_map(|(s, t)| Event::Learned(s, t)),
        2 => (slot(), 0..9_000_u32).prop_map(|(s, t)| Event::Charged(s, t)),
        4 => (0..9_000_u32).prop_map(Event::ChargedIdlest),
        2 => Just(Event::Told),
        2 => (slot(), 0..9_000_u32).prop_map(|(s, t)| Event::ChargedElsewhere(s, t)),
        3 => (slot(), 0..90_000_u32).prop_map(|(s, t)| Event::Waits(s, t)),
        1 => slot().prop_map(Event::Answered),
        3 => (slot(), 0..9_000_000_u32, 0..20_000_u32).prop_map(|(s, t, ms)| Event::Sent(s, t, ms)),
        2 => (0..3_u8, slot(), 1..40_u16).prop_map(|(level, from, step)| Event::Stored(level, from, step)),
        2 => (0..3_u8, slot(), any::<bool>()).prop_map(|(level, slot, holds)| Event::Said(level, slot, holds)),
        6 => (
            tokens(),
            0..4_usize,
            prop_oneof![Just(0), Just(2_000), any::<u32>()],
            prop_oneof![Just(0), Just(50), any::<u32>()],
            any::<u64>(),
            prop_oneof![4 => Just(0), 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => (0..64_u32).prop_map(|bit| !(1 << bit))],
        )
            .prop_map(|(prompt, levels, near_tie_us, thrift_per_s, flow_hash, out)| {
                Event::Decided(Decision {
                    prompt_tokens: prompt.max(1),
                    levels,
                    near_tie_us,
                    thrift_per_s,
                    flow_hash,
                    out,
                })
            }),
    ]
}

fn level(n: u8) -> Prefix {
    prefix(3 + 4 * u16::from(n), 77)
}

/// As documented: SplitMix64's finaliser of the hash, its high half scaled to the number of near-ties.
fn nth_of(hash: u64, count: usize) -> usize {
    let mut z = hash ^ 0x9E37_79B9_7F4A_7C15;
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    ((u128::from(z >> 32) * count as u128) >> 32) as usize
}

struct Model {
    world: World,
    loads: LoadOverlay,
    overlay: Overlay,
    scratch: Scratch,
    charges: Charges,
    instances: u16,
    seq: u32,
    said: u64,
    sampled_us: u64,
}

impl Model {
    fn new(instances: u16) -> Self {
        let setup = Setup::new(instances);
        let world = World::new(setup.config(|config| config.dispatch.recent_per_mille = 200));
        let slots = world.aft().slots();
        Self {
            loads: LoadOverlay::new(slots),
            overlay: Overlay::new(64),
            scratch: Scratch::new(slots, 3),
            charges: Charges::new(slots),
            instances,
            sampled_us: world.now.mono_us,
            world,
            seq: 0,
            said: 0,
        }
    }

    fn load(
        &mut self,
        slot: Slot,
        pending_tokens: u32,
        prefill_rate_tokens_s: u32,
        kv_used: u8,
    ) -> Load {
        self.seq += 1;
        Load {
            order: ReportOrder::new(1, self.seq),
            queue_depth: 0,
            running: 0,
            pending_tokens,
            prefill_rate_tokens_s,
            kv_used,
            load_class: 0,
            draining: false,
            refusing: false,
            // All that was sent is known to it.
            base_tokens: self.world.shared.inflight.committed(slot),
            received_us: self.world.now.mono_us,
        }
    }

    fn push(&mut self, op: Op) {
        self.world.push(op);
        self.world.settle();
        self.loads.retire(self.world.aft(), WorkerId(0));
        self.scratch.standing.forget();
    }

    fn happen(&mut self, event: &Event) {
        let slot = |slot: u16| Slot(slot % self.instances);
        match *event {
            Event::Reported(at, pending, rate, kv) => {
                let slot = slot(at);
                let load = self.load(slot, pending, rate, kv);
                self.push(Op::Load { slot, load });
            }
            Event::Learned(at, pending) => {
                let slot = slot(at);
                let load = self.load(slot, pending, 0, 0);
                let tenant: Incarnation = self.world.aft().incarnation(slot);
                let learned = Learned {
                    position: u64::MAX,
                    tenant,
                    load,
                    cache_generation: 0,
                };
                self.loads.enter(slot, learned, 0);
                self.scratch.standing.forget_slot(slot);
            }
            Event::Charged(at, tokens) => self.charge(slot(at), tokens),
            Event::ChargedIdlest(tokens) => {
                let view = View {
                    aft: self.world.aft(),
                    loads: &self.loads,
                    inflight: &self.world.shared.inflight,
                    charges: &self.charges,
                };
                let idlest = (0..self.instances)
                    .map(Slot)
                    .min_by_key(|slot| view.work_us(*slot));
                self.charge(idlest.unwrap(), tokens);
            }
            Event::Told => {
                let inflight = &self.world.shared.inflight;
                self.charges.tell(inflight, &mut self.scratch.standing);
            }
            Event::ChargedElsewhere(at, tokens) => {
                self.world.shared.inflight.open(slot(at), tokens);
            }
            Event::Waits(at, tokens) => self.world.shared.inflight.waits(slot(at), tokens),
            Event::Answered(at) => self.world.shared.inflight.answered(slot(at)),
            Event::Sent(at, tokens, passes_ms) => {
                let inflight = &self.world.shared.inflight;
                inflight.commit_direct(slot(at), tokens);
                self.sampled_us += u64::from(passes_ms) * 1_000;
                inflight.sample(self.sampled_us);
            }
            Event::Stored(n, from, step) => {
                let key = SigKey::new(CATALOGUE, DomainId(0), level(n));
                let now_s = self.world.aft().now_s;
                for at in (from % self.instances..self.instances).step_by(usize::from(step)) {
                    self.world.push(Op::Stored {
                        slot: Slot(at),
                        key,
                        provisional: false,
                        now_s,
                    });
                }
                self.world.settle();
                self.scratch.standing.forget();
            }
            Event::Said(n, at, holds) => {
                self.said += 1;
                let key = SigKey::new(CATALOGUE, DomainId(0), level(n));
                let said = if holds { Said::Stored } else { Said::Evicted };
                let position = u64::MAX / 2 + self.said;
                self.overlay.insert(key, slot(at), said, position);
            }
            Event::Decided(ref decision) => self.decide(decision),
        }
    }

    fn charge(&mut self, slot: Slot, tokens: u32) {
        let inflight = &self.world.shared.inflight;
        if tokens.is_multiple_of(3) {
            self.charges.open(inflight, slot, tokens);
        } else {
            self.charges.commit(inflight, slot, tokens);
        }
    }

    fn decide(&mut self, decision: &Decision) {
        let &Decision {
            prompt_tokens,
            levels,
            near_tie_us,
            thrift_per_s,
            flow_hash,
            out,
        } = decision;
        let prefixes: Vec<Prefix> = (0..3).map(level).take(levels).collect();
        let aft = self.world.aft();
        let view = View {
            aft,
            loads: &self.loads,
            inflight: &self.world.shared.inflight,
            charges: &self.charges,
        };
        let candidates: Vec<Slot> = (0..self.instances)
            .map(Slot)
            .filter(|slot| out >> (slot.0 * 7 % 64) & 1 == 0)
            .collect();
        let scratch = &mut self.scratch;
        scratch.candidates.clear();
        scratch
            .candidates
            .resize(usize::from(self.instances).div_ceil(64), 0);
        for slot in &candidates {
            scratch.candidates[slot.index() / 64] |= 1 << (slot.0 % 64);
        }
        let words = scratch.candidates.len();
        let known = aft.known(WorkerId(0), &self.overlay);
        let domain = DomainId(0);
        scratch
            .reuse
            .compute_within(words, &known, CATALOGUE, domain, &prefixes);

        let most = u64::from(MAX_COST_US);
        let work_us = |slot: &Slot| {
            let estimate = view.estimate(*slot, prompt_tokens, 0);
            (estimate.queue_us + estimate.pressure_us).min(most)
        };
        // As documented: a share of what was sent lately.
        let standing_us = |slot: &Slot| {
            let share = u64::from(aft.config.dispatch.recent_per_mille);
            let recent = view.inflight.recent(*slot) + view.charges.of(*slot).committed;
            let tokens = recent * share / 1_000;
            // A prompt of so many tokens that nobody holds any of takes as long.
            let recent_us = view.estimate(*slot, tokens as u32, 0).prefill_us;
            (work_us(slot) + recent_us).min(most)
        };
        // As documented: for each second that everybody's work takes, new tokens count so many times more.
        let least_us = candidates.iter().map(work_us).min().unwrap_or(0);
        let more_q16 = u128::from(least_us) * u128::from(thrift_per_s) * (1 << 16) / 1_000_000;
        let more_q16 = more_q16.min(u128::from(u32::MAX) - (1 << 16));
        // What they count more is the same at every candidate: that much of the fastest one's time.
        let fastest_q = candidates.iter().map(|slot| view.rate_q(*slot)).min();
        let more_q = (more_q16 * u128::from(fastest_q.unwrap_or(0))) >> 16;
        let cost = |slot: &Slot| {
            let holds = |prefix: &&Prefix| {
                let key = SigKey::new(CATALOGUE, domain, **prefix);
                let own = self.overlay.lookup(key, known.consumed).said(*slot);
                own.map_or_else(
                    || aft.holders(key).contains(*slot),
                    |said| said == Said::Stored,
                )
            };
            let held = prefixes.iter().take_while(holds).last();
            let depth = held.map_or(0, |held| held.depth);
            let new = prompt_tokens - view.estimate(*slot, prompt_tokens, depth).reuse_tokens;
            let each_q = (u128::from(view.rate_q(*slot)) + more_q).min(u128::from(u32::MAX));
            let prefill_us = (u128::from(new) * each_q) >> RATE_SHIFT;
            standing_us(slot) + prefill_us.min(u128::from(most)) as u64
        };
        let costs: Vec<u64> = candidates.iter().map(cost).collect();
        let limit = costs
            .iter()
            .min()
            .map(|least| least + u64::from(near_tie_us));
        let near: Vec<Slot> = candidates
            .iter()
            .zip(&costs)
            .filter(|(_, cost)| Some(**cost) <= limit)
            .map(|(slot, _)| *slot)
            .collect();
        let right = near.get(nth_of(flow_hash, near.len())).copied();

        let task = Task {
            class: CHAT_IX,
            prompt_tokens,
            flow_hash,
        };
        let mut knobs = aft.config.dispatch.clone();
        knobs.near_tie_us = near_tie_us;
        knobs.thrift_per_s = thrift_per_s;
        // What is kept from one decision to the next, before and after it.
        let least = scratch.standing.refresh(&view, &scratch.candidates);
        let least_standing_us = candidates.iter().map(standing_us).min();
        let kept = least.map(|least| (u64::from(least.us), u64::from(least.work_us)));
        assert_eq!(kept, least_standing_us.map(|us| (us, least_us)));
        assert_eq!(least.map(|least| least.rate_q), fastest_q);
        let picked = pick(PolicyKind::Ttft, &view, &task, &knobs, scratch);
        assert_eq!(picked, right, "of {near:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_choice_is_the_references(
        instances in prop_oneof![1..10_u16, Just(64), 1..=MOST],
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut model = Model::new(instances);
        for event in &events {
            model.happen(event);
        }
    }
}

/// Who has least to do need not be who costs least.
#[test]
fn the_least_work_is_followed() {
    let mut model = Model::new(2);
    let decided = Event::Decided(Decision {
        prompt_tokens: 4_096,
        levels: 0,
        near_tie_us: 0,
        thrift_per_s: 50,
        flow_hash: 7,
        out: 0,
    });
    for event in [
        Event::Sent(0, 9_000_000, 0),
        Event::Reported(0, 100, 10_000, 0),
        Event::Reported(1, 4_096, 10_000, 0),
        decided.clone(),
        Event::Charged(0, 9_000),
        decided.clone(),
        Event::Charged(1, 90_000),
        decided,
    ] {
        model.happen(&event);
    }
}

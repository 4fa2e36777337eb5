//! Each policy's choice where exactly one instance is right, and the estimate behind it term by term.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::maglev::Maglev;
use afr_dataplane::aft::{Op, SigKey};
use afr_dataplane::config::{PolicyKind, Saturation};
use afr_dataplane::explain::{Query, WhyNot, explain};
use afr_dataplane::id::Slot;
use afr_dataplane::reply::overlay::LoadOverlay;
use afr_dataplane::request::charges::Charges;
use afr_dataplane::request::score::View;
use afr_dataplane::verdict::MetadataNote;
use afr_wire::{DomainId, PolicyScope, Prefix, Report, Request};

use crate::support::metadata::{prefix, report, request, told, with_prefixes};
use crate::support::packet::Packet;
use crate::support::setup::{
    CATALOGUE, CHAT, CHAT_IX, CLIENT, EDGE, FABRIC, Setup, label, service,
};
use crate::support::world::{World, report_datagram, syn};

fn world(policy: PolicyKind, instances: u16) -> World {
    World::new(Setup::new(instances).policy(policy))
}

fn tells(world: &mut World, n: u16, change: impl FnOnce(&mut Report)) {
    let seq = world.aft().order[usize::from(n) - 1].seq() + 1;
    let mut report = report(n, seq);
    report.sampled_at_ms = world.now.unix_ms as u32;
    change(&mut report);
    let outcome = world.send(FABRIC, &report_datagram(n, &told(&report)));
    assert_eq!(outcome.noted(MetadataNote::ReportApplied), 1);
    world.settle();
}

fn pending(world: &mut World, all: &[u32]) {
    for (n, tokens) in (1..).zip(all) {
        tells(world, n, |report| report.pending_prefill_tokens = *tokens);
    }
}

/// Instance `n` holds a prefix, it has said.
fn holds(world: &mut World, n: u16, prefix: Prefix) {
    world.push(Op::Stored {
        slot: Slot(n - 1),
        key: SigKey::new(CATALOGUE, DomainId(0), prefix),
        provisional: false,
        now_s: (world.now.mono_us / 1_000_000) as u32,
    });
}

fn asking(port: u16) -> Packet {
    syn(port, service(CHAT)).asking(&request())
}

fn chosen(world: &mut World, packet: &Packet) -> u16 {
    world.send(EDGE, packet).forwarded().instance()
}

#[test]
fn ttft_takes_the_smallest_estimate() {
    for winner in 1..=5_u16 {
        let mut world = world(PolicyKind::Ttft, 5);
        let mut all = [9_000; 5];
        all[usize::from(winner) - 1] = 8_999;
        pending(&mut world, &all);
        assert_eq!(chosen(&mut world, &asking(winner)), winner);
    }
}

/// The estimates are made for 64 instances at a time, in vectors, from figures that are kept from one decision to the next:
/// each choice is held against every estimate made by itself.
#[test]
fn ttft_over_many_instances_that_change() {
    const N: u16 = 130;
    let mut setup = Setup::new(N).policy(PolicyKind::Ttft);
    setup.config.dispatch.near_tie_us = 0;
    for n in 1..=N {
        setup.instance(n).prefill_rate_tokens_s = 4_000 + u32::from(n) * 97 % 9_000;
    }
    let mut world = World::new(setup);
    let mut seed = 1_u32;
    let mut random = |bound: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % bound
    };
    for round in 0..200_u16 {
        let levels: Vec<Prefix> = (1..=3).map(|level| prefix(level * 4, round)).collect();
        for n in 1..=N {
            // Some hold nothing, many the first, few all; every third round everyone holds the first.
            let held = match (round % 3, random(8)) {
                (0, 0..6) => 1,
                (_, 0..4) => 0,
                (_, 4..7) => 1,
                _ => 3,
            };
            for level in &levels[..held] {
                holds(&mut world, n, *level);
            }
        }
        for _ in 0..5 {
            let n = 1 + random(u32::from(N)) as u16;
            let tokens = random(60_000);
            tells(&mut world, n, |report| {
                report.pending_prefill_tokens = tokens;
            });
        }
        let tokens = 512 + random(30_000);
        let asking = Request {
            prompt_tokens: tokens,
            ..with_prefixes(&levels)
        };
        let loads = LoadOverlay::new(world.aft().slots());
        let view = View {
            aft: world.aft(),
            loads: &loads,
            inflight: &world.shared.inflight,
            charges: Charges::NONE,
        };
        let cost = |n: u16| {
            let slot = Slot(n - 1);
            // The table is bounded: what it still knows is what counts.
            let held = levels.iter().take_while(|level| {
                let key = SigKey::new(CATALOGUE, DomainId(0), **level);
                world.aft().holders(key).contains(slot)
            });
            let depth = held.last().map_or(0, |level| level.depth);
            view.estimate(slot, tokens, depth).total_us()
        };
        let costs: Vec<_> = (1..=N).map(cost).collect();
        let least = costs.iter().min().copied();
        let winner = chosen(&mut world, &syn(round, service(CHAT)).asking(&asking));
        assert_eq!(
            costs.get(usize::from(winner) - 1).copied(),
            least,
            "round {round}"
        );
    }
}

#[test]
fn ttft_weighs_waiting_against_reuse() {
    let deep = prefix(12, 1);
    let asking = |port| syn(port, service(CHAT)).asking(&with_prefixes(&[deep]));
    // 3 holds 3,072 of 4,096 tokens: worth it up to that many more tokens waiting, and not one beyond.
    for (ahead, winner) in [(3_071, 3), (3_073, 2)] {
        let mut world = world(PolicyKind::Ttft, 3);
        holds(&mut world, 3, deep);
        pending(&mut world, &[5_000, 1_000, 1_000 + ahead]);
        assert_eq!(chosen(&mut world, &asking(1)), winner, "{ahead}");
    }
    // A faster one makes up for it.
    let mut setup = Setup::new(3).policy(PolicyKind::Ttft);
    setup.instance(1).prefill_rate_tokens_s = 50_000;
    let mut world = World::new(setup);
    holds(&mut world, 3, deep);
    pending(&mut world, &[0, 0, 0]);
    assert_eq!(chosen(&mut world, &asking(1)), 1);
    // Its own report knows better how fast it is.
    tells(&mut world, 1, |report| {
        report.prefill_rate_tokens_s = 16_000;
    });
    assert_eq!(chosen(&mut world, &asking(2)), 3);
}

#[test]
fn ttft_spares_the_cluster_where_all_wait() {
    let deep = prefix(12, 1);
    let setup = |thrift_per_s| {
        let mut setup = Setup::new(3).policy(PolicyKind::Ttft);
        setup.config.dispatch.thrift_per_s = thrift_per_s;
        setup
    };
    let asking = syn(1, service(CHAT)).asking(&with_prefixes(&[deep]));
    // 3 holds 3,072 tokens, and the least loaded of all has work for a second: they count twice.
    let waiting = [20_000, 10_000];
    for (ahead, winner) in [(6_143, 3), (6_145, 2)] {
        let mut world = World::new(setup(1));
        holds(&mut world, 3, deep);
        pending(&mut world, &[waiting[0], waiting[1], 10_000 + ahead]);
        assert_eq!(chosen(&mut world, &asking), winner, "{ahead}");
    }
    // Where one is idle, once.
    for (ahead, winner) in [(3_071, 3), (3_073, 2)] {
        let mut world = World::new(setup(100));
        holds(&mut world, 3, deep);
        pending(&mut world, &[5_000, 0, ahead]);
        assert_eq!(chosen(&mut world, &asking), winner, "{ahead}");
    }
}

#[test]
fn an_objective_is_held_against_the_time_itself() {
    let deep = prefix(12, 1);
    let mut setup = Setup::new(3).policy(PolicyKind::Ttft);
    setup.config.dispatch.thrift_per_s = 100;
    let class = setup.class(CHAT);
    (class.objective_us, class.saturation) = (Some(700_000), Saturation::Reject);
    let mut world = World::new(setup);
    // 0.2 s of waiting and 0.4 s of prefill cost 8.8 s, but take 0.6 s.
    pending(&mut world, &[2_000, 2_000, 10_000]);
    assert_ne!(chosen(&mut world, &asking(1)), 3);
    // The holder costs least, but takes 1.1 s: another keeps to the objective.
    holds(&mut world, 3, deep);
    let asking = |port| syn(port, service(CHAT)).asking(&with_prefixes(&[deep]));
    assert_ne!(chosen(&mut world, &asking(2)), 3);
    pending(&mut world, &[2_000, 2_000, 5_900]);
    assert_eq!(chosen(&mut world, &asking(3)), 3);
}

#[test]
fn ttft_feels_pressure() {
    let mut world = world(PolicyKind::Ttft, 2);
    // 10,000 tokens a second: 1,000 tokens are 100 ms; a full store costs 200 ms.
    tells(&mut world, 1, |report| report.kv_used = 255);
    tells(&mut world, 2, |report| {
        report.pending_prefill_tokens = 1_000;
    });
    assert_eq!(chosen(&mut world, &asking(1)), 2);
    tells(&mut world, 1, |report| report.kv_used = 230);
    assert_eq!(chosen(&mut world, &asking(2)), 1);
    // A batch at its limit counts as a full store.
    tells(&mut world, 2, |report| report.pending_prefill_tokens = 0);
    tells(&mut world, 1, |report| report.running = 64);
    for port in 3..=3 {
        assert_eq!(chosen(&mut world, &asking(port)), 2);
    }
}

#[test]
fn what_was_just_sent_counts() {
    let mut world = world(PolicyKind::Ttft, 4);
    pending(&mut world, &[0, 0, 0, 0]);
    // A burst between two reports is spread: each takes the one that nobody took.
    let mut seen: Vec<_> = (1..=4)
        .map(|port| chosen(&mut world, &asking(port)))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn near_ties_are_spread_by_flow() {
    let spread = |near_tie_us, second| {
        let mut seen = [0; 3];
        for port in 1..60 {
            let mut setup = Setup::new(3);
            setup.config.dispatch.near_tie_us = near_tie_us;
            let mut world = World::new(setup);
            pending(&mut world, &[1_000, second, 1_101]);
            let first = chosen(&mut world, &asking(port));
            seen[usize::from(first) - 1] += 1;
        }
        seen
    };
    assert_eq!(spread(0, 1_010), [59, 0, 0]);
    // 10 ms are 100 tokens: the second is that near, the third is not.
    let [first, second, third] = spread(10_000, 1_010);
    assert!(first > 15 && second > 15 && third == 0, "{first} {second}");
    assert_eq!(spread(10_000, 1_102), [59, 0, 0]);
}

#[test]
fn the_same_flow_ties_alike_on_every_afr() {
    for port in 1..20 {
        let mut one = world(PolicyKind::Ttft, 3);
        let mut other = world(PolicyKind::Ttft, 3);
        assert_eq!(
            chosen(&mut one, &asking(port)),
            chosen(&mut other, &asking(port))
        );
    }
}

#[test]
fn least_load() {
    let mut world = world(PolicyKind::LeastLoad, 4);
    holds(&mut world, 1, prefix(16, 1));
    pending(&mut world, &[500, 300, 299, 301]);
    let asking = with_prefixes(&[prefix(16, 1)]);
    let packet = syn(1, service(CHAT)).asking(&asking);
    assert_eq!(chosen(&mut world, &packet), 3, "whoever holds the prompt");
    // Without any waiting, requests that run decide.
    let mut world = self::world(PolicyKind::LeastLoad, 3);
    for (n, running) in [(1, 9), (2, 3), (3, 5)] {
        tells(&mut world, n, |report| report.running = running);
    }
    assert_eq!(chosen(&mut world, &self::asking(1)), 2);
}

#[test]
fn two_choices() {
    // Of two, the less loaded whichever way they are drawn.
    for port in 1..40 {
        let mut world = world(PolicyKind::TwoChoices, 2);
        pending(&mut world, &[700, 699]);
        assert_eq!(chosen(&mut world, &asking(port)), 2);
    }
    // Of many, never the most loaded, and not always the least.
    let mut seen = [0; 5];
    for port in 1..200 {
        let mut world = world(PolicyKind::TwoChoices, 5);
        pending(&mut world, &[100, 200, 300, 400, 500]);
        seen[usize::from(chosen(&mut world, &asking(port))) - 1] += 1;
    }
    assert_eq!(seen[4], 0);
    // Pairs with the least: 4 of 10; then 3, 2, 1.
    for (n, share) in [4, 3, 2, 1].into_iter().enumerate() {
        let (low, high) = (199 * share / 10 / 2, 199 * share / 10 * 2);
        assert!((low..=high).contains(&seen[n]), "{seen:?}");
    }
    let mut alone = world(PolicyKind::TwoChoices, 1);
    assert_eq!(chosen(&mut alone, &asking(1)), 1);
}

#[test]
fn weighted() {
    // Queue 2, KV 2, prefix 3, each normalised.
    let case = |queue: [u16; 3], kv: [u8; 3], held: Option<u16>| {
        let mut world = world(PolicyKind::Weighted, 3);
        let deep = prefix(16, 1);
        if let Some(n) = held {
            holds(&mut world, n, deep);
        }
        for n in 1..=3_u16 {
            let at = usize::from(n) - 1;
            tells(&mut world, n, |report| {
                (report.queue_depth, report.kv_used) = (queue[at], kv[at]);
            });
        }
        let packet = syn(1, service(CHAT)).asking(&with_prefixes(&[deep]));
        chosen(&mut world, &packet)
    };
    assert_eq!(case([5, 4, 6], [0; 3], None), 2);
    assert_eq!(case([5, 5, 5], [90, 80, 70], None), 3);
    // The whole prompt held is worth more than the shortest queue, and less than that and an empty store.
    assert_eq!(case([9, 0, 9], [0; 3], Some(1)), 1);
    assert_eq!(case([9, 0, 9], [255, 0, 255], Some(1)), 2);
}

#[test]
fn maglev_is_the_fallbacks_choice_among_candidates() {
    let mut world = world(PolicyKind::Maglev, 5);
    world.mark(2, LiveState::Down);
    for port in 1..60 {
        let packet = asking(port);
        let aft = world.aft();
        let seed = &aft.config.maglev_seed;
        let (source, destination) = (CLIENT.octets(), service(CHAT).octets());
        let hash = Maglev::flow_hash(seed, &source, &destination, 6, port, 8_000);
        let want = aft
            .class(CHAT_IX)
            .unwrap()
            .maglev
            .pick(hash, |slot| slot != Slot(1));
        let n = chosen(&mut world, &packet);
        assert_eq!(want, Some(Slot(n - 1)));
    }
}

#[test]
fn round_robin() {
    let mut world = world(PolicyKind::RoundRobin, 4);
    let mut turn = |ports: std::ops::Range<u16>| -> Vec<u16> {
        ports
            .map(|port| chosen(&mut world, &asking(port)))
            .collect()
    };
    assert_eq!(turn(0..9), [1, 2, 3, 4, 1, 2, 3, 4, 1]);
    world.mark(2, LiveState::Draining);
    let mut turn = |ports: std::ops::Range<u16>| -> Vec<u16> {
        ports
            .map(|port| chosen(&mut world, &asking(port)))
            .collect()
    };
    assert_eq!(turn(10..14), [3, 4, 1, 3]);
}

#[test]
fn explanations_agree_with_decisions() {
    let mut setup = Setup::new(6);
    setup.instance(5).labels.clear();
    let mut world = World::new(setup);
    pending(&mut world, &[4_000, 2_000, 6_000, 0, 0, 0]);
    holds(&mut world, 3, prefix(16, 1));
    world.mark(4, LiveState::Down);
    world.mark(6, LiveState::Draining);
    let query = Query {
        class: CHAT,
        labels: vec![label("tool:search")],
        prefixes: vec![prefix(16, 1)],
        catalogue: CATALOGUE,
        domain: DomainId(0),
        policy: PolicyScope(0),
        prompt_tokens: 4_096,
        flow_hash: 1,
        now_us: world.now.mono_us,
    };
    let explanation = explain(world.aft(), &world.shared, &query).unwrap();
    let why: Vec<_> = explanation.candidates.iter().map(|c| c.why_not).collect();
    assert_eq!(
        why,
        [
            None,
            None,
            None,
            Some(WhyNot::Down),
            Some(WhyNot::Labels),
            Some(WhyNot::Draining)
        ]
    );
    let estimate = explanation.candidates[2].estimate;
    assert_eq!(estimate.pending_tokens, 6_000);
    assert_eq!(estimate.reuse_tokens, 4_095);
    assert_eq!((estimate.queue_us, estimate.prefill_us), (600_000, 100));
    assert_eq!(
        explanation.winner,
        Some(Slot(2)),
        "0.6001 s before 0.6096 s"
    );
    let asking = Request {
        labels: crate::support::metadata::labels(&["tool:search"]),
        ..with_prefixes(&[prefix(16, 1)])
    };
    let packet = syn(1, service(CHAT)).asking(&asking);
    assert_eq!(chosen(&mut world, &packet), 3);
}

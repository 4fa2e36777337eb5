//! The loop against the simulator's own replay, and what only the loop can do, on the simulator's engines.

use afr_replay::cluster::Tally;
use afr_replay::figures::Served;
use afr_replay::scenario::Scenario;
use clap::Parser as _;

use crate::args::Args;
use crate::policies;
use crate::workloads::Kind;

fn args(more: &[&str]) -> Args {
    let base = ["afr-replay", "--instances", "4", "--kv-blocks", "512"];
    Args::parse_from(base.iter().chain(more))
}

fn run(policy: &str, kind: Kind, name: &str, speed: f64, more: &[&str]) -> (Vec<Served>, Tally) {
    let args = args(more);
    let scenario = Scenario::named(name, args.instances).unwrap();
    let workload = args.workload(kind, &scenario, 3, speed).unwrap();
    let (served, tally, _) = policies::run(policy, &workload, &scenario, &args, 3).unwrap();
    (served, tally)
}

/// Request by request, with caches that overflow and queues that grow.
#[test]
fn the_loop_equals_the_simulators_own_replay() {
    for policy in [
        "round-robin",
        "least-requests",
        "sglang",
        "llm-d",
        "preble",
        "afr",
        "oracle",
    ] {
        for (speed, count) in [(4.0, "300"), (12.0, "600")] {
            let own = run(
                policy,
                Kind::Sessions,
                "even",
                speed,
                &["--requests", count],
            );
            let theirs = ["--requests", count, "--replayer"];
            let theirs = run(policy, Kind::Sessions, "even", speed, &theirs);
            assert_eq!(own.0.len().to_string(), count, "{policy}");
            assert_eq!(own.0.len(), theirs.0.len(), "{policy}");
            assert_eq!(own.1, theirs.1, "{policy}");
            for (a, b) in own.0.iter().zip(&theirs.0) {
                assert_eq!(
                    (a.instance, a.reused_tokens),
                    (b.instance, b.reused_tokens),
                    "{policy}"
                );
                assert!(
                    (a.ttft_ms - b.ttft_ms).abs() < 1e-6,
                    "{policy}: {a:?}, {b:?}"
                );
            }
        }
    }
}

#[test]
fn every_scenario_answers_or_rejects_every_request() {
    for name in Scenario::NAMED {
        for policy in ["least-requests", "dynamo-cost", "afr"] {
            let more = ["--requests", "400"];
            let (served, tally) = run(policy, Kind::Agents, name, 0.05, &more);
            assert!(served.len() >= 390, "{name}, {policy}: {}", served.len());
            assert_eq!(tally.misdispatched, 0, "{name}, {policy}");
            let breaks = matches!(name, "dies" | "vanishes" | "trouble");
            assert!(breaks || tally.broken == 0, "{name}, {policy}: {tally:?}");
        }
    }
}

/// An engine at half the model's speed takes twice as long.
#[test]
fn speeds_are_speeds() {
    let alone = ["--instances", "1", "--requests", "40"];
    let mut means = Vec::new();
    for speed in [1.0, 0.5] {
        let args = Args::parse_from(["afr-replay"].iter().chain(&alone));
        let mut scenario = Scenario::even(1);
        scenario.speeds[0] = speed;
        let workload = args.workload(Kind::Sessions, &scenario, 1, 0.02).unwrap();
        let (served, ..) = policies::run("round-robin", &workload, &scenario, &args, 1).unwrap();
        let sum: f64 = served.iter().map(|served| served.ttft_ms).sum();
        means.push(sum / served.len() as f64);
    }
    let ratio = means[1] / means[0];
    assert!((1.95..2.1).contains(&ratio), "{means:?}");
}

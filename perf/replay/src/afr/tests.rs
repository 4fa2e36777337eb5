use super::*;
use crate::workload::tests::workload;

const RATE: u32 = 10_000;

fn afrs(options: &AfrOptions) -> Afrs {
    Afrs::new(options, 4, RATE).unwrap()
}

fn busy(pending_tokens: u32) -> EngineLoad {
    EngineLoad {
        waiting: 1,
        pending_tokens,
        ..EngineLoad::default()
    }
}

fn count(afrs: &Afrs, name: &str) -> f64 {
    let counts = afrs.counts();
    counts.iter().find(|(called, _)| *called == name).unwrap().1
}

/// The second request of a conversation follows the first, whose residency is the worker's own knowledge at once.
#[test]
fn a_conversation_goes_where_it_was() {
    let jobs = workload(&[
        (
            8_192,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        ),
        (
            8_192,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        ),
        (
            8_192,
            &[
                20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
            ],
        ),
    ])
    .jobs;
    let mut afrs = afrs(&AfrOptions::default());
    let home = afrs.place(0, &jobs[0]).unwrap();
    afrs.prefilled(900_000, &jobs[0], home);
    afrs.loaded(900_000, home, &EngineLoad::default());
    afrs.finished(1_000_000, &jobs[0], home);
    assert_eq!(afrs.place(1_500_000, &jobs[1]), Ok(home));
    assert_ne!(afrs.place(1_500_000, &jobs[2]), Ok(home), "in flight");
    assert!(count(&afrs, "believed_reuse") > 0.3);
    assert_eq!(count(&afrs, "inconsistent_segments"), 0.0);
}

/// What the instances report decides, once it has arrived.
#[test]
fn reports_decide_after_their_delay() {
    let jobs = workload(&[(512, &[1]), (512, &[2]), (512, &[3])]).jobs;
    let options = AfrOptions {
        report_delay_us: 100_000,
        in_band: false,
        ..AfrOptions::default()
    };
    let mut afrs = afrs(&options);
    for instance in [0, 1, 3] {
        afrs.loaded(10_000, instance, &busy(50_000));
    }
    afrs.advance(99_000);
    assert_eq!(count(&afrs, "reports_applied"), 0.0);
    // The polls are at most 20 ms later, the reports 100 ms after them.
    afrs.advance(140_000);
    assert_eq!(afrs.place(140_000, &jobs[0]), Ok(2));
    assert!(count(&afrs, "reports_applied") >= 3.0);
}

/// A block that an engine holds by no doing of this AFR is known from its events.
#[test]
fn what_engines_hold_is_known_from_events() {
    let ids: Vec<u64> = (1..=16).collect();
    let jobs = workload(&[(8_192, &ids), (8_192, &ids)]).jobs;
    for (in_band, loss, known) in [(false, 0.0, true), (false, 1.0, false)] {
        let options = AfrOptions {
            report_loss: loss,
            in_band,
            ..AfrOptions::default()
        };
        let mut afrs = afrs(&options);
        afrs.stored(1_000, 3, &jobs[0].blocks);
        let _ = afrs.place(100_000, &jobs[1]);
        assert_eq!(count(&afrs, "believed_reuse") > 0.9, known);
    }
}

/// AFRs do not share what they know but by reports.
#[test]
fn afrs_have_separate_states() {
    let requests: Vec<(u32, &[u64])> = vec![(512, &[1]); 40];
    let jobs = workload(&requests).jobs;
    let options = AfrOptions {
        afrs: 4,
        workers: 2,
        ..AfrOptions::default()
    };
    let mut afrs = afrs(&options);
    for job in &jobs {
        afrs.place(0, job).unwrap();
    }
    let placed = |afr: &Appliance| afr.figure(Figure::PromptTokens);
    let by_afr: Vec<u64> = afrs.afrs.iter().map(placed).collect();
    assert!(by_afr.iter().all(|tokens| *tokens > 0), "{by_afr:?}");
    assert_eq!(by_afr.iter().sum::<u64>(), 40 * 512);
}

/// The same seed is the same run.
#[test]
fn a_run_is_reproducible() {
    let requests: Vec<[u64; 2]> = (0..60).map(|n| [1, n % 7 + 2]).collect();
    let requests: Vec<_> = requests.iter().map(|ids| (1_024, &ids[..])).collect();
    let jobs = workload(&requests).jobs;
    let run = || {
        let options = AfrOptions {
            report_loss: 0.5,
            workers: 2,
            ..AfrOptions::default()
        };
        let mut afrs = afrs(&options);
        let mut places = Vec::new();
        for (at, job) in (0..).zip(&jobs) {
            let instance = afrs.place(at * 7_000, job).unwrap();
            afrs.stored(at * 7_000 + 3_000, instance, &job.blocks);
            afrs.prefilled(at * 7_000 + 3_000, job, instance);
            places.push(instance);
        }
        places
    };
    assert_eq!(run(), run());
}

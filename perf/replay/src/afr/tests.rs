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
    let home = afrs.place(0, &jobs[0], &[]).unwrap();
    afrs.prefilled(900_000, &jobs[0], home);
    afrs.loaded(900_000, home, &EngineLoad::default());
    afrs.finished(1_000_000, &jobs[0], home);
    assert_eq!(afrs.place(1_500_000, &jobs[1], &[]), Ok(home));
    assert_ne!(afrs.place(1_500_000, &jobs[2], &[]), Ok(home), "in flight");
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
    assert_eq!(afrs.place(140_000, &jobs[0], &[]), Ok(2));
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
        let _ = afrs.place(100_000, &jobs[1], &[]);
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
        afrs.place(0, job, &[]).unwrap();
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
            let instance = afrs.place(at * 7_000, job, &[]).unwrap();
            afrs.stored(at * 7_000 + 3_000, instance, &job.blocks);
            afrs.prefilled(at * 7_000 + 3_000, job, instance);
            places.push(instance);
        }
        places
    };
    assert_eq!(run(), run());
}

/// The AFR matches by itself, from the labels that the metadata carries; a planted bug in what carries them fails this.
#[test]
fn only_who_has_what_a_request_needs_is_chosen() {
    let requests: Vec<[u64; 1]> = (0..60).map(|n| [n]).collect();
    let requests: Vec<_> = requests.iter().map(|ids| (512, &ids[..])).collect();
    let mut jobs = workload(&requests).jobs;
    let options = AfrOptions {
        labels: vec![0, 0b01, 0b11, 0b10],
        needs: vec![0, 0b01, 0b11],
        ..AfrOptions::default()
    };
    let mut afrs = afrs(&options);
    let mut chosen = [const { Vec::new() }; 3];
    for (at, job) in (0..).zip(&mut jobs) {
        job.variant = at % 3;
        let instance = afrs.place(at as u64 * 1_000, job, &[]).unwrap();
        chosen[job.variant].push(instance);
    }
    let [any, one, both] = chosen;
    assert!(any.contains(&0) && any.contains(&3));
    assert!(one.iter().all(|at| [1, 2].contains(at)), "{one:?}");
    assert!(both.iter().all(|at| *at == 2), "{both:?}");
}

/// A silent instance is dead after a while, by the AFR's own finding, and alive as soon as it reports; its cache is not
/// believed in any more.
#[test]
fn who_falls_silent_is_left_out_until_it_reports() {
    let ids: Vec<u64> = (1..=16).collect();
    let requests: Vec<(u32, &[u64])> = vec![(8_192, &ids); 6];
    let jobs = workload(&requests).jobs;
    let options = AfrOptions {
        dead_after_ms: 1_000,
        ..AfrOptions::default()
    };
    let mut afrs = afrs(&options);
    let home = afrs.place(100_000, &jobs[0], &[]).unwrap();
    afrs.stored(300_000, home, &jobs[0].blocks);
    afrs.prefilled(300_000, &jobs[0], home);
    afrs.finished(400_000, &jobs[0], home);
    assert_eq!(afrs.place(1_000_000, &jobs[1], &[]), Ok(home));
    afrs.died(1_100_000, home);
    afrs.broken(1_100_000, &jobs[1], home);
    assert_eq!(
        afrs.place(1_200_000, &jobs[2], &[]),
        Ok(home),
        "not known yet"
    );
    afrs.broken(1_200_200, &jobs[2], home);
    assert_ne!(afrs.place(2_300_000, &jobs[3], &[]), Ok(home));
    afrs.returned(4_000_000, home);
    let believed = count(&afrs, "believed_reuse");
    let all: Vec<_> = (0..4).filter(|at| *at != home).collect();
    for busy_one in all {
        afrs.loaded(4_000_000, busy_one, &busy(50_000));
    }
    assert_eq!(
        afrs.place(4_100_000, &jobs[4], &[]),
        Ok(home),
        "alive again"
    );
    assert!(
        count(&afrs, "believed_reuse") < believed,
        "with an empty cache"
    );
    assert_eq!(count(&afrs, "inconsistent_segments"), 0.0);
}

#[test]
fn who_drains_gets_nothing_new() {
    let requests: Vec<[u64; 1]> = (0..40).map(|n| [n]).collect();
    let requests: Vec<_> = requests.iter().map(|ids| (512, &ids[..])).collect();
    let jobs = workload(&requests).jobs;
    let mut afrs = afrs(&AfrOptions::default());
    afrs.declared(1_000, 2, Standing::Draining);
    let place = |afrs: &mut Afrs, job: &Job| {
        let now = 10_000 + u64::from(job.id) * 1_000;
        afrs.place(now, job, &[]).unwrap()
    };
    let meanwhile: Vec<_> = jobs[..20].iter().map(|job| place(&mut afrs, job)).collect();
    assert!(!meanwhile.contains(&2));
    afrs.declared(30_000, 2, Standing::Up);
    let afterwards: Vec<_> = jobs[20..].iter().map(|job| place(&mut afrs, job)).collect();
    assert!(afterwards.contains(&2));
}

/// Who works at a third of the others' speed is given less.
#[test]
fn a_measured_speed_counts() {
    let jobs = workload(&[(4_096, &[1, 2, 3, 4, 5, 6, 7, 8])]).jobs;
    let mut afrs = afrs(&AfrOptions::default());
    for instance in 0..4 {
        // The others have twice as many tokens waiting.
        let tokens = if instance == 1 { 10_000 } else { 20_000 };
        afrs.loaded(1_000, instance, &busy(tokens));
    }
    afrs.paced(2_000, 1, 1.0 / 3.0);
    assert_ne!(afrs.place(100_000, &jobs[0], &[]), Ok(1));
}

/// Who reports an empty queue gets no more once what it was sent is not answered for long, and is believed again when it is.
#[test]
fn a_lie_is_held_against_what_is_not_answered() {
    let requests: Vec<[u64; 1]> = (0..21).map(|n| [n]).collect();
    let requests: Vec<_> = requests.iter().map(|ids| (8_192, &ids[..])).collect();
    let jobs = workload(&requests).jobs;
    let mut afrs = afrs(&AfrOptions::default());
    let mut sent = Vec::new();
    for (at, job) in (0..20).zip(&jobs) {
        let now = 100_000 + at * 50_000;
        for instance in [0, 2, 3] {
            afrs.loaded(now - 40_000, instance, &busy(20_000 + at as u32));
        }
        if afrs.place(now, job, &[]) == Ok(1) {
            sent.push(job);
        }
    }
    assert!((3..10).contains(&sent.len()), "{} of 20", sent.len());
    for job in &sent {
        afrs.prefilled(1_200_000, job, 1);
    }
    assert_eq!(afrs.place(1_300_000, &jobs[20], &[]), Ok(1));
}

/// Beyond the objective a request is refused.
#[test]
fn an_objective_rejects() {
    let jobs = workload(&[(512, &[1]), (512, &[2])]).jobs;
    let options = AfrOptions {
        objective_us: 1_000_000,
        ..AfrOptions::default()
    };
    let mut afrs = afrs(&options);
    assert!(afrs.place(1_000, &jobs[0], &[]).is_ok());
    for instance in 0..4 {
        afrs.loaded(2_000, instance, &busy(20_000));
    }
    let refused = afrs.place(100_000, &jobs[1], &[]);
    assert!(matches!(refused, Err(RouteError::Refused { job: 1, .. })));
}

use std::cell::RefCell;
use std::rc::Rc;

use super::model::{Simple, TOKENS_PER_MS};
use super::*;
use crate::router::{EngineLoad, Micros, Standing};
use crate::scenario::Event;
use crate::workload::tests::workload;

/// Sends everything to the first candidate, or to a fixed instance, and writes down what it is told.
struct Scribe {
    fixed: Option<Instance>,
    told: Rc<RefCell<Vec<String>>>,
}

impl Router for Scribe {
    fn place(
        &mut self,
        now: Micros,
        job: &Job,
        candidates: &[Instance],
    ) -> Result<Instance, RouteError> {
        let none = RouteError::NoCandidate { job: job.id };
        let chosen = self.fixed.or(candidates.first().copied()).ok_or(none)?;
        self.tell(
            now,
            &format!("place {}.{} at {chosen}", job.id, job.attempt),
        );
        Ok(chosen)
    }

    fn prefilled(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.tell(now, &format!("first of {} from {instance}", job.id));
    }

    fn finished(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.tell(now, &format!("last of {} from {instance}", job.id));
    }

    fn broken(&mut self, now: Micros, job: &Job, instance: Instance) {
        self.tell(now, &format!("{} broken at {instance}", job.id));
    }

    fn loaded(&mut self, now: Micros, instance: Instance, load: &EngineLoad) {
        if load.waiting > 0 {
            self.tell(now, &format!("{instance} says {}", load.pending_tokens));
        }
    }

    fn truth(&mut self, now: Micros, instance: Instance, load: &EngineLoad, _: f64) {
        if load.waiting > 0 {
            self.tell(now, &format!("{instance} has {}", load.pending_tokens));
        }
    }

    fn paced(&mut self, now: Micros, instance: Instance, speed: f64) {
        self.tell(now, &format!("{instance} works at {speed:.2}"));
    }

    fn declared(&mut self, now: Micros, instance: Instance, standing: Standing) {
        self.tell(now, &format!("{instance} is {standing:?}"));
    }
}

impl Scribe {
    fn tell(&self, now: Micros, what: &str) {
        self.told
            .borrow_mut()
            .push(format!("{:.1} {what}", now as f64 / 1_000.0));
    }
}

struct Played {
    served: Vec<Served>,
    tally: Tally,
    told: Vec<String>,
}

impl Played {
    fn ttft_ms(&self) -> Vec<f64> {
        self.served.iter().map(|served| served.ttft_ms).collect()
    }

    fn has(&self, what: &str) -> bool {
        self.told.iter().any(|told| told == what)
    }
}

/// Requests of 1,000 tokens a second apart, each 100 ms of work at the model's speed, on two instances.
fn play(count: usize, fixed: Option<Instance>, scenario: &Scenario) -> Played {
    let ids: Vec<[u64; 2]> = (0..count as u64).map(|n| [2 * n, 2 * n + 1]).collect();
    let requests: Vec<_> = ids.iter().map(|ids| (1_000, &ids[..])).collect();
    let told = Rc::default();
    let mut scribe = Scribe {
        fixed,
        told: Rc::clone(&told),
    };
    let timing = Timing::default();
    let mut make = |_| Ok(Simple::new());
    let workload = workload(&requests);
    let (served, tally) = run(&workload, scenario, timing, &mut scribe, &mut make).unwrap();
    let told = told.take();
    Played {
        served,
        tally,
        told,
    }
}

fn happens(events: &[(f64, Instance, Fault)]) -> Scenario {
    let event = |(at, instance, fault): &(f64, Instance, Fault)| Event {
        at: *at,
        instance: *instance,
        fault: *fault,
    };
    Scenario {
        events: events.iter().map(event).collect(),
        ..Scenario::even(2)
    }
}

fn near(found: &[f64], wanted: &[f64]) {
    let pairs = || found.iter().zip(wanted);
    let equal = found.len() == wanted.len() && pairs().all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(equal, "{found:?}, {wanted:?} wanted");
}

#[test]
fn nothing_happens_on_an_even_cluster() {
    let played = play(3, None, &Scenario::even(2));
    near(&played.ttft_ms(), &[1_000.0 / TOKENS_PER_MS; 3]);
    assert_eq!(played.tally, Tally::default());
    assert!(played.has("0.0 place 0.0 at 0") && played.has("1100.0 first of 1 from 0"));
    assert!(played.has("1101.0 last of 1 from 0"));
}

#[test]
fn speeds_differ_and_change() {
    let mut scenario = happens(&[(0.5, 0, Fault::Pace(0.5))]);
    scenario.speeds[0] = 2.0;
    // Of five the third is the first after the change.
    let played = play(5, Some(0), &scenario);
    near(&played.ttft_ms(), &[50.0, 50.0, 200.0, 200.0, 200.0]);
    assert!(played.has("50.0 0 works at 1.20"), "{:?}", played.told);
}

/// Requests in a process that ends are broken at once and asked again; who is sent there meanwhile is refused; the control
/// plane finds out after a second; it is a candidate again when it is back.
#[test]
fn a_process_dies_and_is_back() {
    let scenario = happens(&[(0.26, 0, Fault::Dies), (0.9, 0, Fault::Returns)]);
    let played = play(5, None, &scenario);
    let told = |what: &str| assert!(played.has(what), "{what}: {:?}", played.told);
    // 1,040 ms: request 1 has 60 ms to go.
    told("1040.0 1 broken at 0");
    told("1540.0 place 1.1 at 0");
    told("1540.2 1 broken at 0");
    told("2000.2 2 broken at 0");
    told("2040.0 0 is Down");
    told("2500.2 place 2.1 at 1");
    told("2540.2 place 1.2 at 1");
    told("3000.0 place 3.0 at 1");
    told("3600.0 0 is Up");
    told("4000.0 place 4.0 at 0");
    assert_eq!((played.tally.broken, played.served.len()), (3, 5));
    // 1 waits for 2 at the other.
    near(&played.ttft_ms(), &[100.0, 1_700.2, 600.2, 100.0, 100.0]);
}

/// A host that vanishes holds its clients until somebody tells them.
#[test]
fn a_host_vanishes() {
    let played = play(5, None, &happens(&[(0.26, 0, Fault::Vanishes)]));
    assert!(played.has("2040.0 1 broken at 0") && played.has("2040.0 2 broken at 0"));
    assert!(played.has("2540.0 place 1.1 at 1") && played.has("3000.0 place 3.0 at 1"));
    assert_eq!((played.tally.broken, played.served.len()), (2, 5));
    // And those who only know it are let down in the end.
    let played = play(2, Some(0), &happens(&[(0.0, 0, Fault::Dies)]));
    assert_eq!((played.served.len(), played.tally.broken), (0, 12));
}

#[test]
fn an_answer_that_breaks_is_counted_and_its_first_token_stays() {
    let played = play(2, None, &happens(&[(0.1005, 0, Fault::Dies)]));
    assert_eq!(played.tally.broken_answers, 1);
    near(&played.ttft_ms()[..1], &[100.0]);
}

#[test]
fn who_drains_finishes_and_takes_nothing_new() {
    let scenario = happens(&[(0.26, 0, Fault::Drains), (0.6, 0, Fault::Undrains)]);
    let played = play(5, None, &scenario);
    assert!(played.has("1100.0 first of 1 from 0") && played.has("2000.0 place 2.0 at 1"));
    assert!(played.has("3000.0 place 3.0 at 0"));
    assert_eq!(played.tally.broken, 0);
}

#[test]
fn who_lies_says_nothing_of_its_queue() {
    let played = play(3, Some(0), &happens(&[(0.3, 0, Fault::Lies)]));
    assert!(played.has("0.0 0 says 1000") && played.has("0.0 0 has 1000"));
    assert!(played.has("1000.0 0 has 1000") && !played.has("1000.0 0 says 1000"));
}

#[test]
fn only_who_has_it_is_a_candidate_and_others_are_errors() {
    let scenario = Scenario {
        labels: vec![0, 1],
        variants: vec![crate::scenario::Variant {
            share: 1.0,
            needs: 1,
            has_own_weights: false,
        }],
        ..Scenario::even(2)
    };
    let played = play(2, None, &scenario);
    assert!(played.served.iter().all(|served| served.instance == 1));
    let played = play(2, Some(0), &scenario);
    assert_eq!((played.served.len(), played.tally.misdispatched), (0, 2));
}

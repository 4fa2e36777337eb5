use proptest::prelude::*;

use super::*;
use crate::id::Now;

const SLOT: Slot = Slot(1);

/// The calendars are worth nothing.
const NO_TRUST: ClockTrust = ClockTrust {
    error_ms: u32::MAX,
    oldest_ms: 0,
};

fn at(mono_ms: u64) -> Now {
    Now {
        mono_us: mono_ms * 1_000,
        unix_ms: 0,
    }
}

#[test]
fn all_but_one_of_those_who_wait_count() {
    let inflight = Inflight::new(2);
    assert_eq!(inflight.unanswered(SLOT), 0);
    inflight.waits(SLOT, 900);
    assert_eq!(inflight.unanswered(SLOT), 0, "it may be nearly done");
    inflight.waits(SLOT, 100);
    inflight.waits(SLOT, 200);
    assert_eq!(inflight.unanswered(SLOT), 800, "less the mean");
    inflight.answered(SLOT);
    assert_eq!(inflight.unanswered(SLOT), 400);
    for _ in 0..5 {
        inflight.answered(SLOT);
    }
    inflight.waits(SLOT, 7);
    inflight.waits(SLOT, 7);
    assert_eq!(inflight.unanswered(SLOT), 7, "as if nothing had been");
    inflight.reset(SLOT);
    assert_eq!(inflight.unanswered(SLOT), 0);
    inflight.waits(SLOT, 5);
    inflight.waits(SLOT, 5);
    assert_eq!(inflight.unanswered(SLOT), 5);
    let before: Vec<u64> = inflight.changes_of(0).collect();
    inflight.answered(SLOT);
    assert!(
        inflight.changes_of(0).ne(before),
        "who keeps figures is told"
    );
}

#[test]
fn tokens_go_from_opening_to_committed_and_stay_in_flight() {
    let inflight = Inflight::new(2);
    inflight.open(SLOT, 300);
    inflight.open(SLOT, 50);
    assert_eq!(inflight.in_flight(SLOT, 0), 350);
    inflight.commit(SLOT, 300);
    assert_eq!(
        (inflight.opening(SLOT), inflight.committed(SLOT)),
        (50, 300)
    );
    assert_eq!(inflight.in_flight(SLOT, 0), 350);
    inflight.release(SLOT, 50);
    inflight.commit_direct(SLOT, 7);
    assert_eq!(inflight.in_flight(SLOT, 300), 7);
    assert_eq!(inflight.in_flight(SLOT, 9_999), 0);
    assert_eq!(inflight.in_flight(Slot(0), 0), 0);
}

#[test]
fn extremes_saturate_and_unknown_slots_count_nothing() {
    let inflight = Inflight::new(2);
    inflight.open(SLOT, u32::MAX);
    inflight.commit_direct(SLOT, u32::MAX);
    assert_eq!(inflight.in_flight(SLOT, 0), u32::MAX);
    let beyond = Slot(2);
    inflight.open(beyond, 1);
    inflight.commit(beyond, 1);
    inflight.reset(beyond);
    inflight.retire(Slot(u16::MAX));
    assert_eq!(inflight.in_flight(beyond, 0), 0);
    assert_eq!(inflight.committed_at(beyond, 0), 0);
}

#[test]
fn what_was_sent_is_recent_for_a_while_whatever_reports_say() {
    let inflight = Inflight::new(2);
    inflight.reset(SLOT);
    inflight.sample(1_000_000);
    inflight.open(SLOT, 1_000_000);
    assert_eq!(inflight.recent(SLOT), 0, "not sent yet");
    inflight.commit(SLOT, 1_000_000);
    let seen: Vec<u64> = inflight.changes_of(0).collect();
    assert_eq!(inflight.recent(SLOT), 1_000_000);
    let after = |us| {
        for now_us in (1_000_000..1_000_000 + us).step_by(10_000) {
            inflight.sample(now_us);
        }
        inflight.recent(SLOT)
    };
    let left = after(RECENT_US);
    assert!((360_000..370_000).contains(&left), "{left}");
    assert!(inflight.changes_of(0).ne(seen), "who keeps figures is told");
    // However late the sample is.
    inflight.sample(1_000_000 + 9 * RECENT_US);
    assert_eq!(inflight.recent(SLOT), 0);
    inflight.commit_direct(SLOT, 7);
    assert_eq!(inflight.recent(SLOT), 7);
    inflight.reset(SLOT);
    assert_eq!(inflight.recent(SLOT), 0);
}

#[test]
fn the_last_of_what_was_sent_fades_as_well() {
    let inflight = Inflight::new(2);
    inflight.reset(SLOT);
    inflight.sample(1_000_000);
    inflight.commit_direct(SLOT, 100);
    for now_us in (1_000_000..1_000_000 + RECENT_US).step_by(COARSE_TICK_US as usize) {
        inflight.sample(now_us);
    }
    assert_eq!(inflight.recent(SLOT), 0);
}

#[test]
fn a_new_instance_starts_from_nothing() {
    let inflight = Inflight::new(2);
    inflight.open(SLOT, 100);
    inflight.commit_direct(SLOT, 10);
    inflight.sample(1_000_000);
    inflight.reset(SLOT);
    assert_eq!(inflight.in_flight(SLOT, 0), 0);
    assert_eq!(inflight.committed_at(SLOT, 1_000_000), 0);
    // A flow of the former instance is late: harmless, and no number from beyond.
    inflight.release(SLOT, 100);
    assert_eq!(
        (inflight.opening(SLOT), inflight.in_flight(SLOT, 0)),
        (0, 0)
    );
}

#[test]
fn workers_lose_nothing() {
    let inflight = Inflight::new(2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for tokens in 1..2_000 {
                    inflight.open(SLOT, tokens);
                    if tokens % 3 == 0 {
                        inflight.release(SLOT, tokens);
                    } else {
                        inflight.commit(SLOT, tokens);
                    }
                }
            });
        }
    });
    let sent: u64 = (1..2_000).filter(|tokens| tokens % 3 != 0).sum();
    assert_eq!(
        (inflight.opening(SLOT), inflight.committed(SLOT)),
        (0, 4 * sent)
    );
}

#[test]
fn only_registered_slots_are_sampled() {
    let inflight = Inflight::new(130);
    inflight.reset(Slot(129));
    inflight.commit_direct(Slot(129), 5);
    inflight.commit_direct(Slot(0), 5);
    inflight.sample(1_000_000);
    assert_eq!(inflight.committed_at(Slot(129), 1_000_000), 5);
    assert_eq!(inflight.committed_at(Slot(0), 1_000_000), 0);
    inflight.retire(Slot(129));
    inflight.commit_direct(Slot(129), 5);
    inflight.sample(2_000_000);
    assert_eq!(inflight.committed_at(Slot(129), 2_000_000), 5);
}

#[test]
fn the_counter_may_outgrow_the_bits_of_a_sample() {
    let inflight = Inflight::new(2);
    inflight.reset(SLOT);
    for step in 0..40_u64 {
        inflight.commit_direct(SLOT, u32::MAX);
        inflight.sample(1_000_000 + step * FINE_TICK_US);
        assert_eq!(
            inflight.committed_at(SLOT, 1_000_000 + step * FINE_TICK_US),
            (step + 1) * u64::from(u32::MAX)
        );
    }
}

proptest! {
    /// Against a list of everything sampled: the value is never newer than asked for, and old by a tick at the most.
    #[test]
    fn history_answers_with_the_recent_past(
        start_us in prop_oneof![0u64..50_000, Just(1u64 << 34), (1u64 << 34) - 9_000_000..1 << 34],
        steps in prop::collection::vec((300u64..12_000, 0u32..5_000), 50..1_200),
        asked in prop::collection::vec(0.0..1.0, 20),
    ) {
        let inflight = Inflight::new(2);
        inflight.reset(SLOT);
        let mut now_us = start_us;
        // (time, counter) after each commit.
        let mut truth = vec![(now_us, 0)];
        inflight.sample(now_us);
        for (step_us, tokens) in steps {
            now_us += step_us;
            inflight.sample(now_us);
            inflight.commit_direct(SLOT, tokens);
            truth.push((now_us, inflight.committed(SLOT)));
        }
        let known_since = start_us.max(now_us.saturating_sub(8_000_000));
        let before = |time: u64| truth.iter().rev().find(|(t, _)| *t <= time).map_or(0, |t| t.1);
        for fraction in asked {
            let at_us = known_since + ((now_us - known_since) as f64 * fraction) as u64;
            let tick_us = match now_us - at_us {
                ..45_000 => FINE_TICK_US,
                45_000..400_000 => MIDDLE_TICK_US,
                _ => COARSE_TICK_US,
            };
            // Samples come at most 12 ms apart here: the first of a tick is so late at the most, and as much older is the
            // last commit that it includes.
            let late_us = tick_us + 2 * 12_000;
            let found = inflight.committed_at(SLOT, at_us);
            prop_assert!(found <= before(at_us), "{} from the future of {}", found, before(at_us));
            let oldest = if at_us - start_us < late_us { 0 } else { before(at_us - late_us) };
            prop_assert!(found >= oldest, "{} older than {}", found, oldest);
        }
    }
}

#[test]
fn before_the_history_the_oldest_value_is_the_answer() {
    let inflight = Inflight::new(2);
    inflight.reset(SLOT);
    assert_eq!(inflight.committed_at(SLOT, 77), 0);
    for second in 0..60_u64 {
        inflight.commit_direct(SLOT, 10);
        for step in 0..100 {
            inflight.sample(second * 1_000_000 + step * 10_000);
        }
    }
    let oldest = inflight.committed_at(SLOT, 1_000_000);
    assert!((500..=530).contains(&oldest), "{oldest}");
}

#[test]
fn the_report_with_the_least_delay_sets_the_clock() {
    let clocks = ClockMap::new(2);
    // The instance's clock is far from ours, and wraps on the way.
    let theirs = |ours_ms: u64| (ours_ms as u32).wrapping_add(u32::MAX - 2_000);
    // 30 ms on its way, and nothing to compare with: taken for fresh.
    assert_eq!(
        clocks.observe(SLOT, theirs(1_000), at(1_030), NO_TRUST),
        1_030_000
    );
    // 2 ms on its way.
    assert_eq!(
        clocks.observe(SLOT, theirs(2_000), at(2_002), NO_TRUST),
        2_002_000
    );
    // 50 ms on its way: 48 more than the best.
    assert_eq!(
        clocks.observe(SLOT, theirs(3_000), at(3_050), NO_TRUST),
        3_002_000
    );
    assert_eq!(
        clocks.to_mono_us(SLOT, theirs(1_000), at(1_030), NO_TRUST),
        1_002_000
    );
    // Another slot knows nothing of that, nor does the slot's next tenant.
    assert_eq!(
        clocks.observe(Slot(0), theirs(3_000), at(3_050), NO_TRUST),
        3_050_000
    );
    clocks.reset(SLOT);
    assert_eq!(
        clocks.to_mono_us(SLOT, theirs(3_000), at(3_050), NO_TRUST),
        3_050_000
    );
    assert_eq!(clocks.observe(Slot(9), 5, at(3_050), NO_TRUST), 3_050_000);
}

#[test]
fn drift_is_followed_within_two_windows() {
    let clocks = ClockMap::new(2);
    // Their clock loses 1 ms a second: each offset is larger than the last.
    for second in 0..4_000_u64 {
        let now_ms = 10_000 + second * 1_000;
        let taken_us = clocks.observe(SLOT, (now_ms - second) as u32, at(now_ms), NO_TRUST);
        let age_ms = now_ms - taken_us / 1_000;
        assert!(age_ms <= 132, "age {age_ms} ms after {second} s");
    }
}

#[test]
fn a_delay_that_never_changes_is_told_by_the_calendars() {
    let trust = ClockTrust {
        error_ms: 5,
        oldest_ms: 1_000,
    };
    // The AFR's monotonic clock and its calendar; the instance's calendar is the same but for `ahead_ms`.
    let now = |ms: u64| Now {
        mono_us: ms * 1_000,
        unix_ms: 0xFFFF_FF00 + ms,
    };
    let age_ms = |delay_ms: u64, ahead_ms: i32| {
        let clocks = ClockMap::new(2);
        let mut last_us = 0;
        for (report, later_ms) in (1..).zip([7, 0, 3]) {
            let ours_ms = 1_000 + report * 100;
            let theirs = (now(ours_ms).unix_ms as u32).wrapping_add_signed(ahead_ms);
            let arrives = now(ours_ms + delay_ms + later_ms);
            last_us = arrives.mono_us - clocks.observe(SLOT, theirs, arrives, trust);
        }
        last_us / 1_000
    };
    assert_eq!(age_ms(0, 0), 3, "beside the least, which is none");
    assert_eq!(age_ms(5, 0), 3, "the clocks may be so far apart");
    assert_eq!(age_ms(6, 0), 9);
    assert_eq!(age_ms(100, 0), 103);
    assert_eq!(age_ms(100, -2), 105);
    assert_eq!(age_ms(1_000, 0), 1_003);
    assert_eq!(
        age_ms(1_001, 0),
        3,
        "a wrong clock is none that is slow to report"
    );
    assert_eq!(age_ms(100, 96), 3, "nor one that is ahead");
    assert_eq!(age_ms(0, 60_000), 3);
}

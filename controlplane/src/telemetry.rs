//! What the control core knows of an instance from its reports, and what it makes of silence.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::{Load, ReportOrder};

/// Reports remembered by number: a gap that is older counts as loss.
const WINDOW: u32 = 64;

/// One instance's reports.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The newest report's load.
    pub load: Option<Load>,
    /// Tokens a second, as reported or else as configured.
    pub rate_tokens_s: u32,
    /// Distinct reports.
    pub reports: u64,
    /// Reports that did not come: numbers left out.
    pub lost: u64,
    /// Tokens still waiting by the AFR's reckoning: as reported, less what was done since.
    pub pending_tokens: u32,
    /// Tokens committed to it that are covered or done.
    pub base_tokens: u64,
    cache_generation: Option<u32>,
    numbers: Numbers,
    /// Up to when the silent instance's work was reckoned, microseconds.
    reckoned_us: u64,
}

/// What a report changes besides the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News {
    /// It is newer than every report before.
    pub is_newest: bool,
    /// The instance's cache was cleared since the last.
    pub is_cleared: bool,
}

impl Telemetry {
    /// Of an instance registered at `now_us` with a rate from the configuration.
    #[must_use]
    pub fn new(rate_tokens_s: u32, now_us: u64) -> Self {
        Self {
            load: None,
            rate_tokens_s,
            reports: 0,
            lost: 0,
            pending_tokens: 0,
            base_tokens: 0,
            cache_generation: None,
            numbers: Numbers::default(),
            reckoned_us: now_us,
        }
    }

    /// Takes note of a report that some worker heard. Each worker tells of each report once at the most, in any order.
    pub fn report(&mut self, load: &Load, cache_generation: u32) -> News {
        self.numbers
            .note(load.order, &mut self.reports, &mut self.lost);
        let newest = self.load.map(|load| load.order);
        if newest.is_some_and(|newest| load.order <= newest) {
            return News::default();
        }
        let before = self.cache_generation.replace(cache_generation);
        self.load = Some(*load);
        self.pending_tokens = load.pending_tokens;
        self.base_tokens = load.base_tokens;
        self.reckoned_us = load.received_us;
        if load.prefill_rate_tokens_s != 0 {
            self.rate_tokens_s = load.prefill_rate_tokens_s;
        }
        News {
            is_newest: true,
            is_cleared: before.is_some_and(|before| before != cache_generation),
        }
    }

    /// The order of the newest report; the default before the first.
    #[must_use]
    pub fn order(&self) -> ReportOrder {
        self.load.map(|load| load.order).unwrap_or_default()
    }

    /// Microseconds since the newest report, if there was one.
    #[must_use]
    pub fn age_us(&self, now_us: u64) -> Option<u64> {
        self.load
            .map(|load| now_us.saturating_sub(load.received_us))
    }

    /// Lets an instance that has been silent for longer than `stale_us` do its work at its rate: first what it last
    /// reported, then what was committed to it, up to `committed`. Says whether anything changed.
    pub fn reckon(&mut self, now_us: u64, stale_us: u64, committed: u64) -> bool {
        if self.age_us(now_us).is_some_and(|age| age <= stale_us) {
            return false;
        }
        let ahead = u64::from(self.pending_tokens) + committed.saturating_sub(self.base_tokens);
        if ahead == 0 {
            // An idle instance saves nothing up.
            self.reckoned_us = now_us;
            return false;
        }
        let rate = u64::from(self.rate_tokens_s.max(1));
        let elapsed_us = now_us.saturating_sub(self.reckoned_us);
        let done = (elapsed_us.saturating_mul(rate) / 1_000_000).min(ahead);
        if done == 0 {
            return false;
        }
        self.reckoned_us = if done == ahead {
            now_us
        } else {
            // The fraction of a token counts for the next time.
            self.reckoned_us + (done * 1_000_000).div_ceil(rate)
        };
        let of_pending = done.min(u64::from(self.pending_tokens));
        self.pending_tokens -= of_pending as u32;
        self.base_tokens += done - of_pending;
        true
    }
}

/// Which of the latest report numbers were seen. Bit *n* of `seen`: number `top − n`.
#[derive(Debug, Clone, Default)]
struct Numbers {
    epoch: u32,
    top: u32,
    seen: u64,
    /// Numbers of this epoch within the window, seen or not.
    span: u32,
}

impl Numbers {
    fn note(&mut self, order: ReportOrder, reports: &mut u64, lost: &mut u64) {
        if self.span == 0 || order.boot_epoch() > self.epoch {
            *self = Self {
                epoch: order.boot_epoch(),
                top: order.seq(),
                seen: 1,
                span: 1,
            };
            *reports += 1;
            return;
        }
        if order.boot_epoch() < self.epoch {
            return;
        }
        if order.seq() > self.top {
            let step = order.seq() - self.top;
            // What falls out of the window unseen is lost, and so is what the step jumps over.
            let kept = WINDOW.saturating_sub(step).min(self.span);
            let fallen = self.span - kept;
            let fallen_seen = (0..fallen).filter(|n| self.seen >> (self.span - 1 - n) & 1 != 0);
            *lost += u64::from(fallen) - fallen_seen.count() as u64;
            *lost += u64::from(step.saturating_sub(WINDOW));
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.span = self.span.saturating_add(step).min(WINDOW);
            self.top = order.seq();
            *reports += 1;
            return;
        }
        let back = self.top - order.seq();
        if back < WINDOW && self.seen >> back & 1 == 0 {
            self.seen |= 1 << back;
            self.span = self.span.max(back + 1);
            *reports += 1;
        }
    }
}

/// Why an instance may or may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The configuration file drains it.
    pub drain_by_file: bool,
    /// An operator drained or undrained it, which counts for more.
    pub drain_by_operator: Option<bool>,
    /// Its own last report says that it drains.
    pub drain_by_agent: bool,
    /// An operator declared it dead.
    pub killed: bool,
    /// It has been silent for too long.
    pub silent: bool,
}

impl Health {
    /// What workers are told.
    #[must_use]
    pub const fn state(&self) -> LiveState {
        let drains = match self.drain_by_operator {
            Some(drains) => drains,
            None => self.drain_by_file,
        };
        if self.killed || self.silent {
            LiveState::Down
        } else if drains || self.drain_by_agent {
            LiveState::Draining
        } else {
            LiveState::Up
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(boot_epoch: u32, seq: u32, pending_tokens: u32, received_us: u64) -> Load {
        Load {
            order: ReportOrder::new(boot_epoch, seq),
            queue_depth: 0,
            running: 0,
            pending_tokens,
            prefill_rate_tokens_s: 0,
            kv_used: 0,
            load_class: 0,
            draining: false,
            refusing: false,
            base_tokens: 100,
            received_us,
        }
    }

    fn counted(orders: &[(u32, u32)]) -> (u64, u64) {
        let mut telemetry = Telemetry::new(1, 0);
        for (epoch, seq) in orders {
            telemetry.report(&load(*epoch, *seq, 0, 0), 0);
        }
        (telemetry.reports, telemetry.lost)
    }

    #[test]
    fn a_gap_is_loss_once_it_is_too_old_to_be_filled() {
        assert_eq!(
            counted(&[(1, 5), (1, 6), (1, 6), (1, 7)]),
            (3, 0),
            "twice is once"
        );
        assert_eq!(
            counted(&[(1, 1), (1, 3), (1, 2)]),
            (3, 0),
            "late is not lost"
        );
        assert_eq!(counted(&[(1, 1), (1, 3)]), (2, 0), "not yet");
        assert_eq!(
            counted(&[(1, 1), (1, 3), (1, 66)]),
            (3, 1),
            "2 fell out of the window"
        );
        assert_eq!(counted(&[(1, 1), (1, 3), (1, 67)]), (3, 1));
        assert_eq!(
            counted(&[(1, 1), (1, 1_000)]),
            (2, 935),
            "all but the window's 63"
        );
        assert_eq!(
            counted(&[(1, 1), (1, 9), (2, 0), (1, 10)]),
            (3, 0),
            "a new start owes nothing"
        );
    }

    #[test]
    fn only_a_newer_report_is_news() {
        let mut telemetry = Telemetry::new(1, 0);
        let newest = |is_cleared| News {
            is_newest: true,
            is_cleared,
        };
        assert_eq!(telemetry.report(&load(1, 2, 0, 0), 7), newest(false));
        assert_eq!(telemetry.report(&load(1, 1, 0, 0), 6), News::default());
        assert_eq!(telemetry.report(&load(1, 3, 0, 0), 7), newest(false));
        assert_eq!(telemetry.report(&load(2, 0, 0, 0), 8), newest(true));
    }

    #[test]
    fn a_silent_instance_works_at_its_rate() {
        let mut telemetry = Telemetry::new(1_000, 0);
        telemetry.report(&load(1, 1, 500, 1_000_000), 0);
        // Not silent for long enough: a report will tell.
        assert!(!telemetry.reckon(1_900_000, 1_000_000, 400));
        // 1.1 s at 1,000 tokens/s: the 500 reported and 600 committed, of which there are only 300.
        assert!(telemetry.reckon(2_100_000, 1_000_000, 400));
        assert_eq!((telemetry.pending_tokens, telemetry.base_tokens), (0, 400));
        assert!(!telemetry.reckon(9_000_000, 1_000_000, 400), "nothing left");
        // Work that comes then takes its time: what passed idle does not count.
        assert!(!telemetry.reckon(9_000_100, 1_000_000, 1_400));
        assert!(telemetry.reckon(9_250_000, 1_000_000, 1_400));
        assert_eq!(telemetry.base_tokens, 650);
    }

    #[test]
    fn fractions_of_tokens_add_up() {
        let mut telemetry = Telemetry::new(3, 0);
        let mut steps = 0;
        for ms in 1..=1_000 {
            steps += u32::from(telemetry.reckon(ms * 1_000, 0, 100));
        }
        assert_eq!(
            (steps, telemetry.base_tokens),
            (2, 2),
            "the third is due a microsecond later"
        );
    }

    #[test]
    fn dead_counts_for_more_than_draining() {
        let mut health = Health::default();
        assert_eq!(health.state(), LiveState::Up);
        health.drain_by_file = true;
        assert_eq!(health.state(), LiveState::Draining);
        health.drain_by_operator = Some(false);
        assert_eq!(health.state(), LiveState::Up);
        health.drain_by_agent = true;
        assert_eq!(health.state(), LiveState::Draining);
        health.silent = true;
        assert_eq!(health.state(), LiveState::Down);
    }
}

//! The rate that is forwarded without loss (NDR), and with as good as none (PDR): a binary search over trials, after
//! RFC 2544 §26.1 ("throughput").
//!
//! What offers packets and counts them is a [`Trial`] of any kind: an external generator at real ports
//! ([`External`]), or the lab's kernel hosts ([`Virtual`]), whose result is functional and not of RFC 2544: its
//! generator and its links are this machine's own.

mod external;
mod latency;
mod lab;
mod command;

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

pub use command::{NdrArguments, Outcome};
pub use external::External;
pub use lab::{Virtual, latency_at};
pub use latency::{Latency, percentiles};

/// Part of the rate asked for that must be offered for a trial to count.
const OFFERED: f64 = 0.98;

/// What a trial found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Counted {
    /// Packets sent.
    pub sent: u64,
    /// Packets that came through.
    pub received: u64,
}

impl Counted {
    /// Share of the sent packets that did not come through.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.sent == 0 {
            return 1.0;
        }
        self.sent.saturating_sub(self.received) as f64 / self.sent as f64
    }
}

/// Something that offers packets at a rate for a time.
pub trait Trial {
    /// Offers `pps` packets a second for `duration`, waits for the last, and counts.
    ///
    /// # Errors
    ///
    /// It cannot, or someone asks to stop.
    fn offer(&mut self, pps: f64, duration: Duration) -> anyhow::Result<Counted>;
}

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Highest rate to try, in packets a second.
    pub most_pps: f64,
    /// Width of the last interval, as a part of the highest rate.
    pub resolution: f64,
    /// Length of a trial. RFC 2544 §24 asks for 60 s at least where a result is to be quoted.
    pub duration: Duration,
    /// Loss that PDR allows, as a part of what is sent.
    pub partial_loss: f64,
}

/// One trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tried {
    /// Rate asked for, in packets a second.
    pub pps: f64,
    /// Rate that was offered.
    pub offered_pps: f64,
    /// What was counted.
    pub counted: Counted,
    /// Share lost.
    pub loss: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Highest rate tried without any loss, in packets a second; 0 if there was none.
    pub ndr_pps: f64,
    /// Highest rate tried with as little loss as allowed.
    pub pdr_pps: f64,
    /// That loss.
    pub pdr_loss: f64,
    /// Seconds of a trial.
    pub trial_s: f64,
    /// The generator reached no higher rate than this, if that is what ended the search.
    pub generator_limit_pps: Option<f64>,
    /// Every trial, in order.
    pub trials: Vec<Tried>,
}

impl Search {
    /// Searches, telling of each trial.
    ///
    /// # Errors
    ///
    /// Those of a trial; or the generator offers next to nothing.
    pub fn run(&self, trial: &mut impl Trial, tell: impl Fn(&Tried)) -> anyhow::Result<Found> {
        let mut found = Found {
            ndr_pps: 0.0,
            pdr_pps: 0.0,
            pdr_loss: self.partial_loss,
            trial_s: self.duration.as_secs_f64(),
            generator_limit_pps: None,
            trials: Vec::new(),
        };
        found.ndr_pps = self.highest(0.0, trial, &mut found, &tell)?;
        found.pdr_pps = self.highest(self.partial_loss, trial, &mut found, &tell)?;
        Ok(found)
    }

    /// The highest rate with a loss of `allowed` at the most. Earlier trials count: they bound the interval.
    fn highest(
        &self,
        allowed: f64,
        trial: &mut impl Trial,
        found: &mut Found,
        tell: &impl Fn(&Tried),
    ) -> anyhow::Result<f64> {
        let (mut low, mut high) = (0.0_f64, self.most_pps);
        let mut is_high_known = false;
        for tried in &found.trials {
            if tried.loss <= allowed {
                low = low.max(tried.offered_pps);
            } else {
                high = high.min(tried.pps);
                is_high_known = true;
            }
        }
        if let Some(limit) = found.generator_limit_pps
            && low >= limit
        {
            return Ok(low);
        }
        // The interval is closed from above: the highest rate itself may do.
        let mut next = if is_high_known {
            f64::midpoint(low, high)
        } else {
            high
        };
        while high - low > self.resolution * self.most_pps {
            let counted = trial.offer(next, self.duration)?;
            let offered_pps = counted.sent as f64 / self.duration.as_secs_f64();
            let tried = Tried {
                pps: next,
                offered_pps,
                counted,
                loss: counted.loss(),
            };
            tell(&tried);
            found.trials.push(tried);
            ensure!(
                offered_pps > 0.01 * next,
                "asked for {next:.0} packets a second, the generator sent {} in all",
                counted.sent
            );
            if tried.loss <= allowed {
                low = low.max(offered_pps.min(next));
                if offered_pps < OFFERED * next {
                    // Everything that it can send came through.
                    found.generator_limit_pps = Some(offered_pps);
                    return Ok(offered_pps);
                }
                if next >= high {
                    return Ok(high);
                }
            } else {
                high = next.min(offered_pps.max(low));
            }
            next = f64::midpoint(low, high);
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forwards up to a rate, and loses what is beyond; offers no more than it can.
    struct Model {
        capacity: f64,
        most: f64,
        trials: usize,
    }

    impl Trial for Model {
        fn offer(&mut self, pps: f64, duration: Duration) -> anyhow::Result<Counted> {
            self.trials += 1;
            let sent = pps.min(self.most) * duration.as_secs_f64();
            let received = sent.min(self.capacity * duration.as_secs_f64());
            Ok(Counted {
                sent: sent as u64,
                received: received as u64,
            })
        }
    }

    fn search(most_pps: f64) -> Search {
        Search {
            most_pps,
            resolution: 0.005,
            duration: Duration::from_secs(10),
            partial_loss: 0.005,
        }
    }

    fn run(capacity: f64, most: f64, most_pps: f64) -> (Found, usize) {
        let mut model = Model {
            capacity,
            most,
            trials: 0,
        };
        let found = search(most_pps).run(&mut model, |_| {}).unwrap();
        (found, model.trials)
    }

    #[test]
    fn the_capacity_is_found_within_the_resolution() {
        let (found, trials) = run(3.1e6, 1e9, 10e6);
        assert!((found.ndr_pps - 3.1e6).abs() <= 0.005 * 10e6, "{found:?}");
        assert!(found.ndr_pps <= 3.1e6);
        assert!(found.pdr_pps >= found.ndr_pps && found.pdr_pps <= 3.1e6 / 0.995 + 1.0);
        assert_eq!(trials, found.trials.len());
        assert!(trials < 24, "a binary search: {trials}");
    }

    #[test]
    fn what_loses_nothing_at_the_highest_rate_takes_one_trial() {
        let (found, trials) = run(20e6, 1e9, 10e6);
        assert!((found.ndr_pps - 10e6).abs() < 1.0 && (found.pdr_pps - 10e6).abs() < 1.0);
        assert_eq!(trials, 1, "NDR at the highest rate is PDR as well");
    }

    #[test]
    fn a_generator_that_is_the_limit_is_told() {
        let (found, _) = run(20e6, 2e6, 10e6);
        assert_eq!(found.generator_limit_pps, Some(2e6));
        assert!((found.ndr_pps - 2e6).abs() < 1.0 && (found.pdr_pps - 2e6).abs() < 1.0);
    }

    #[test]
    fn who_loses_always_has_no_rate() {
        struct Leaky;
        impl Trial for Leaky {
            fn offer(&mut self, pps: f64, _: Duration) -> anyhow::Result<Counted> {
                let sent = pps as u64 * 10;
                let received = sent - sent / 500;
                Ok(Counted { sent, received })
            }
        }
        let found = search(1e6).run(&mut Leaky, |_| {}).unwrap();
        assert!(found.ndr_pps < 1.0);
        assert!(
            (found.pdr_pps - 1e6).abs() < 0.01 * 1e6,
            "0.2 % are within PDR: {found:?}"
        );
    }

    #[test]
    fn loss_of_nothing_sent_is_total() {
        let nothing = Counted {
            sent: 0,
            received: 0,
        };
        assert!((nothing.loss() - 1.0).abs() < 1e-9);
    }
}

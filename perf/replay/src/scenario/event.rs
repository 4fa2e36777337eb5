//! Something that happens to an instance, and how it is written on a command line.

use std::str::FromStr;

use crate::router::Instance;

/// Something that happens to an instance.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Fault {
    /// The engine's process ends: connections are reset, new ones refused.
    Dies,
    /// The host falls silent.
    Vanishes,
    /// It is back, with an empty cache.
    Returns,
    /// The control plane drains it.
    Drains,
    /// No longer.
    Undrains,
    /// From now on it computes so many times as fast as the model.
    Pace(f64),
    /// From now on it reports an empty queue.
    Lies,
    /// No longer.
    Confesses,
}

/// When what happens to whom.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Event {
    /// Share of the time in which requests arrive.
    pub at: f64,
    /// Whom.
    pub instance: Instance,
    /// What.
    pub fault: Fault,
}

/// An event was written wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {0:?}: SHARE:INSTANCE:WHAT wanted, WHAT being \"dies\", \"vanishes\", \"returns\", \"drains\", \"undrains\", \"lies\", \
     \"confesses\" or \"pace=NUMBER\" above 0; for example 0.4:2:dies"
)]
pub struct EventError(String);

impl FromStr for Event {
    type Err = EventError;

    fn from_str(text: &str) -> Result<Self, EventError> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let at = parts.next()?.parse().ok().filter(|at: &f64| *at >= 0.0)?;
            let instance = parts.next()?.parse().ok()?;
            let fault = match parts.next()? {
                "dies" => Fault::Dies,
                "vanishes" => Fault::Vanishes,
                "returns" => Fault::Returns,
                "drains" => Fault::Drains,
                "undrains" => Fault::Undrains,
                "lies" => Fault::Lies,
                "confesses" => Fault::Confesses,
                pace => {
                    let pace: f64 = pace.strip_prefix("pace=")?.parse().ok()?;
                    Fault::Pace(Some(pace).filter(|pace| pace.is_finite() && *pace > 0.0)?)
                }
            };
            Some(Self {
                at,
                instance,
                fault,
            })
        };
        parse().ok_or_else(|| EventError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_are_written() {
        let event: Event = "0.25:3:pace=0.33".parse().unwrap();
        assert_eq!((event.at, event.instance), (0.25, 3));
        assert_eq!(event.fault, Fault::Pace(0.33));
        for wrong in [
            "",
            "1:2",
            "x:2:dies",
            "0.5:-1:dies",
            "0.5:1:pace=0",
            "0.5:1:explodes",
        ] {
            assert!(wrong.parse::<Event>().is_err(), "{wrong}");
        }
    }
}

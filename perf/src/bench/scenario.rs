//! What is measured, by name, and by which counters it is known that the packets took the way that is named.

use super::frames::{Carrier, Frames, Mac, Traffic};

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// Established flows, their metadata verified before.
    Established,
    /// The same, a million flows.
    Established1m,
    /// Established flows without metadata.
    Plain,
    /// Established flows, each packet's MAC verified.
    VerifyEvery,
    /// Every packet refused for its MAC.
    BadMac,
    /// The same, every packet another sender's.
    BadMacRandomSource,
    /// The same, every packet a SYN.
    BadMacSyn,
    /// Every packet dispatched, among 64 instances.
    NewFlow64,
    /// Every packet dispatched, among 1,024 instances.
    NewFlow1024,
    /// Every packet a new flow that is entered.
    Insert,
    /// Tunnelled replies whose report was applied before.
    ReplySame,
    /// Tunnelled replies, each with a report to apply.
    ReplyFresh,
    /// Replies in transit whose report is read and stripped.
    TransitStrip,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Established,
        Self::Established1m,
        Self::Plain,
        Self::VerifyEvery,
        Self::BadMac,
        Self::BadMacRandomSource,
        Self::BadMacSyn,
        Self::NewFlow64,
        Self::NewFlow1024,
        Self::Insert,
        Self::ReplySame,
        Self::ReplyFresh,
        Self::TransitStrip,
    ];

    /// Those of a quick run: the ones that have a target.
    pub const QUICK: [Self; 9] = [
        Self::Established,
        Self::Established1m,
        Self::Plain,
        Self::VerifyEvery,
        Self::BadMac,
        Self::NewFlow64,
        Self::NewFlow1024,
        Self::ReplySame,
        Self::ReplyFresh,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Established1m => "established-1m",
            Self::Plain => "plain",
            Self::VerifyEvery => "verify-every",
            Self::BadMac => "bad-mac",
            Self::BadMacRandomSource => "bad-mac-random-source",
            Self::BadMacSyn => "bad-mac-syn",
            Self::NewFlow64 => "new-flow-64",
            Self::NewFlow1024 => "new-flow-1024",
            Self::Insert => "insert",
            Self::ReplySame => "reply-same",
            Self::ReplyFresh => "reply-fresh",
            Self::TransitStrip => "transit-strip",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Established => "4,096 established flows, metadata verified before",
            Self::Established1m => "1,048,576 established flows, metadata verified before",
            Self::Plain => "4,096 established flows without metadata (Maglev)",
            Self::VerifyEvery => {
                "2,048 established flows, two valid requests a flow in turn: each packet's MAC verified, its work charged"
            }
            Self::BadMac => {
                "every packet refused for its MAC; the rate is what is received, for nothing leaves"
            }
            Self::BadMacRandomSource => {
                "the same, 65,536 sources in turn: each packet another sender's key to derive"
            }
            Self::BadMacSyn => "every packet a SYN that is refused for its MAC",
            Self::NewFlow64 => {
                "every packet a task of its own (NEW_TASK) without labels: verified, matched and scored over 64 instances"
            }
            Self::NewFlow1024 => "the same over 1,024 instances",
            Self::Insert => "one pass over flows that are not known: Maglev and a new entry each",
            Self::ReplySame => "tunnelled replies with a report that was applied before",
            Self::ReplyFresh => {
                "tunnelled replies, each with a report that is verified and applied (bench hook: one already seen counts as news of a millisecond ago)"
            }
            Self::TransitStrip => "replies in transit: the report in them read and stripped",
        }
    }

    /// Least ratio to 5tswap that is aimed at.
    #[must_use]
    pub const fn target(self) -> Option<f64> {
        match self {
            Self::Established => Some(0.60),
            Self::Established1m => Some(0.55),
            Self::Plain => Some(0.65),
            Self::VerifyEvery => Some(0.33),
            Self::BadMac => Some(0.45),
            Self::ReplySame => Some(0.60),
            Self::ReplyFresh => Some(0.20),
            Self::NewFlow64 => Some(0.09),
            Self::NewFlow1024 => Some(0.03),
            Self::BadMacRandomSource | Self::BadMacSyn | Self::Insert | Self::TransitStrip => None,
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether nothing is to leave: then what is received counts.
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(
            self,
            Self::BadMac | Self::BadMacRandomSource | Self::BadMacSyn
        )
    }

    /// Its frames.
    #[must_use]
    pub fn frames(self) -> Frames {
        let usual = Frames::default();
        match self {
            Self::Established => usual,
            Self::Established1m => Frames {
                flows: 1 << 20,
                ..usual
            },
            Self::Plain => Frames {
                carrier: Carrier::None,
                ..usual
            },
            // As many frames as of the others: twice as many do not fit the cache, and the driver is measured.
            Self::VerifyEvery => Frames {
                traffic: Traffic::Alternating,
                flows: usual.flows / 2,
                ..usual
            },
            Self::BadMac => Frames {
                bad_macs_in_1000: 1_000,
                ..usual
            },
            Self::BadMacRandomSource => Frames {
                traffic: Traffic::OneSourceEach,
                flows: 1 << 16,
                bad_macs_in_1000: 1_000,
                ..usual
            },
            Self::BadMacSyn => Frames {
                traffic: Traffic::Syns,
                bad_macs_in_1000: 1_000,
                ..usual
            },
            Self::NewFlow64 => Frames {
                traffic: Traffic::NewTasks,
                ..usual
            },
            Self::NewFlow1024 => Frames {
                traffic: Traffic::NewTasks,
                instances: 1_024,
                ..usual
            },
            Self::Insert => Frames {
                carrier: Carrier::None,
                flows: 1 << 22,
                ..usual
            },
            Self::ReplySame | Self::ReplyFresh => Frames {
                traffic: Traffic::Replies,
                ..usual
            },
            Self::TransitStrip => Frames {
                traffic: Traffic::Transit,
                ..usual
            },
        }
    }
}

/// Swaps of the AFT while packets are forwarded; takes the bench hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swaps {
    /// Swaps a second that are asked for; 0: none, but the table is filled all the same.
    pub per_s: u32,
    /// Signatures in the residency table.
    pub signatures: u32,
    /// Of these, how many change with a swap.
    pub changes: u32,
}

/// A scenario with everything that can be varied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The scenario.
    pub scenario: Scenario,
    /// Of a sweep: its name and the point's.
    pub point: Option<(&'static str, String)>,
    /// The frames. Their date is set when they are written.
    pub frames: Frames,
    /// Workers, each with a CPU of its own.
    pub workers: usize,
    /// Swaps besides.
    pub swaps: Option<Swaps>,
}

impl Case {
    /// The scenario as it is.
    #[must_use]
    pub fn of(scenario: Scenario) -> Self {
        Self {
            scenario,
            point: None,
            frames: scenario.frames(),
            workers: 1,
            swaps: None,
        }
    }

    /// Its name in results: the scenario's, and for a sweep the point.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.point {
            None => self.scenario.name().to_owned(),
            Some((sweep, point)) => format!("{} {sweep}={point}", self.scenario.name()),
        }
    }

    /// Whether it takes the `afrd` with bench hooks.
    #[must_use]
    pub fn needs_hooks(&self) -> bool {
        self.scenario == Scenario::ReplyFresh || self.swaps.is_some()
    }

    /// What must hold of the AFR's counters for the figure to be what its name says: shares of the received packets.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let forwarded =
            |direction| Way::most("afr_forwarded_packets_total", "direction", direction);
        let note = |reason| Way::most("afr_notes_total", "reason", reason);
        let no_note = |reason| Way::none("afr_notes_total", "reason", reason);
        let verified = match self.frames.mac {
            // Nothing is verified, and nothing taken for verified before.
            Mac::None => no_note("request_unchanged"),
            _ => note("request_verified"),
        };
        match self.scenario {
            Scenario::Established | Scenario::Established1m => {
                let mut ways = vec![forwarded("request"), no_note("flow_created")];
                if self.frames.carrier != Carrier::None {
                    ways.push(note("request_unchanged"));
                }
                ways
            }
            Scenario::Plain => vec![forwarded("request"), no_note("flow_created")],
            Scenario::VerifyEvery => vec![
                forwarded("request"),
                verified,
                no_note("flow_created"),
                no_note("request_changed_invalid"),
                no_note("replayed"),
            ],
            Scenario::BadMac | Scenario::BadMacRandomSource | Scenario::BadMacSyn => {
                vec![Way::most(
                    "afr_dropped_packets_total",
                    "reason",
                    "mac_invalid",
                )]
            }
            Scenario::NewFlow64 | Scenario::NewFlow1024 => vec![
                forwarded("request"),
                verified,
                Way::most("afr_class_dispatches_total", "reason", "load"),
                no_note("replayed"),
                no_note("flow_created"),
            ],
            // Its own count is of the one pass, not of a window.
            Scenario::Insert => Vec::new(),
            Scenario::ReplySame => vec![forwarded("reply"), note("report_same")],
            Scenario::ReplyFresh => vec![forwarded("reply"), note("report_applied")],
            Scenario::TransitStrip => vec![
                forwarded("reply"),
                note("report_same"),
                note("report_stripped"),
            ],
        }
    }
}

/// A share of the received packets that a counter must have grown by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The counter's family.
    pub family: &'static str,
    /// One label of it.
    pub label: &'static str,
    /// That label's value.
    pub value: &'static str,
    /// As good as all of them, else as good as none.
    pub all: bool,
}

/// What as good as all means; the counters are copied out once in a while, and not at the moment of a reading.
const ALL: f64 = 0.999;

impl Way {
    const fn most(family: &'static str, label: &'static str, value: &'static str) -> Self {
        Self {
            family,
            label,
            value,
            all: true,
        }
    }

    const fn none(family: &'static str, label: &'static str, value: &'static str) -> Self {
        Self {
            family,
            label,
            value,
            all: false,
        }
    }

    /// Whether so large a share is right.
    #[must_use]
    pub fn holds(&self, share: f64) -> bool {
        if self.all {
            share >= ALL
        } else {
            share <= 1.0 - ALL
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_differ() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()), Some(scenario));
        }
        assert_eq!(Scenario::named("nothing"), None);
    }

    #[test]
    fn every_scenario_but_the_one_pass_is_held_to_a_counter() {
        for scenario in Scenario::ALL {
            let ways = Case::of(scenario).ways();
            let is_held = ways.iter().any(|way| way.all);
            assert_eq!(is_held, scenario != Scenario::Insert, "{}", scenario.name());
        }
    }

    #[test]
    fn a_quick_run_has_what_has_a_target() {
        for scenario in Scenario::ALL {
            let is_quick = Scenario::QUICK.contains(&scenario);
            assert_eq!(is_quick, scenario.target().is_some(), "{}", scenario.name());
        }
    }

    #[test]
    fn a_way_is_all_or_nothing() {
        let all = Way::most("f", "l", "v");
        assert!(all.holds(0.9995) && !all.holds(0.998));
        let none = Way::none("f", "l", "v");
        assert!(none.holds(0.0005) && !none.holds(0.002));
    }
}

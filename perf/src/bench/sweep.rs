//! One parameter varied, all else as in a scenario.

use super::frames::{Carrier, Frames, LabelEncoding, Mac, Size, Traffic};
use super::scenario::{Case, Scenario, Swaps};

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Length of frames.
    Size,
    /// Number of flows.
    Flows,
    /// Number of instances that every packet is dispatched among.
    Instances,
    /// What carries the request.
    Carrier,
    /// How requests are authenticated.
    Mac,
    /// How they name labels.
    Labels,
    /// Number of workers.
    Workers,
    /// Swaps of the AFT a second.
    Swaps,
}

/// Bytes of frames where headers differ in length and frames should not.
const SAME_FOR_CARRIERS: usize = 166;
const SAME_FOR_LABELS: usize = 150;
/// Instances and signatures under swaps, and signatures that change with each.
const SWAP_INSTANCES: usize = 1_024;
const SWAP_SIGNATURES: u32 = 1_000_000;
const SWAP_CHANGES: u32 = 500;

impl Sweep {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Size,
        Self::Flows,
        Self::Instances,
        Self::Carrier,
        Self::Mac,
        Self::Labels,
        Self::Workers,
        Self::Swaps,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Flows => "flows",
            Self::Instances => "instances",
            Self::Carrier => "carrier",
            Self::Mac => "mac",
            Self::Labels => "labels",
            Self::Workers => "workers",
            Self::Swaps => "swaps",
        }
    }

    /// What it varies, on what.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Size => {
                "frame length in bytes without FCS, 4,096 established flows (78: without metadata)"
            }
            Self::Flows => "established flows with metadata, 134-byte frames",
            Self::Instances => "instances; every packet dispatched (NEW_TASK)",
            Self::Carrier => "carrier of the request, 4,096 established flows, 166-byte frames",
            Self::Mac => "authentication, each packet's request changed and verified",
            Self::Labels => {
                "labels of the request, every packet dispatched among 64 instances, 150-byte frames"
            }
            Self::Workers => "workers, 4,096 established flows shared out",
            Self::Swaps => {
                "swaps of the AFT a second; 4,096 established flows, 1,024 instances, 1,000,000 signatures, 500 changing a swap (bench hook)"
            }
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Its points; fewer for a quick run.
    #[must_use]
    pub fn cases(self, quick: bool) -> Vec<Case> {
        let all = match self {
            Self::Size => sizes(),
            Self::Flows => flows(),
            Self::Instances => instances(),
            Self::Carrier => carriers(),
            Self::Mac => macs(),
            Self::Labels => labels(),
            Self::Workers => workers(),
            Self::Swaps => swaps(),
        };
        if quick {
            all.into_iter().step_by(3).collect()
        } else {
            all
        }
    }

    fn at(self, scenario: Scenario, point: impl Into<String>, change: impl Fn(&mut Case)) -> Case {
        let mut case = Case::of(scenario);
        case.point = Some((self.name(), point.into()));
        change(&mut case);
        case
    }
}

fn sizes() -> Vec<Case> {
    let of = |scenario, bytes: usize| {
        Sweep::Size.at(scenario, bytes.to_string(), |case| {
            case.frames.size = Size::Bytes(bytes);
        })
    };
    let mut cases = vec![of(Scenario::Plain, 78)];
    // 118 is the smallest with metadata.
    let with = [118, 256, 512, 1_024, 1_280, 1_518];
    cases.extend(with.map(|bytes| of(Scenario::Established, bytes)));
    cases.push(Sweep::Size.at(Scenario::Established, "IMIX", |case| {
        case.frames.size = Size::Imix;
    }));
    cases
}

fn flows() -> Vec<Case> {
    let counts = [1, 64, 1 << 10, 1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22];
    let of = |flows: usize| {
        Sweep::Flows.at(Scenario::Established, flows.to_string(), |case| {
            case.frames.flows = flows;
        })
    };
    counts.map(of).into()
}

fn instances() -> Vec<Case> {
    let counts = [1, 4, 16, 64, 256, 1_024, 4_096];
    let of = |instances: usize| {
        Sweep::Instances.at(Scenario::NewFlow64, instances.to_string(), |case| {
            case.frames.instances = instances;
        })
    };
    counts.map(of).into()
}

fn carriers() -> Vec<Case> {
    let all = [
        ("none", Carrier::None),
        ("DestOpt", Carrier::DestOption),
        ("HbH", Carrier::HopByHop),
        ("SRH TLV", Carrier::SrhTlv),
    ];
    let of = |(name, carrier)| {
        Sweep::Carrier.at(Scenario::Established, name, |case| {
            case.frames.carrier = carrier;
            case.frames.size = Size::Bytes(SAME_FOR_CARRIERS);
        })
    };
    all.map(of).into()
}

fn macs() -> Vec<Case> {
    let all = [
        ("none", Mac::None),
        ("SipHash", Mac::SipHash),
        ("AES-CMAC", Mac::AesCmac),
    ];
    let of = |(name, mac)| Sweep::Mac.at(Scenario::VerifyEvery, name, |case| case.frames.mac = mac);
    all.map(of).into()
}

fn labels() -> Vec<Case> {
    let all = [
        ("none", LabelEncoding::Hashes(0)),
        ("2", LabelEncoding::Hashes(2)),
        ("8", LabelEncoding::Hashes(8)),
        ("Bloom-256", LabelEncoding::Bloom),
    ];
    let of = |(name, labels)| {
        Sweep::Labels.at(Scenario::NewFlow64, name, |case| {
            case.frames = Frames {
                traffic: Traffic::NewTasks,
                labels,
                size: Size::Bytes(SAME_FOR_LABELS),
                ..case.frames
            };
        })
    };
    all.map(of).into()
}

fn workers() -> Vec<Case> {
    let of = |workers: usize| {
        Sweep::Workers.at(Scenario::Established, workers.to_string(), |case| {
            case.workers = workers;
        })
    };
    [1, 2].map(of).into()
}

fn swaps() -> Vec<Case> {
    let all = [("off", 0), ("1 kHz", 1_000), ("10 kHz", 10_000)];
    let of = |(name, per_s)| {
        Sweep::Swaps.at(Scenario::Established, name, |case| {
            case.frames.instances = SWAP_INSTANCES;
            case.swaps = Some(Swaps {
                per_s,
                signatures: SWAP_SIGNATURES,
                changes: SWAP_CHANGES,
            });
        })
    };
    all.map(of).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for sweep in Sweep::ALL {
            assert_eq!(Sweep::named(sweep.name()), Some(sweep));
            for case in sweep.cases(false) {
                assert!(names.insert(case.name()), "{}", case.name());
            }
            assert!(sweep.cases(true).len() < sweep.cases(false).len() || sweep == Sweep::Workers);
        }
        assert!(names.contains("established flows=4194304"));
        assert!(names.contains("plain size=78"));
    }
}

//! The demo's cluster: five instances, three classes, one slow machine.

use std::time::Duration;

use super::args::DemoArgs;
use super::outcome::Policy;
use crate::lab::{
    self, AfrConfig, AfrdError, KEY, Lab, LabSpec, Process, ProcessError, SERVICE_PREFIX, flags,
    report_arguments, trust_arguments,
};

/// The port that instances serve on.
const PORT: u16 = 8_000;
/// Blocks of 512 tokens in an instance's KV store.
const KV_BLOCKS: u32 = 4_096;
/// Longest prompt in tokens; the few longer ones of the trace are cut, so that p99 rests on more than three requests.
const MAX_INPUT_TOKENS: u32 = 32_768;
/// Sessions that begin in a second where they are made up: with the usual rate, about the load of the trace.
const SESSIONS_PER_S: f64 = 0.7;
/// Real seconds that a request may take; a long answer of the slow instance under load takes more than one minute.
const TIMEOUT_S: u32 = 150;
/// How long an instance may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A capability class, the share of conversations that want it, and the label that its instances carry.
#[derive(Debug)]
pub(super) struct Capability {
    id: u32,
    name: &'static str,
    share: f64,
    label: &'static str,
}

pub(super) const CAPABILITIES: [Capability; 3] = [
    Capability {
        id: 1,
        name: "chat",
        share: 0.6,
        label: "model:emulated",
    },
    Capability {
        id: 2,
        name: "vision",
        share: 0.15,
        label: "modality:image",
    },
    Capability {
        id: 3,
        name: "legal",
        share: 0.25,
        label: "corpus:legal",
    },
];

/// An instance: what it can do, and how fast it is relative to the engine model.
#[derive(Debug)]
pub(super) struct Member {
    classes: &'static [u32],
    speed: f64,
}

/// By number, from 1.
pub(super) const MEMBERS: [Member; 5] = [
    Member {
        classes: &[1, 2],
        speed: 1.0,
    },
    Member {
        classes: &[1, 2],
        speed: 1.0,
    },
    Member {
        classes: &[1, 3],
        speed: 1.0,
    },
    Member {
        classes: &[1, 3],
        speed: 1.0,
    },
    Member {
        classes: &[1, 2],
        speed: 0.5,
    },
];

impl Member {
    /// Whether it is slower than the engine model.
    pub(super) fn is_slow(&self) -> bool {
        self.speed < 1.0
    }

    fn capabilities(&self) -> impl Iterator<Item = &'static Capability> {
        let has = |class: &&Capability| self.classes.contains(&class.id);
        CAPABILITIES.iter().filter(has)
    }

    fn labels(&self) -> Vec<String> {
        self.capabilities()
            .map(|class| class.label.to_owned())
            .collect()
    }
}

/// The hosts and wires it takes.
pub(super) fn lab_spec() -> LabSpec {
    LabSpec {
        instances: MEMBERS.len() as u8,
        clients: 1,
        classes: CAPABILITIES.iter().map(|class| class.id).collect(),
        ..LabSpec::default()
    }
}

/// `afrd`'s configuration for a policy.
pub(super) fn configuration(lab: &Lab, policy: Policy) -> AfrConfig {
    let mut config = AfrConfig::of(lab);
    // The last CPU, which on most machines is not the one that interrupts go to.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    config.workers.lcores = vec![cpus.saturating_sub(1) as u16];
    for catalogue in &mut config.catalogue {
        catalogue.labels = CAPABILITIES.map(|class| class.label.to_owned()).to_vec();
    }
    let (with_metadata, plain) = match policy {
        Policy::Maglev => ("maglev", "maglev"),
        Policy::LeastLoad => ("least-load", "load"),
        Policy::Afr => ("ttft", "maglev"),
    };
    for capability in &CAPABILITIES {
        let class = config.class(capability.id, capability.name);
        class.policy = Some(with_metadata.to_owned());
        class.plain = Some(plain.to_owned());
    }
    for (member, host) in MEMBERS.iter().zip(&lab.hosts) {
        let classes: Vec<_> = member.capabilities().map(|class| class.name).collect();
        let instance = config.instance(host, &classes);
        instance.labels = member.labels();
        instance.report_key = Some(KEY.0);
    }
    config
}

/// Starts an emulated engine on every instance host, and waits until all serve.
pub(super) fn start_engines(lab: &Lab, args: &DemoArgs) -> Result<Vec<Process>, AfrdError> {
    let engines = MEMBERS.iter().zip(&lab.hosts).map(|(member, host)| {
        let classes: Vec<_> = member.classes.iter().map(u32::to_string).collect();
        let mut arguments = flags(&[
            ("--instance-id", host.number.to_string()),
            ("--listen", format!("[::]:{PORT}")),
            ("--classes", classes.join(",")),
            ("--labels", member.labels().join(",")),
            ("--kv-blocks", KV_BLOCKS.to_string()),
            ("--speed", member.speed.to_string()),
            ("--time-scale", args.time_scale.to_string()),
        ]);
        arguments.extend(report_arguments(host));
        (host, arguments)
    });
    lab::start_engines(lab, PATIENCE, engines)
}

/// The load client's command line.
pub(super) fn load_arguments(args: &DemoArgs, policy: Policy) -> Vec<String> {
    let metadata = if policy == Policy::Afr {
        "full"
    } else {
        "none"
    };
    let mut arguments = trust_arguments();
    let own = [
        ("--service-prefix", format!("{SERVICE_PREFIX}/96")),
        ("--port", PORT.to_string()),
        ("--metadata", metadata.to_owned()),
        ("--requests", args.requests.to_string()),
        ("--rate", args.rate.to_string()),
        ("--time-scale", args.time_scale.to_string()),
        ("--seed", args.seed.to_string()),
        ("--max-input", MAX_INPUT_TOKENS.to_string()),
        ("--sessions-per-s", SESSIONS_PER_S.to_string()),
        ("--timeout-s", TIMEOUT_S.to_string()),
        ("--instances", MEMBERS.len().to_string()),
    ];
    arguments.extend(flags(&own));
    for class in &CAPABILITIES {
        let spec = format!("{}={},{}", class.id, class.share, class.label);
        arguments.extend(flags(&[("--class", spec)]));
    }
    if let Some(trace) = args.trace() {
        arguments.extend(flags(&[("--trace", trace.display().to_string())]));
    }
    arguments
}

impl From<ProcessError> for super::run::DemoError {
    fn from(error: ProcessError) -> Self {
        Self::Afrd(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::args::EmulatorArgs;
    use crate::load::args::LoadArgs;
    use clap::Parser;

    #[test]
    fn every_class_has_two_instances_and_a_slow_one_has_company() {
        for class in &CAPABILITIES {
            let able = || {
                MEMBERS
                    .iter()
                    .filter(|member| member.classes.contains(&class.id))
            };
            assert!(able().count() >= 2, "{}", class.name);
            assert!(able().any(|member| member.speed == 1.0), "{}", class.name);
        }
    }

    #[test]
    fn the_programs_understand_their_command_lines() {
        let args = DemoArgs::try_parse_from(["afr-demo", "--trace", "/some/file"]).unwrap();
        for policy in Policy::ALL {
            let words = load_arguments(&args, policy);
            let load = ["afr-load".to_owned()].into_iter().chain(words);
            let load = LoadArgs::try_parse_from(load).unwrap();
            assert_eq!(load.workload.classes.len(), CAPABILITIES.len());
        }
        let words = ["afr-emulator", "--instance-id=1"].map(str::to_owned);
        EmulatorArgs::try_parse_from(words.into_iter().chain(trust_arguments())).unwrap();
    }
}

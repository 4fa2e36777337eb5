//! Workloads and loads by the command line.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use afr_perf::trace::sessions::Sessions;
use afr_perf::trace::{Slice, mooncake};
use afr_replay::agents::Agents;
use afr_replay::figures::Run;
use afr_replay::scenario::Scenario;
use afr_replay::workload::Workload;
use anyhow::{Context, Result, bail, ensure};

use crate::args::Args;
use crate::policies;
use crate::simulate::ClusterSize;

/// What is asked of a cluster to find out what it can serve: far more.
const FLOOD: f64 = 1_000.0;

/// Agents' requests at once would find no cache at all: what the cluster serves of them is the rate at which nine of ten have
/// their first token within this time. It is looked for between two speeds, in so many steps.
const LIMIT_MS: f64 = 1_000.0;
const SPEEDS: (f64, f64) = (0.02, 5.0);
const HALVINGS: usize = 7;

/// Steps to the speed that makes a wanted rate, at the most, and how near is near enough.
const APPROACHES: usize = 6;
const NEAR: f64 = 1e-3;

/// Where requests come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Trace,
    Agents,
    Sessions,
}

/// How fast a workload is to be replayed.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Pace {
    /// At this speed, whatever the seed.
    Speed(f64),
    /// So that about so many requests arrive a second with every seed: sessions that begin in bursts differ.
    Rate(f64),
}

/// All paces that are wanted.
pub(crate) struct Loads {
    pub(crate) paces: Vec<Pace>,
    /// Requests a second that the cluster serves, if that was measured.
    pub(crate) capacity: Option<f64>,
}

impl Args {
    pub(crate) const fn cluster(&self) -> ClusterSize {
        ClusterSize {
            instances: self.instances,
            kv_blocks: self.kv_blocks,
        }
    }

    pub(crate) fn kinds(&self) -> Result<Vec<Kind>> {
        if self.workload.is_empty() {
            let kind = self.trace.as_ref().map_or(Kind::Sessions, |_| Kind::Trace);
            return Ok(vec![kind]);
        }
        let kind = |name: &String| match name.as_str() {
            "trace" if self.trace.is_none() => bail!("workload \"trace\" needs --trace FILE"),
            "trace" => Ok(Kind::Trace),
            "agents" => Ok(Kind::Agents),
            "sessions" => Ok(Kind::Sessions),
            _ => bail!(
                "no workload is called {name:?}; \"trace\", \"agents\" or \"sessions\" wanted"
            ),
        };
        self.workload.iter().map(kind).collect()
    }

    pub(crate) fn scenarios(&self) -> Result<Vec<Scenario>> {
        let wanted = self.scenario.iter().map(String::as_str);
        let names: Vec<&str> = if self.scenario.iter().any(|name| name == "all") {
            Scenario::NAMED.to_vec()
        } else {
            wanted.collect()
        };
        names.into_iter().map(|name| self.scenario(name)).collect()
    }

    fn scenario(&self, name: &str) -> Result<Scenario> {
        let scenario = Scenario::named(name, self.instances);
        let names = || Scenario::NAMED.join(", ");
        let mut scenario = scenario
            .with_context(|| format!("no scenario is called {name:?}; there are {}", names()))?;
        if !self.speeds.is_empty() {
            if !self
                .speeds
                .iter()
                .all(|speed| speed.is_finite() && *speed > 0.0)
            {
                bail!("--speeds: numbers above 0 wanted");
            }
            let speeds = self.speeds.iter().cycle().copied();
            scenario.speeds = speeds.take(self.instances).collect();
        }
        if let Some(event) = self
            .event
            .iter()
            .find(|event| event.instance >= self.instances)
        {
            bail!(
                "--event: there is no instance {}, only 0 to {}",
                event.instance,
                self.instances - 1
            );
        }
        scenario.events.extend(&self.event);
        scenario.events.sort_by(|a, b| a.at.total_cmp(&b.at));
        if scenario.has_deaths() && self.detect_ms < 1_000.0 {
            bail!("--detect-ms: 1000 or more wanted, the AFR's shortest");
        }
        Ok(scenario)
    }

    /// The workload, arriving so many times as fast as by itself. Made-up sessions begin as much more often, and pause
    /// between their turns as long as ever.
    pub(crate) fn workload(
        &self,
        kind: Kind,
        scenario: &Scenario,
        seed: u64,
        speed: f64,
    ) -> Result<Workload> {
        let own = &self.sessions;
        let count = own.requests.min(self.take);
        let (mut requests, name, own_block) = match (kind, &self.trace) {
            (Kind::Trace, Some(path)) => {
                let file = File::open(path).with_context(|| format!("trace {}", path.display()))?;
                let file = BufReader::new(file);
                let requests = if self.as_is {
                    mooncake::read_as_is(file)?
                } else {
                    mooncake::read(file, seed)?
                };
                // The first block of every conversation is the same.
                (requests, stem(path), 1)
            }
            (Kind::Agents, _) => {
                let agents = Agents {
                    per_second: Agents::default().per_second * own.per_second * speed,
                    ..Agents::default()
                };
                let requests = agents.generate(count, seed);
                (requests, "agents".to_owned(), agents.own_block())
            }
            (Kind::Trace | Kind::Sessions, _) => {
                let sessions = Sessions {
                    per_second: own.per_second * speed,
                    kinds: own.kinds.max(1),
                    system_tokens: own.system_tokens,
                    opening_tokens: own.opening_tokens,
                    growth_tokens: own.growth_tokens,
                    turns: own.turns,
                    ..Sessions::default()
                };
                let requests = sessions.generate(count, seed);
                (requests, "sessions".to_owned(), sessions.own_block())
            }
        };
        scenario.dress(&mut requests, own_block, seed);
        let slice = Slice {
            skip: 0,
            take: self.take,
            rate: 1.0,
            max_input_tokens: u32::MAX,
            max_output_tokens: u32::MAX,
        };
        let workload = Workload::new(&name, &slice.of(requests), own_block);
        Ok(match kind {
            Kind::Trace => workload.sped_up(speed),
            Kind::Agents | Kind::Sessions => workload,
        })
    }

    /// What will be replayed, for people.
    pub(crate) fn announce(&self, kind: Kind, scenario: &Scenario) -> Result<String> {
        let seed = self.seeds.first().copied().context("no seed")?;
        let first = self.workload(kind, scenario, seed, 1.0)?;
        let jobs = &first.jobs;
        let input: u64 = jobs.iter().map(|job| u64::from(job.input_tokens)).sum();
        let made_up = if kind == Kind::Trace { "" } else { ", made up" };
        Ok(format!(
            "{}{made_up}, cluster {}: {} requests of {} tokens on average, {:.3} a second at speed 1",
            first.name,
            scenario.name,
            jobs.len(),
            input / jobs.len().max(1) as u64,
            first.rate_per_s()
        ))
    }

    /// The speeds that were asked for, or make the loads that were.
    pub(crate) fn loads(
        &self,
        kind: Kind,
        scenario: &Scenario,
        capacity: Option<f64>,
    ) -> Result<Loads> {
        if self.load.is_empty() {
            return Ok(Loads {
                paces: self.speedup.iter().copied().map(Pace::Speed).collect(),
                capacity: None,
            });
        }
        let capacity = match capacity {
            Some(capacity) => capacity,
            None => self.capacity(kind)?,
        };
        let pace = |load: &f64| {
            let rate = load * capacity;
            if kind == Kind::Agents {
                return Ok(Pace::Rate(rate));
            }
            self.speed_for(kind, scenario, rate, 1).map(Pace::Speed)
        };
        Ok(Loads {
            paces: self.load.iter().map(pace).collect::<Result<_>>()?,
            capacity: Some(capacity),
        })
    }

    /// The speed at which so many requests arrive a second. Of sessions the first requests are few, because their later turns
    /// are still to come: it takes more sessions than it seems.
    fn speed_for(&self, kind: Kind, scenario: &Scenario, rate: f64, seed: u64) -> Result<f64> {
        let mut speed = rate / self.workload(kind, scenario, seed, 1.0)?.rate_per_s();
        for _ in 0..APPROACHES {
            let off = rate / self.workload(kind, scenario, seed, speed)?.rate_per_s();
            if (off - 1.0).abs() < NEAR {
                break;
            }
            speed *= off;
        }
        Ok(speed)
    }

    /// The workload at a pace.
    pub(crate) fn paced(
        &self,
        kind: Kind,
        scenario: &Scenario,
        seed: u64,
        pace: Pace,
    ) -> Result<Workload> {
        let speed = match pace {
            Pace::Speed(speed) => speed,
            Pace::Rate(rate) => self.speed_for(kind, scenario, rate, seed)?,
        };
        self.workload(kind, scenario, seed, speed)
    }

    /// What an even cluster of so many instances serves a second of this workload, under the oracle that saves most: of
    /// agents see [`LIMIT_MS`], of others what it serves when all requests are there at once.
    fn capacity(&self, kind: Kind) -> Result<f64> {
        let even = Scenario::even(self.instances);
        let seed = self.seeds.first().copied().context("no seed")?;
        let run = |workload: &Workload| policies::run("oracle:4", workload, &even, self, 1);
        if kind != Kind::Agents {
            let flood = self.workload(kind, &even, seed, 1.0)?.sped_up(FLOOD);
            let (served, ..) = run(&flood)?;
            let ends = served.iter().map(|it| it.arrival_ms + it.ttft_ms);
            let last_ms = ends.fold(1.0, f64::max);
            return Ok(served.len() as f64 * 1_000.0 / last_ms);
        }
        let mut capacity = 0.0;
        let (mut slow, mut fast) = SPEEDS;
        for _ in 0..HALVINGS {
            let speed = (slow * fast).sqrt();
            let workload = self.workload(kind, &even, seed, speed)?;
            let (served, ..) = run(&workload)?;
            let judged = Run::new("", seed, workload.jobs.len(), &served, self.instances);
            if judged.ttft_ms.p90 < LIMIT_MS {
                slow = speed;
                capacity = workload.rate_per_s();
            } else {
                fast = speed;
            }
        }
        ensure!(capacity > 0.0, "the cluster serves no agents in time");
        Ok(capacity)
    }
}

fn stem(path: &Path) -> String {
    let name = path.file_stem().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

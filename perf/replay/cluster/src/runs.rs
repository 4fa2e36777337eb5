//! All runs of a workload at one load, several at a time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use afr_replay::figures::{Run, Runs};
use afr_replay::scenario::Scenario;
use afr_replay::workload::Workload;
use anyhow::{Context, Result};

use crate::args::Args;
use crate::policies;
use crate::workloads::{Kind, Pace};

/// Runs every policy with every seed. Each run is of one thread, and the same whatever runs beside it.
pub(crate) fn all(
    args: &Args,
    kind: Kind,
    scenario: &Scenario,
    pace: Pace,
    capacity: Option<f64>,
) -> Result<Runs> {
    let names: Vec<&str> = if args.policies.iter().any(|name| name == "all") {
        policies::all(scenario)
    } else {
        args.policies.iter().map(String::as_str).collect()
    };
    let seeds = args.seeds.iter();
    let workloads: Vec<(u64, Workload)> = seeds
        .map(|seed| Ok((*seed, args.paced(kind, scenario, *seed, pace)?)))
        .collect::<Result<_>>()?;
    let wanted: Vec<(&str, &(u64, Workload))> = workloads
        .iter()
        .flat_map(|workload| names.iter().map(move |name| (*name, workload)))
        .collect();
    let done: Vec<Mutex<Option<Result<Run>>>> = wanted.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((at, (name, (seed, workload)))) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            wanted.get(at).map(|it| (at, *it))
        } {
            let run = one(name, workload, scenario, args, *seed);
            *done[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
        }
    };
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let jobs = args
        .jobs
        .unwrap_or_else(processors)
        .clamp(1, wanted.len().max(1));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let runs = done.into_iter().map(|run| {
        let run = run.into_inner().unwrap_or_else(PoisonError::into_inner);
        run.context("a run was not made")?
    });
    let runs: Vec<Run> = runs.collect::<Result<_>>()?;
    let (name, rate_per_s) = workloads
        .last()
        .map(|(_, workload)| (workload.name.clone(), workload.rate_per_s()))
        .context("no seed")?;
    Ok(Runs {
        workload: name,
        scenario: scenario.name.clone(),
        load: capacity.map_or(0.0, |capacity| rate_per_s / capacity),
        rate_per_s,
        instances: args.instances,
        runs,
    })
}

fn one(
    name: &str,
    workload: &Workload,
    scenario: &Scenario,
    args: &Args,
    seed: u64,
) -> Result<Run> {
    let begin = Instant::now();
    let (served, tally, counts) = policies::run(name, workload, scenario, args, seed)
        .with_context(|| format!("router {name}, seed {seed}"))?;
    let mut run = Run::new(name, seed, workload.jobs.len(), &served, args.instances);
    run.count(&tally);
    run.counts.extend(counts);
    run.wall_s = begin.elapsed().as_secs_f64();
    Ok(run)
}

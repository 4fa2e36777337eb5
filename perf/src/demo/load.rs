//! The load client, on a thread of this process inside the clients' namespace.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::time::{MissedTickBehavior, interval};

use super::outcome::{Outcome, Policy, Quantiles};
use crate::lab::{Interrupt, Namespace, NamespaceError};
use crate::load::args::LoadArgs;
use crate::load::plan::{Plan, PlanError};
use crate::load::result::RunResult;
use crate::load::{RunProgress, run};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);

/// Why the load could not be played.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The command line.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The workload.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The runtime.
    #[error("load client: {0}")]
    Runtime(#[from] std::io::Error),
    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// How far a run is.
#[derive(Copy, Clone, Debug)]
pub(super) struct Progress {
    /// Seconds since it began.
    pub(super) seconds: f64,
    /// Requests sent.
    pub(super) sent: usize,
    /// Requests answered.
    pub(super) answered: usize,
    /// Requests that failed.
    pub(super) broken: usize,
}

/// What a run came to, and the load client's own account of it.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) outcome: Outcome,
    pub(super) details: RunResult,
}

/// Plays the workload of this command line from `namespace`, telling `progress` now and then.
pub(super) fn play(
    namespace: &Namespace,
    arguments: Vec<String>,
    policy: Policy,
    interrupt: &Interrupt,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Played, LoadError> {
    let arguments = ["afr-load".to_owned()].into_iter().chain(arguments);
    let arguments = LoadArgs::try_parse_from(arguments)?;
    namespace.inside(|| {
        // One thread, this one: sockets are made where it is.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let plan = Arc::new(Plan::new(&arguments)?);
        let state = Arc::new(RunProgress::default());
        let begin = std::time::Instant::now();
        let playing = run(Arc::clone(&plan), Arc::clone(&state));
        let watching = async {
            let mut tick = interval(TELL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !interrupt.is_raised() {
                tick.tick().await;
                progress(Progress {
                    seconds: begin.elapsed().as_secs_f64(),
                    sent: state.started(),
                    answered: state.answered(),
                    broken: state.broken(),
                });
            }
        };
        let outcomes = runtime.block_on(async {
            tokio::select! {
                outcomes = playing => Ok(outcomes),
                () = watching => Err(LoadError::Interrupted),
            }
        })?;
        let details = RunResult::new(&plan, &outcomes, &state, begin.elapsed().as_secs_f64());
        let answered = outcomes
            .iter()
            .filter_map(|outcome| outcome.answer.as_ref().ok());
        let to_ms = plan.time_scale * 1_000.0;
        let outcome = Outcome {
            policy,
            ttft_ms: Quantiles {
                mean: details.ttft_ms.mean,
                p50: details.ttft_ms.p50,
                p99: details.ttft_ms.p99,
            },
            prefill_saved: details.prefill_saved,
            imbalance: details.imbalance,
            misdispatched: details.misdispatched as u64,
            broken: details.broken as u64,
            requests: details.requests as u64,
            samples_ms: answered
                .map(|answer| answer.first_token_s * to_ms)
                .collect(),
        };
        Ok(Played { outcome, details })
    })?
}

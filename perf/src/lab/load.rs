//! The load client on a thread of this process, inside a namespace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::time::{MissedTickBehavior, interval};

use super::Interrupt;
use super::namespace::{Namespace, NamespaceError};
use crate::load::args::LoadArgs;
use crate::load::client::Outcome;
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
pub struct LoadProgress {
    /// Seconds since it began.
    pub seconds: f64,
    /// Requests sent.
    pub sent: usize,
    /// Requests answered.
    pub answered: usize,
    /// Requests that failed.
    pub broken: usize,
}

/// What a run came to.
#[derive(Debug)]
pub struct Played {
    /// What became of each request, warm-up included.
    pub outcomes: Vec<Outcome>,
    /// Its figures.
    pub result: RunResult,
}

/// Plays the workload of this command line of `afr-load` from `namespace`, telling `progress` now and then.
///
/// # Errors
///
/// [`LoadError`]. Requests that fail are none: the outcomes tell of them.
pub fn play(
    namespace: &Namespace,
    arguments: Vec<String>,
    interrupt: &Interrupt,
    mut progress: impl FnMut(LoadProgress) + Send,
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
        let begin = Instant::now();
        let playing = run(Arc::clone(&plan), Arc::clone(&state));
        let watching = async {
            let mut tick = interval(TELL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !interrupt.is_raised() {
                tick.tick().await;
                progress(LoadProgress {
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
        let result = RunResult::new(&plan, &outcomes, &state, begin.elapsed().as_secs_f64());
        Ok(Played { outcomes, result })
    })?
}

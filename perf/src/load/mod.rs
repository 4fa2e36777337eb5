//! The load client: replays a workload as real TCP connections, one a request, each with its own metadata.
//!
//! | file | is |
//! |---|---|
//! | [`args`] | the command line |
//! | [`target`] | where requests of a class go, and what they must find there |
//! | [`plan`] | what is to be sent: everything that is settled before the clock starts |
//! | [`client`] | one request, from the socket option to the end of the answer |
//! | [`reading`] | an answer with every byte checked |
//! | [`events`] | reading server-sent events |
//! | [`result`] | figures |
//!
//! The loop is open: requests start when the workload says, however long the answers take. Times in results are
//! emulated: real ones times the time scale, as the instances' own.

pub mod args;
pub mod target;
pub mod plan;
pub mod client;
pub mod reading;
pub mod events;
pub mod result;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use client::{Client, Outcome};
use plan::Plan;

/// How far a run is. Shared with whoever shows it.
#[derive(Debug, Default)]
pub struct RunProgress {
    started: AtomicUsize,
    answered: AtomicUsize,
    broken: AtomicUsize,
    delayed: AtomicUsize,
}

impl RunProgress {
    /// Requests started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Requests answered, rightly and in full.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests that failed.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    /// Requests that started late because too many were open: the loop was not open for them.
    pub fn delayed(&self) -> usize {
        self.delayed.load(Ordering::Relaxed)
    }
}

/// Plays the plan, and says what became of each request, in the plan's order.
pub async fn run(plan: Arc<Plan>, progress: Arc<RunProgress>) -> Vec<Outcome> {
    let client = Arc::new(Client::new(Arc::clone(&plan)));
    let places = Arc::new(Semaphore::new(plan.max_connections));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..plan.requests.len() {
        let arrival = begin + start_of(&plan, index);
        sleep_until(arrival).await;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            progress.delayed.fetch_add(1, Ordering::Relaxed);
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break; // Nobody closes the semaphore.
            };
            spawn(&mut tasks, (index, arrival), &client, &progress, place);
            continue;
        };
        spawn(&mut tasks, (index, arrival), &client, &progress, place);
    }
    let mut outcomes: Vec<(usize, Outcome)> = tasks.join_all().await;
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn start_of(plan: &Plan, index: usize) -> Duration {
    let arrival_ms = plan
        .requests
        .get(index)
        .map_or(0.0, |request| request.arrival_ms);
    Duration::from_secs_f64(arrival_ms / 1_000.0 / plan.time_scale)
}

fn spawn(
    tasks: &mut JoinSet<(usize, Outcome)>,
    (index, arrival): (usize, Instant),
    client: &Arc<Client>,
    progress: &Arc<RunProgress>,
    place: tokio::sync::OwnedSemaphorePermit,
) {
    let (client, progress) = (Arc::clone(client), Arc::clone(progress));
    progress.started.fetch_add(1, Ordering::Relaxed);
    tasks.spawn(async move {
        let outcome = client.request(index, arrival).await;
        drop(place);
        let counter = if outcome.answer.is_ok() {
            &progress.answered
        } else {
            &progress.broken
        };
        counter.fetch_add(1, Ordering::Relaxed);
        (index, outcome)
    });
}

#[cfg(test)]
mod tests;

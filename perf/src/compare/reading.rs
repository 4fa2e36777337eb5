//! One run of the load client, and what it cost whom.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::cpu;
use super::run::CompareError;
use super::site::Site;
use crate::lab::{Exposition, LoadProgress, play_load};
use crate::load::client::Outcome;
use crate::load::result::Distribution;

/// A run's figures. Times but `from_arrival_ms` and those of signatures are emulated where engines take their time.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Requests, warm-up included.
    pub requests: usize,
    /// Of these, without a whole, right answer.
    pub broken: usize,
    /// The first of each kind.
    pub broken_examples: BTreeMap<&'static str, String>,
    /// Requests that waited for one of the client's places.
    pub delayed: usize,
    /// The run's length in real seconds.
    pub duration_s: f64,
    /// From the moment at which the client has the prompt to the first token: making the signatures, if there are any,
    /// connecting, sending the prompt, waiting. In milliseconds.
    pub first_token_ms: Distribution,
    /// From the moment at which the request was due to the first token, in real milliseconds: a client that is late
    /// because the processor has no time for it is in this.
    pub from_arrival_ms: Distribution,
    /// Making the metadata of a request, signatures over the whole prompt above all, in real microseconds.
    pub signatures_us: Option<Distribution>,
    /// Share of prompt tokens that were in a cache.
    pub prefill_saved: f64,
    /// Work of the busiest instance over the mean.
    pub imbalance: f64,
    /// Processor seconds of a thousand requests.
    pub cpu: Cpu,
    /// What `afrd` counted.
    pub afr: Option<AfrCounts>,
}

/// Processor seconds of a thousand requests, by who spent them.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// The process in the middle.
    pub middle_s: f64,
    /// All engines.
    pub engines_s: f64,
    /// The client; signatures are in this.
    pub client_s: f64,
}

impl Cpu {
    /// All three.
    #[must_use]
    pub fn all_s(&self) -> f64 {
        self.middle_s + self.engines_s + self.client_s
    }
}

/// What `afrd`'s worker counted, a request.
#[derive(Copy, Clone, Debug, Serialize)]
pub struct AfrCounts {
    /// Frames received, reports included.
    pub packets: f64,
    /// TSC cycles in bursts that were not empty, system calls of the packet sockets included.
    pub busy_cycles: f64,
    /// The same as processor seconds of a thousand requests, where the TSC's rate is known.
    pub busy_s: Option<f64>,
}

/// Plays a workload, in words of the load client without the destination, and takes its figures.
pub(super) fn measure(
    site: &Site,
    workload: &[String],
    progress: impl FnMut(LoadProgress) + Send,
) -> Result<Reading, CompareError> {
    let arguments = [site.destination(), workload.to_vec()].concat();
    let counted = site.counters()?;
    let before = spent(site)?;
    let played = play_load(&site.lab.client, arguments, site.lab.interrupt(), progress).map_err(
        |source| CompareError::Load {
            source,
            log: site.tail(),
        },
    )?;
    let after = spent(site)?;
    let requests = played.outcomes.len();
    let afr = match (counted, site.counters()?) {
        (Some(before), Some(after)) => Some(counts(&before, &after, requests)),
        _ => None,
    };
    let result = played.result;
    let measured = played.outcomes.get(result.warmup..).unwrap_or_default();
    let to_ms = result.time_scale * 1_000.0;
    let times = |time: fn(&Outcome, f64) -> f64, scale: f64| {
        let answered = measured.iter().filter_map(|outcome| {
            let first_token_s = outcome.answer.as_ref().ok()?.first_token_s;
            Some(time(outcome, first_token_s) * scale)
        });
        Distribution::of(answered.collect())
    };
    let signatures: Vec<f64> = measured
        .iter()
        .filter_map(|outcome| Some(outcome.metadata?.make_us))
        .collect();
    let a_thousand = |seconds: f64| seconds * 1_000.0 / requests.max(1) as f64;
    Ok(Reading {
        requests,
        broken: result.broken,
        broken_examples: result.broken_examples,
        delayed: result.delayed,
        duration_s: result.duration_s,
        first_token_ms: times(|one, first_token_s| making_s(one) + first_token_s, to_ms),
        from_arrival_ms: times(
            |one, first_token_s| one.late_s + making_s(one) + first_token_s,
            1_000.0,
        ),
        signatures_us: (!signatures.is_empty()).then(|| Distribution::of(signatures)),
        prefill_saved: result.prefill_saved,
        imbalance: result.imbalance,
        cpu: Cpu {
            middle_s: a_thousand(after.middle_s - before.middle_s),
            engines_s: a_thousand(after.engines_s - before.engines_s),
            client_s: a_thousand(after.client_s - before.client_s),
        },
        afr,
    })
}

/// Seconds that the sender took for the metadata, before it connected.
fn making_s(outcome: &Outcome) -> f64 {
    outcome.metadata.map_or(0.0, |cost| cost.make_us / 1e6)
}

/// Processor seconds up to now.
fn spent(site: &Site) -> io::Result<Cpu> {
    let engines: io::Result<Vec<f64>> = site.engine_pids().map(cpu::seconds).collect();
    Ok(Cpu {
        middle_s: site.middle_pid().map_or(Ok(0.0), cpu::seconds)?,
        engines_s: engines?.iter().sum(),
        client_s: cpu::own_seconds()?,
    })
}

fn counts(before: &Exposition, after: &Exposition, requests: usize) -> AfrCounts {
    let a_request = |name: &str| {
        let counted = after.sum(name, &[]) - before.sum(name, &[]);
        counted / requests.max(1) as f64
    };
    let busy_cycles = a_request("afr_worker_busy_cycles_total");
    AfrCounts {
        packets: a_request("afr_received_packets_total"),
        busy_cycles,
        busy_s: cpu::tsc_hz().map(|hz| busy_cycles * 1_000.0 / hz),
    }
}

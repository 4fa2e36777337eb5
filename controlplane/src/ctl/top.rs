//! `afrctl top`: rates, workers and instances on a screen that refreshes.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Failure;
use super::args::TopArgs;
use super::render::{report_age, state_of};
use super::table::Table;
use super::units::{count, percent, scaled, time};
use crate::api::protocol::CounterFilter;
use crate::api::view::{AftView, CountersView, InstanceView, WorkerView};
use crate::api::{Client, ClientError, Request, Response};

/// Moves to the upper left and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What one look found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// The AFT.
    pub aft: AftView,
    /// All workers' counters.
    pub counters: CountersView,
    /// The workers.
    pub workers: Vec<WorkerView>,
    /// The instances.
    pub instances: Vec<InstanceView>,
}

impl Sample {
    /// Takes a look.
    fn take(client: &mut Client) -> Result<Self, Failure> {
        let counters = Request::ShowCounters(CounterFilter::default());
        let Response::Aft(aft) = client.call(Request::ShowAft)? else {
            return Err(Failure::Unexpected);
        };
        let Response::Counters(counters) = client.call(counters)? else {
            return Err(Failure::Unexpected);
        };
        let Response::Workers(workers) = client.call(Request::ShowWorkers)? else {
            return Err(Failure::Unexpected);
        };
        let Response::Instances(instances) = client.call(Request::ShowInstances)? else {
            return Err(Failure::Unexpected);
        };
        Ok(Self {
            aft,
            counters,
            workers,
            instances,
        })
    }
}

/// Runs until it is interrupted; with `--once` for one interval. With `json`, one object a line and no screen.
///
/// # Errors
/// [`Failure`].
pub fn run(
    client: &mut Client,
    args: &TopArgs,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (mut before, mut at) = (Sample::take(client)?, Instant::now());
    loop {
        thread::sleep(args.interval);
        let (sample, now) = (Sample::take(client)?, Instant::now());
        if json {
            serde_json::to_writer(&mut *out, &sample).map_err(ClientError::Foreign)?;
            writeln!(out)?;
        } else {
            let clear = if args.once { "" } else { CLEAR };
            write!(out, "{clear}{}", screen(&before, &sample, now - at))?;
        }
        out.flush()?;
        if args.once {
            return Ok(());
        }
        (before, at) = (sample, now);
    }
}

/// The screen: what changed from `before` to `now`, `elapsed` apart, and how things are.
#[must_use]
pub fn screen(before: &Sample, now: &Sample, elapsed: Duration) -> String {
    // A restart of afrd between two looks counts from zero.
    let rate = |was: u64, is: u64| {
        let more = is.checked_sub(was).unwrap_or(is);
        more as f64 / elapsed.as_secs_f64().max(1e-3)
    };
    [
        totals(before, now, &rate),
        workers(before, now, &rate),
        instances(before, now, &rate),
    ]
    .join("\n")
}

fn totals(before: &Sample, now: &Sample, rate: &dyn Fn(u64, u64) -> f64) -> String {
    let (was, is) = (&before.counters, &now.counters);
    let drops = |c: &CountersView| c.drops.iter().map(|reason| reason.count).sum::<u64>();
    let dispatches = |c: &CountersView| c.dispatches.iter().map(|row| row.count).sum::<u64>();
    let prompt = rate(was.prompt_tokens, is.prompt_tokens);
    let held = rate(was.affinity_tokens, is.affinity_tokens);
    let share = if prompt > 0.0 { held / prompt } else { 0.0 };
    format!(
        "generation {}, {} old; configuration {}; {} instances; {} signatures\n\
         received {} pkt/s, requests {} pkt/s, replies {} pkt/s, dropped {} pkt/s\n\
         dispatched {} flows/s, prompts {} tok/s, of which held {}\n",
        now.aft.epoch,
        time(now.aft.epoch_age_us),
        now.aft.config_revision,
        now.aft.instances,
        count(now.aft.signatures as u64),
        scaled(rate(was.received_packets, is.received_packets)),
        scaled(rate(
            was.forwarded_request_packets,
            is.forwarded_request_packets
        )),
        scaled(rate(
            was.forwarded_reply_packets,
            is.forwarded_reply_packets
        )),
        scaled(rate(drops(was), drops(is))),
        scaled(rate(dispatches(was), dispatches(is))),
        scaled(prompt),
        percent(share),
    )
}

fn workers(before: &Sample, now: &Sample, rate: &dyn Fn(u64, u64) -> f64) -> String {
    let mut table = Table::new(&[
        ">WORKER",
        ">PKT/S",
        ">DROP/S",
        ">CYCLES/PKT",
        ">FLOWS",
        ">RING",
        ">BEHIND",
    ]);
    for (at, is) in now.workers.iter().enumerate() {
        let was = before.workers.get(at).unwrap_or(is);
        let packets = rate(was.received_packets, is.received_packets);
        let cycles = rate(was.busy_cycles, is.busy_cycles);
        let per_packet = if packets > 0.0 {
            format!("{:.0}", cycles / packets)
        } else {
            "-".to_owned()
        };
        table.row(vec![
            is.worker.to_string(),
            scaled(packets),
            scaled(rate(was.dropped_packets, is.dropped_packets)),
            per_packet,
            count(is.flows),
            is.ring_messages.to_string(),
            is.epochs_behind.to_string(),
        ]);
    }
    table.lines("no workers")
}

fn instances(before: &Sample, now: &Sample, rate: &dyn Fn(u64, u64) -> f64) -> String {
    let mut table = Table::new(&[
        "INSTANCE",
        "STATE",
        ">FLOWS/S",
        ">WAIT",
        ">RUN",
        ">KV",
        ">PENDING",
        ">IN FLIGHT",
        ">QUEUE",
        ">REPORT",
    ]);
    for is in &now.instances {
        let was = before.instances.iter().find(|was| was.id == is.id);
        let dispatches = was.map_or(0, |was| was.dispatches);
        table.row(vec![
            is.name.clone(),
            state_of(is),
            scaled(rate(dispatches, is.dispatches)),
            is.waiting_requests.to_string(),
            is.running_requests.to_string(),
            percent(is.kv_used_ratio),
            count(u64::from(is.pending_tokens)),
            count(u64::from(is.in_flight_tokens)),
            time(is.queue_us),
            report_age(is),
        ]);
    }
    table.lines("no instances")
}

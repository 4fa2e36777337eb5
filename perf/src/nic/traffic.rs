//! Connections from the clients' host to the instances, with and without metadata.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::lab::{Client, Dial, Interrupt, Wish, label, sender};

use super::hosts::{CLIENTS, Hosts, client_address, service};
use super::rss;
use super::run::NicError;

/// Connections at a time.
const AT_ONCE: usize = 8;
/// Bytes that each connection sends and has back.
const BYTES: usize = 6_000;
/// Bytes that one connection to each instance sends at once, in packets as long as they may be.
const FLOOD_BYTES: usize = 200_000;

/// What became of the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// All of them.
    pub(super) flows: u32,
    /// Those with metadata.
    pub(super) with_metadata: u32,
    /// Those that reached another instance than the one with the label they asked for.
    pub(super) misdispatched: u32,
    /// How many each instance had.
    pub(super) by_instance: BTreeMap<String, u32>,
    /// How many belong on the card's first queue, second queue and so on, by their hash.
    pub(super) by_queue: Vec<u32>,
    /// Bytes sent and had back.
    pub(super) bytes: usize,
}

/// Opens `flows` connections: in turn one without metadata and one for the label of each instance. Each carries bytes
/// both ways and every byte is compared. The card has `queues` queues. `step` is told how many are done,
/// now and then.
///
/// # Errors
///
/// The first connection that cannot be made or breaks, or someone asks to stop.
pub(super) fn run(
    hosts: &Hosts,
    flows: u32,
    queues: u16,
    interrupt: &Interrupt,
    step: impl Fn(u32) + Sync,
) -> Result<Outcome, NicError> {
    let next = AtomicU32::new(0);
    let work = || {
        let mut outcome = Outcome {
            by_queue: vec![0; queues.into()],
            ..Outcome::default()
        };
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= flows {
                return Ok(outcome);
            }
            let connected = connection(hosts, number, &mut outcome);
            if connected.is_err() || interrupt.is_raised() {
                // The others need not try.
                next.store(flows, Ordering::Relaxed);
                connected?;
                return Err(NicError::Interrupted);
            }
            if number > 0 && number.is_multiple_of(100) {
                step(number);
            }
        }
    };
    let outcomes: Vec<Result<Outcome, NicError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    let mut all = Outcome {
        by_queue: vec![0; queues.into()],
        ..Outcome::default()
    };
    for outcome in outcomes {
        let outcome = outcome?;
        all.flows += outcome.flows;
        all.with_metadata += outcome.with_metadata;
        all.misdispatched += outcome.misdispatched;
        all.bytes += outcome.bytes;
        for (all, count) in all.by_queue.iter_mut().zip(outcome.by_queue) {
            *all += count;
        }
        for (instance, count) in outcome.by_instance {
            *all.by_instance.entry(instance).or_default() += count;
        }
    }
    Ok(all)
}

/// One connection. The first for each instance's label is a long one.
fn connection(hosts: &Hosts, number: u32, outcome: &mut Outcome) -> Result<(), NicError> {
    let kinds = hosts.instances.len() as u32 + 1;
    let wanted = (number % kinds).checked_sub(1);
    let wanted = wanted.and_then(|at| hosts.instances.get(at as usize));
    let from = client_address((number / kinds) as u16 % CLIENTS);
    let mut dial = Dial::plain(from, service());
    let header;
    if let Some(instance) = wanted {
        let mut wish = Wish::of(1, from, service());
        wish.labels = vec![label(instance.label)];
        wish.session = number.into();
        header = wish.header(&sender())?;
        dial = dial.with(&header);
        outcome.with_metadata += 1;
    }
    let mut client = Client::connect(&hosts.client, &dial)?;
    if let Ok(SocketAddr::V6(source)) = client.stream().local_addr() {
        let queue = rss::queue(source, service(), outcome.by_queue.len() as u16);
        if let Some(count) = outcome.by_queue.get_mut(usize::from(queue)) {
            *count += 1;
        }
    }
    let is_long = wanted.is_some() && number < kinds;
    if is_long {
        client.flood(FLOOD_BYTES)?;
        outcome.bytes += FLOOD_BYTES;
    } else {
        client.exchange(BYTES)?;
        outcome.bytes += BYTES;
    }
    outcome.flows += 1;
    if wanted.is_some_and(|instance| instance.name != client.instance()) {
        outcome.misdispatched += 1;
    }
    let count = outcome.by_instance.entry(client.instance().to_owned());
    *count.or_default() += 1;
    Ok(())
}

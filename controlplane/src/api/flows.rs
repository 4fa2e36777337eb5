//! `show flows`: workers copy flows out between bursts, and are asked for a few at a time.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use afr_dataplane::config::{Config, Instance};
use afr_dataplane::flow::{FlowEntry, Pin};
use afr_dataplane::id::{ClassIx, Incarnation, Slot};
use afr_dataplane::message::{FlowScan, WorkerCommand};
use crossbeam_queue::ArrayQueue;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::error::ApiError;
use super::platform::Site;
use super::protocol::{DEFAULT_FLOWS, FlowFilter, MOST_FLOWS};
use super::view::{FlowView, FlowsView};
use super::{names, resolve};

/// Flows asked of a worker at a time.
const CHUNK: u32 = 2_048;
/// How long a worker's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a whole request may look for flows.
const MOST_TIME: Duration = Duration::from_secs(10);
/// How often an answer is looked for.
const POLL: Duration = Duration::from_millis(1);

/// Asks workers for flows, for one request at a time.
///
/// The queues that workers answer into are taken once and kept, whatever becomes of those who ask: a worker that drops its
/// handle of one never frees it. That holds for as long as this is kept, so it is until the workers have ended.
#[derive(Debug)]
pub(super) struct Scanner {
    replies: Mutex<Vec<Arc<ArrayQueue<FlowScan>>>>,
}

/// What is looked for, and the names of what is found.
struct Search {
    config: Arc<Config>,
    tenants: Vec<Option<Arc<Instance>>>,
    now_ms: u32,
    class: Option<ClassIx>,
    instance: Option<(Slot, Incarnation)>,
}

impl Scanner {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let queues = (0..workers).map(|_| Arc::new(ArrayQueue::new(CHUNK as usize + 1)));
        Self {
            replies: Mutex::new(queues.collect()),
        }
    }

    /// The flows that pass `filter`.
    pub(super) async fn flows(
        &self,
        site: &Site,
        filter: FlowFilter,
    ) -> Result<FlowsView, ApiError> {
        let limit = filter.limit.unwrap_or(DEFAULT_FLOWS);
        if !(1..=MOST_FLOWS).contains(&limit) {
            let allowed = format!("1 to {MOST_FLOWS}");
            return Err(ApiError::invalid("limit", limit, allowed));
        }
        let search = search(site, filter).await?;
        let replies = self.replies.lock().await;
        let deadline = Instant::now() + MOST_TIME;
        let mut view = FlowsView {
            flows: Vec::new(),
            scanned: 0,
            complete: true,
        };
        for (worker, reply) in replies.iter().enumerate() {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                if Instant::now() >= deadline {
                    view.complete = false;
                    return Ok(view);
                }
                ask(site, worker, reply, from).await?;
                cursor = collect(worker, reply, |entry| {
                    view.scanned += 1;
                    if !search.wants(entry) {
                        return;
                    }
                    if view.flows.len() < limit as usize {
                        view.flows.push(search.view(worker, entry));
                    } else {
                        view.complete = false;
                    }
                })
                .await?;
                if !view.complete {
                    return Ok(view);
                }
            }
        }
        Ok(view)
    }
}

fn silent(worker: usize) -> ApiError {
    ApiError::WorkerSilent {
        worker: worker as u16,
        after_ms: PATIENCE.as_millis() as u64,
    }
}

/// Asks a worker for a chunk, once it has let go of the last answer's queue.
async fn ask(
    site: &Site,
    worker: usize,
    reply: &Arc<ArrayQueue<FlowScan>>,
    cursor: u32,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + PATIENCE;
    let commands = site.shared.commands.get(worker).ok_or(silent(worker))?;
    while Arc::strong_count(reply) > 1 {
        pause(worker, deadline).await?;
    }
    while reply.pop().is_some() {}
    let mut command = WorkerCommand::ScanFlows {
        cursor,
        limit: CHUNK,
        reply: Arc::clone(reply),
    };
    while let Err(back) = commands.push(command) {
        command = back;
        pause(worker, deadline).await?;
    }
    Ok(())
}

/// Takes a worker's answer. Returns where to go on, `None` at the end.
async fn collect(
    worker: usize,
    reply: &ArrayQueue<FlowScan>,
    mut found: impl FnMut(&FlowEntry),
) -> Result<Option<u32>, ApiError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reply.pop() {
            Some(FlowScan::Flow(entry)) => found(&entry),
            Some(FlowScan::Done(cursor)) => return Ok(cursor),
            None => pause(worker, deadline).await?,
        }
    }
}

async fn pause(worker: usize, deadline: Instant) -> Result<(), ApiError> {
    if Instant::now() >= deadline {
        return Err(silent(worker));
    }
    sleep(POLL).await;
    Ok(())
}

async fn search(site: &Site, filter: FlowFilter) -> Result<Search, ApiError> {
    let search = site.core.look(move |core| {
        let aft = core.aft();
        let class = filter.class.map(|name| resolve::class(&aft.config, &name));
        let instance = filter.instance.map(|name| resolve::instance(aft, &name));
        let instance = instance.transpose()?;
        Ok::<_, ApiError>(Search {
            config: Arc::clone(&aft.config),
            tenants: aft.instances.clone(),
            now_ms: core.now().mono_ms(),
            class: class.transpose()?.map(|(at, _)| at),
            instance: instance.map(|(slot, tenant)| (slot, tenant.incarnation)),
        })
    });
    search.await?
}

impl Search {
    fn wants(&self, entry: &FlowEntry) -> bool {
        let of_class = self.class.is_none_or(|class| entry.class == class);
        let pinned = |(slot, incarnation)| entry.pin() == Pin::Instance(slot, incarnation);
        of_class && self.instance.is_none_or(pinned)
    }

    fn view(&self, worker: usize, entry: &FlowEntry) -> FlowView {
        let key = entry.key();
        let instance = match entry.pin() {
            Pin::Instance(slot, incarnation) => self
                .tenants
                .get(slot.index())
                .and_then(Option::as_ref)
                .filter(|tenant| tenant.incarnation == incarnation),
            Pin::Spill => None,
        };
        // The worker's clock may be a burst ahead of the core's.
        let age_ms = entry.age_ms(self.now_ms);
        FlowView {
            worker: worker as u16,
            source: Ipv6Addr::from(key.src),
            source_port: key.sport,
            destination: Ipv6Addr::from(key.dst),
            destination_port: key.dport,
            protocol: key.proto,
            class: names::class_at(&self.config, entry.class),
            instance: instance.map(|tenant| tenant.name.clone()),
            spilled: entry.pin() == Pin::Spill,
            state: names::flow_state(entry.state()).to_owned(),
            metadata: entry.metadata_seen(),
            opening_tokens: entry.opening_tokens(),
            age_ms: if age_ms > u32::MAX / 2 { 0 } else { age_ms },
        }
    }
}

//! One worker: the stages in order, a burst at a time, run to completion.
//!
//! parse and classify every packet of the burst, starting to load its flow's bucket; start to load the flow entries;
//! then take each packet its way. Between rounds: flows age, and clients of a dead instance are told.

mod peers;

use std::sync::Arc;

use afr_wire::Verifier;
use crossbeam_queue::ArrayQueue;

use crate::aft::Aft;
use crate::aft::epoch::Reader;
use crate::aft::residency::Overlay;
use crate::config::OnDeath;
use crate::counters::{Figure, LocalCounters, MAX_PORTS};
use crate::death;
use crate::fast::{Claims, Kind, MacCheck, Model, Plan, Quick, Tally, Way};
use crate::fingerprint::Fingerprint;
use crate::flow::{Aged, Cursor, Fate, FlowTable, Timeouts};
use crate::id::{Now, PortIx, WorkerId};
use crate::memory::Table;
use crate::message::{FlowScan, Shared, WorkerCommand};
use crate::outs::{Out, Outs};
use crate::packet::{PacketBuf, PacketPool};
use crate::path::{BURST, Burst, Egress, Item, Own, Path};
use crate::reply::overlay::LoadOverlay;
use crate::request::admit::{Admit, ErrorBudget};
use crate::request::charges::Charges;
use crate::request::replay_guard::ReplayGuard;
use crate::request::score::Scratch;
use crate::request::verify::SenderKeys;
use crate::verdict::{DropReason, MetadataNote, Verdict};

pub use peers::Peers;

/// Rounds after which counters are copied to where others read them, at the latest.
const COPY_EVERY: u32 = 256;
/// Buckets whose flows move between two rounds while the flow table's index becomes another one.
const SETTLED_BUCKETS: u32 = 4;
/// Steps of a walk over the flow table between two rounds, at the most.
const MAX_STEPS: usize = 4_096;

/// A worker: everything but its queues.
#[derive(Debug)]
pub struct Worker<P: PacketPool> {
    reader: Reader<Aft>,
    shared: Arc<Shared>,
    own: Own,
    peers: Peers<P::Buf>,
    death: death::Watch,
    seen: Seen,
    scan: Option<FlowScanJob>,
    plan: Plan,
    /// By port, what the last packet that was looked at was like, under that plan.
    models: Box<[Model; MAX_PORTS]>,
    /// What the last request was believed to claim, under the same configuration.
    claims: Option<Claims>,
    /// The way to the last reply's client, likewise.
    way: Option<Way>,
    /// Whether there is a fast path.
    fast: bool,
    /// Packets of the burst in work, between the stages.
    items: Box<[Item; BURST]>,
    /// The same of those that the fast path may be for.
    quick: Box<[Quick; BURST]>,
}

/// What maintenance has seen last.
#[derive(Debug, Default)]
struct Seen {
    revision: u64,
    swept_ms: u32,
    rounds: u32,
}

/// A flow scan that a command asked for.
#[derive(Debug)]
struct FlowScanJob {
    cursor: Cursor,
    left: u32,
    reply: Arc<ArrayQueue<FlowScan>>,
}

impl<P: PacketPool> Worker<P> {
    /// The worker called `id`. `seeds` are random per process: of the flow table, the fingerprints, and the bounded
    /// tables; every worker may have the same.
    #[must_use]
    pub fn new(
        id: WorkerId,
        reader: Reader<Aft>,
        shared: Arc<Shared>,
        peers: Peers<P::Buf>,
        seeds: [u64; 4],
    ) -> Self {
        let config = Arc::clone(&reader.get().config);
        let limits = &config.limits;
        let slots = usize::from(limits.instances);
        let mut own = Own {
            id,
            flows: FlowTable::new(&config.flows, seeds[0]),
            residency: Overlay::new(limits.overlay_signatures as usize),
            loads: LoadOverlay::new(slots),
            keys: SenderKeys::new(limits.sender_keys),
            verifier: Verifier::new().map(Box::new),
            admit: Admit::new(&config.admit, limits.classes, seeds[1]),
            errors: ErrorBudget::new(config.admit.errors_per_s),
            handovers: ErrorBudget::new(config.admit.errors_per_s),
            replay: ReplayGuard::new(limits, &config.dispatch, seeds[2]),
            scratch: Scratch::new(slots, usize::from(limits.classes)),
            charges: Charges::new(slots),
            fingerprint: Fingerprint::new(seeds[3]),
            counters: LocalCounters::default(),
            pushed: 0,
            timeouts: Timeouts::new(&config.flows, &config.dispatch),
        };
        for table in Table::ALL {
            let bytes = table.bytes_of(&own) as u64;
            own.counters.set(Figure::TableBytes(*table), bytes);
        }
        let plan = Plan::new(&config, own.verifier.as_deref());
        Self {
            reader,
            shared,
            own,
            peers,
            death: death::Watch::default(),
            seen: Seen {
                revision: config.revision,
                ..Seen::default()
            },
            scan: None,
            plan,
            models: Box::new([Model::NOTHING; MAX_PORTS]),
            claims: None,
            way: None,
            fast: true,
            items: Box::new([Item::NOTHING; BURST]),
            quick: Box::new([Quick::NOTHING; BURST]),
        }
    }

    /// From now on every packet goes through every stage. For tests and benches that hold the fast path against the whole.
    pub fn forgo_fast_path(&mut self) {
        self.fast = false;
    }

    /// The worker's counts so far.
    #[must_use]
    pub fn counters(&self) -> &LocalCounters {
        &self.own.counters
    }

    /// The same, to add what only the loop around the worker knows.
    pub fn counters_mut(&mut self) -> &mut LocalCounters {
        &mut self.own.counters
    }

    /// The worker's flows.
    #[must_use]
    pub fn flows(&self) -> &FlowTable {
        &self.own.flows
    }

    /// The generation in use.
    #[must_use]
    pub fn generation(&self) -> &Aft {
        self.reader.get()
    }

    /// Passes the quiescent point: takes up a newer generation if there is one. Once a round of the loop.
    #[inline]
    pub fn begin(&mut self) {
        if !self.reader.has_newer() {
            return;
        }
        let own = &mut self.own;
        own.charges
            .tell(&self.shared.inflight, &mut own.scratch.standing);
        if self.reader.refresh() {
            let aft = self.reader.get();
            own.loads.retire(aft, own.id);
            own.scratch.standing.forget();
            own.counters.set(Figure::Epoch, self.reader.epoch());
            if aft.config.revision != self.seen.revision {
                self.seen.revision = aft.config.revision;
                self.plan = Plan::new(&aft.config, own.verifier.as_deref());
                self.models.fill(Model::NOTHING);
                self.claims = None;
                self.way = None;
                own.timeouts = Timeouts::new(&aft.config.flows, &aft.config.dispatch);
                own.admit.configure(&aft.config.admit);
                own.errors.configure(aft.config.admit.errors_per_s);
                own.handovers.configure(aft.config.admit.errors_per_s);
                own.replay.configure(&aft.config.dispatch);
            }
        }
    }

    /// Takes a burst that came by `port` its way. `packets` is empty afterwards.
    pub fn burst<E: Egress<P::Buf>>(
        &mut self,
        now: Now,
        port: PortIx,
        packets: &mut Burst<P::Buf>,
        egress: &mut E,
        pool: &mut P,
    ) {
        let count = packets.len();
        let bytes = self.run(now, port, packets, egress, pool, true);
        self.count(port, count, bytes);
    }

    #[inline(always)]
    fn count(&mut self, port: PortIx, packets: usize, bytes: usize) {
        let counters = &mut self.own.counters;
        counters.add(Figure::RxPackets(port), packets as u64);
        counters.add(Figure::RxBytes(port), bytes as u64);
    }

    /// Counts a burst as received by `port`.
    #[inline]
    pub fn count_received(&mut self, port: PortIx, packets: &Burst<P::Buf>) {
        let bytes: usize = packets.iter().map(|p| p.data().len()).sum();
        self.count(port, packets.len(), bytes);
    }

    /// As [`Self::burst`], for packets that are counted already.
    pub fn counted_burst<E: Egress<P::Buf>>(
        &mut self,
        now: Now,
        port: PortIx,
        packets: &mut Burst<P::Buf>,
        egress: &mut E,
        pool: &mut P,
    ) {
        self.run(now, port, packets, egress, pool, true);
    }

    /// Returns the bytes that there were.
    fn run<E: Egress<P::Buf>>(
        &mut self,
        now: Now,
        port: PortIx,
        packets: &mut Burst<P::Buf>,
        egress: &mut E,
        pool: &mut P,
        may_hand_over: bool,
    ) -> usize {
        let aft = self.reader.get();
        let mut path = Path {
            aft,
            config: &aft.config,
            paths: &aft.path,
            shared: &self.shared,
            live: self.shared.live.words(),
            dispatches: &self.shared.counters[usize::from(self.own.id.0)],
            now,
            now_ms: now.mono_ms(),
            mono_s: now.mono_us / 1_000_000,
            unix_s: now.unix_s(),
            plan: &self.plan,
            mac: MacCheck::Unknown,
            way: self.way,
            claims: &mut self.claims,
            learned: false,
            macs_checked: false,
            found_at: self.own.flows.changes(),
            own: &mut self.own,
        };
        let quick = &mut *self.quick;
        let model = &mut self.models[usize::from(port.0) % MAX_PORTS];
        let recognised = path.recognise(port, packets, quick, model);
        if !self.fast {
            quick.fill(Quick::NOTHING);
        }
        let full = packets.is_full();
        let mut tally = Tally::default();
        let mut outs = Outs::default();
        let mut at = 0;
        while at < packets.len().min(BURST) {
            let kind = quick[at].shape.kind;
            let row = (kind, recognised.uniform);
            at = path.fast(row, packets, quick, at, &mut outs, &mut tally);
            let Some(packet) = packets.get_mut(at) else {
                break;
            };
            let one = &quick[at];
            if one.shape.kind != kind {
                continue;
            }
            // MACs are checked together, but not before it shows that there may be one to check.
            if !path.macs_checked && one.has_object() {
                path.check_macs(&packets[at..], &mut quick[at..]);
                continue;
            }
            let item = &mut self.items[at];
            let verdict = if one.shape.kind == Kind::Request {
                let task = path.fast_task(packet, port, one, item, &mut tally);
                task.unwrap_or_else(|| path.recognised(packet, port, one, item))
            } else {
                path.mac = MacCheck::Unknown;
                path.whole(packet, port, item)
            };
            if verdict == Verdict::Drop(DropReason::IcmpUnmatched, None)
                && item.target.is_service()
                && may_hand_over
            {
                path.hand_over(&self.peers, item, packet, pool);
            }
            at += 1;
            outs.tell(at, path.count(verdict).map_or(Out::NOWHERE, Out::by));
        }
        self.way = path.way;
        let own = &mut *path.own;
        tally.enter(&mut own.counters);
        own.charges
            .end_burst(full, &self.shared.inflight, &mut own.scratch.standing);
        outs.part(packets, egress);
        recognised.bytes
    }

    /// What is done between rounds: errors handed over by other workers, loads not told yet, ageing, clients of dead instances, commands,
    /// and copying out the counters.
    pub fn maintain<E: Egress<P::Buf>>(&mut self, now: Now, egress: &mut E, pool: &mut P) {
        self.take_handed(now, egress, pool);
        if self.own.loads.is_time_to_tell(now.mono_us) {
            self.tell_loads(now);
        }
        let own = &mut self.own;
        own.charges
            .end_round(&self.shared.inflight, &mut own.scratch.standing);
        own.flows.settle(SETTLED_BUCKETS);
        let now_ms = now.mono_ms();
        let elapsed_ms = now_ms.wrapping_sub(self.seen.swept_ms);
        if elapsed_ms > 0 {
            self.seen.swept_ms = now_ms;
            self.age(now_ms, elapsed_ms as usize);
            self.tell_the_bereaved(now, egress, pool);
            self.serve_commands();
        }
        self.seen.rounds += 1;
        if elapsed_ms > 0 || self.seen.rounds >= COPY_EVERY {
            self.copy_counters();
        }
    }

    /// Tells the control core of loads that it was not told of at once, a burst of them. [`Self::maintain`] does when it is
    /// time.
    #[inline(never)]
    pub fn tell_loads(&mut self, now: Now) {
        self.own.tell_loads(&self.shared, now.mono_us);
    }

    /// Copies the counters to where others read them.
    pub fn copy_counters(&mut self) {
        self.seen.rounds = 0;
        let own = &mut self.own;
        own.counters
            .set(Figure::FlowsUsed, u64::from(own.flows.len()));
        own.counters
            .set(Figure::FlowsCapacity, u64::from(own.flows.capacity()));
        own.counters.set(Figure::RingPushed, own.pushed);
        if let Some(shared) = self.shared.counters_of(own.id) {
            own.counters.copy_to(shared);
        }
    }

    fn take_handed<E: Egress<P::Buf>>(&mut self, now: Now, egress: &mut E, pool: &mut P) {
        let Some(inbox) = self.peers.inboxes.get(usize::from(self.own.id.0)) else {
            return;
        };
        if inbox.is_empty() {
            return;
        }
        let inbox = Arc::clone(inbox);
        for _ in 0..BURST {
            let Some((port, packet)) = inbox.pop() else {
                return;
            };
            self.own.counters.count(Figure::Handed);
            let mut one = Burst::new();
            one.push(packet);
            self.run(now, port, &mut one, egress, pool, false);
        }
    }

    /// Moves the ageing hand so far that a lap takes about a second.
    fn age(&mut self, now_ms: u32, elapsed_ms: usize) {
        let flows = &self.own.flows;
        let lap = flows.len() as usize + flows.capacity() as usize / 64;
        let budget = (elapsed_ms * (lap / 1_000 + 1)).min(MAX_STEPS);
        let aft = self.reader.get();
        let inflight = &self.shared.inflight;
        let mut expired = 0;
        self.own
            .flows
            .sweep(now_ms, budget, &self.own.timeouts, |aged| {
                let entry = match aged {
                    Aged::OpeningTimeout(entry) | Aged::AnswerTimeout(entry) => &*entry,
                    Aged::Expired(entry) => {
                        expired += 1;
                        entry
                    }
                };
                death::release(aft, inflight, entry);
            });
        self.own
            .counters
            .add(Figure::Note(MetadataNote::FlowExpired), expired);
    }

    /// Tells the clients of instances that died, as many as the error budget allows.
    fn tell_the_bereaved<E: Egress<P::Buf>>(&mut self, now: Now, egress: &mut E, pool: &mut P) {
        let Some(cursor) = self.death.cursor(&self.shared.live) else {
            return;
        };
        let aft = self.reader.get();
        let config = &aft.config;
        let (live, inflight) = (&self.shared.live, &self.shared.inflight);
        let Own {
            flows,
            errors,
            counters,
            ..
        } = &mut self.own;
        let resets = |class: crate::id::ClassIx| {
            config
                .classes
                .get(class)
                .is_some_and(|c| c.on_death == OnDeath::Reset)
        };
        let next = flows.scan_dead(
            cursor,
            MAX_STEPS,
            |entry| death::is_bereaved(entry, live) && resets(entry.class),
            |entry| {
                if death::is_unanswered(entry) {
                    death::release(aft, inflight, entry);
                    return Fate::Forget;
                }
                if !death::tell(entry, config, now, errors, counters, egress, pool) {
                    return Fate::Pause;
                }
                death::close(aft, inflight, entry);
                Fate::Keep
            },
        );
        self.death.go_on(next);
    }

    fn serve_commands(&mut self) {
        if self.scan.is_none() {
            let command = self
                .shared
                .commands
                .get(usize::from(self.own.id.0))
                .and_then(|commands| commands.pop());
            if let Some(WorkerCommand::ScanFlows {
                cursor,
                limit,
                reply,
            }) = command
            {
                self.scan = Some(FlowScanJob {
                    cursor: Cursor::at(cursor),
                    left: limit,
                    reply,
                });
            }
        }
        let Some(job) = &mut self.scan else {
            return;
        };
        let budget = (job.left as usize).min(MAX_STEPS / 16);
        let reply = &job.reply;
        let mut shown = 0;
        let next = self.own.flows.scan(job.cursor, budget, |entry| {
            shown += 1;
            // No room means that nobody waits for the answer any more.
            let _ = reply.push(FlowScan::Flow(*entry));
        });
        job.left = job.left.saturating_sub(shown);
        match next {
            Some(cursor) if job.left != 0 => job.cursor = cursor,
            _ => {
                let _ = job.reply.push(FlowScan::Done(next.map(Cursor::place)));
                self.scan = None;
            }
        }
    }
}

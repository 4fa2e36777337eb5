//! Workers on their configuration, and what comes of the packets they are given.

use std::sync::Arc;

use afr_dataplane::aft::epoch::Publish;
use afr_dataplane::aft::live::LiveState;
use afr_dataplane::aft::{Aft, Op};
use afr_dataplane::config::Config;
use afr_dataplane::counters::Figure;
use afr_dataplane::flow::Cursor;
use afr_dataplane::flow::FlowEntry;
use afr_dataplane::id::{ClassIx, Now, PortIx, Slot, WorkerId};
use afr_dataplane::message::Shared;
use afr_dataplane::packet::PacketBuf;
use afr_dataplane::path::{BURST, Burst, Egress};
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote, PuntReason};
use afr_dataplane::worker::{Peers, Worker};

use super::control_core::ControlCore;
use super::packet::{ACK, PSH, Packet, SYN, Upper};
use super::pool::{Buf, Pool};
use super::setup::{
    AFR, CLIENT, EDGE, EDGE_ROUTER, FABRIC, SID, Setup, UNIX_S, instance_mac, mac, tunnel_source,
};
use super::walker::{Ethernet, Ip};
use std::net::Ipv6Addr;

/// A frame that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) port: PortIx,
    pub(crate) frame: Vec<u8>,
}

impl Sent {
    pub(crate) fn ethernet(&self) -> Ethernet {
        Ethernet::of(&self.frame)
    }

    pub(crate) fn ip(&self) -> Ip {
        self.ethernet().ip
    }

    /// The number of the instance it was encapsulated to.
    pub(crate) fn instance(&self) -> u16 {
        let outer = self.ip();
        let sid = outer.destination.segments();
        assert_eq!((outer.protocol, sid[7]), (41, 0x100), "{outer:?}");
        sid[3]
    }
}

/// Collects what leaves.
#[derive(Debug, Default)]
struct Exit(Vec<Sent>);

impl Egress<Buf> for Exit {
    fn send(&mut self, port: PortIx, packet: Buf) {
        let frame = packet.data().to_vec();
        self.0.push(Sent { port, frame });
        packet.transmit();
    }
}

/// What came of some packets.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<Sent>,
    pub(crate) drops: Vec<(DropReason, u64)>,
    pub(crate) punts: Vec<(PuntReason, u64)>,
    pub(crate) notes: Vec<(MetadataNote, u64)>,
    pub(crate) forwarded: u64,
}

impl Outcome {
    /// The one frame that was forwarded, nothing else having happened.
    #[track_caller]
    pub(crate) fn forwarded(&self) -> &Sent {
        assert_eq!(self.forwarded, 1, "{self:?}");
        assert!(self.drops.is_empty() && self.punts.is_empty(), "{self:?}");
        self.only()
    }

    /// The one frame that left.
    #[track_caller]
    pub(crate) fn only(&self) -> &Sent {
        assert_eq!(self.sent.len(), 1, "{self:?}");
        &self.sent[0]
    }

    /// The one packet was dropped for `reason`, and nobody told.
    #[track_caller]
    pub(crate) fn dropped(&self, reason: DropReason) {
        assert_eq!(self.drops, [(reason, 1)], "{self:?}");
        assert!(self.sent.is_empty(), "{self:?}");
    }

    /// The one packet was dropped for `reason`, and this is what its sender was told.
    #[track_caller]
    pub(crate) fn refused(&self, reason: DropReason) -> &Sent {
        assert_eq!(self.drops, [(reason, 1)], "{self:?}");
        self.only()
    }

    /// The one packet was taken for `reason`.
    #[track_caller]
    pub(crate) fn punted(&self, reason: PuntReason) -> &Self {
        assert_eq!(self.punts, [(reason, 1)], "{self:?}");
        assert!(self.drops.is_empty() && self.forwarded == 0, "{self:?}");
        self
    }

    /// How often a note was made.
    pub(crate) fn noted(&self, note: MetadataNote) -> u64 {
        let found = self.notes.iter().find(|(noted, _)| *noted == note);
        found.map_or(0, |(_, count)| *count)
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) core: ControlCore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Vec<Worker<Pool>>,
    pub(crate) pool: Pool,
    pub(crate) now: Now,
    exit: Exit,
    /// Every frame that went in or came out, for those who want to keep them.
    pub(crate) seen: Vec<Seen>,
}

/// A frame that went in, and what came out for it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) mono_us: u64,
    pub(crate) port: PortIx,
    pub(crate) frame: Vec<u8>,
    pub(crate) sent: Vec<Sent>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let config = Arc::new(setup.config);
        let shared = Arc::new(Shared::new(&config.limits, setup.workers));
        let (core, readers) = ControlCore::new(&config, Arc::clone(&shared), setup.workers);
        let peers = Peers::new(setup.workers);
        let workers = (0_u16..)
            .zip(readers)
            .map(|(id, reader)| {
                let shared = Arc::clone(&shared);
                Worker::new(WorkerId(id), reader, shared, peers.clone(), [1, 2, 3, 4])
            })
            .collect();
        let mut world = Self {
            core,
            shared,
            workers,
            pool: Pool::new(setup.buffers),
            now: Now {
                mono_us: 100_000_000,
                unix_ms: u64::from(UNIX_S) * 1_000,
            },
            exit: Exit::default(),
            seen: Vec::new(),
        };
        for (slot, instance) in (0..).map(Slot).zip(setup.instances) {
            world.core.register(slot, instance);
        }
        world.settle();
        world
    }

    /// Everything said so far is in the generation that every worker has.
    pub(crate) fn settle(&mut self) {
        for worker in &mut self.workers {
            for _ in 0..=worker.generation().slots() / BURST {
                worker.tell_loads(self.now);
            }
        }
        self.core.drain(self.now);
        self.publish();
    }

    /// Publishes what is pending, without listening to the workers.
    pub(crate) fn publish(&mut self) {
        for _ in 0..4 {
            let published = self.core.publish(self.now);
            for worker in &mut self.workers {
                worker.begin();
            }
            if published == Publish::Idle {
                return;
            }
        }
        panic!("the operations do not go through");
    }

    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Setup)) {
        let mut setup = Setup::new(0);
        setup.config.revision = self.core.aft().config.revision + 1;
        change(&mut setup);
        self.core.reload(setup.config);
        self.settle();
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.core.aft().config)
    }

    pub(crate) fn aft(&self) -> &Aft {
        self.core.aft()
    }

    /// What instance `n` is believed to be, from now on.
    pub(crate) fn mark(&self, n: u16, state: LiveState) {
        self.core.mark(Slot(n - 1), state);
    }

    pub(crate) fn push(&mut self, op: Op) {
        self.core.push(op);
        self.settle();
    }

    /// Time passes: `ms` milliseconds, with maintenance in every one of them.
    pub(crate) fn pass(&mut self, ms: u64) -> Outcome {
        self.observe(|world| {
            for _ in 0..ms {
                world.now.mono_us += 1_000;
                world.now.unix_ms += 1;
                world.maintain();
            }
        })
    }

    /// Time passes and nobody notices.
    pub(crate) fn skip(&mut self, ms: u64) {
        self.now.mono_us += ms * 1_000;
        self.now.unix_ms += ms;
    }

    pub(crate) fn maintain(&mut self) {
        for worker in &mut self.workers {
            worker.begin();
            worker.maintain(self.now, &mut self.exit, &mut self.pool);
        }
    }

    /// Gives the first worker a packet.
    pub(crate) fn send(&mut self, port: PortIx, packet: &Packet) -> Outcome {
        self.receive(0, port, &[packet.frame()])
    }

    /// Gives the first worker a frame.
    pub(crate) fn raw(&mut self, port: PortIx, frame: &[u8]) -> Outcome {
        self.receive(0, port, &[frame.to_vec()])
    }

    /// Gives a worker a burst of frames.
    pub(crate) fn receive(
        &mut self,
        worker: usize,
        port: PortIx,
        frames: &[impl AsRef<[u8]>],
    ) -> Outcome {
        let mut burst: Burst<Buf> = frames
            .iter()
            .map(|frame| self.pool.receive(frame.as_ref()))
            .collect();
        let before = self.exit.0.len();
        let outcome = self.observe(|world| {
            let (now, pool, exit) = (world.now, &mut world.pool, &mut world.exit);
            world.workers[worker].burst(now, port, &mut burst, exit, pool);
        });
        assert!(burst.is_empty() && before == 0);
        if let [frame] = frames {
            self.seen.push(Seen {
                mono_us: self.now.mono_us,
                port,
                frame: frame.as_ref().to_vec(),
                sent: outcome.sent.clone(),
            });
        }
        outcome
    }

    /// Gives the first worker a buffer with so much room before the frame.
    pub(crate) fn cramped(&mut self, port: PortIx, packet: &Packet, headroom: usize) -> Outcome {
        let buf = self.pool.receive_with_headroom(&packet.frame(), headroom);
        self.one(port, buf)
    }

    /// Gives the first worker a frame that lies in several buffers.
    pub(crate) fn segmented(&mut self, port: PortIx, packet: &Packet) -> Outcome {
        let mut buf = self.pool.receive(&packet.frame());
        buf.segmented = true;
        self.one(port, buf)
    }

    fn one(&mut self, port: PortIx, buf: Buf) -> Outcome {
        let mut burst: Burst<Buf> = [buf].into_iter().collect();
        self.observe(|world| {
            let (now, pool, exit) = (world.now, &mut world.pool, &mut world.exit);
            world.workers[0].burst(now, port, &mut burst, exit, pool);
        })
    }

    /// What `work` makes of the counters and sends. Every packet is accounted for, and every buffer.
    pub(crate) fn observe(&mut self, work: impl FnOnce(&mut Self)) -> Outcome {
        let read = |world: &Self, figure: &dyn Fn(&Worker<Pool>) -> u64| -> u64 {
            world.workers.iter().map(figure).sum()
        };
        let drops = |world: &Self| {
            DropReason::ALL
                .iter()
                .map(|r| read(world, &|w| w.counters().figure(Figure::Drop(*r))))
                .collect::<Vec<_>>()
        };
        let punts = |world: &Self| {
            PuntReason::ALL
                .iter()
                .map(|r| read(world, &|w| w.counters().figure(Figure::Punt(*r))))
                .collect::<Vec<_>>()
        };
        let notes = |world: &Self| {
            MetadataNote::ALL
                .iter()
                .map(|r| read(world, &|w| w.counters().figure(Figure::Note(*r))))
                .collect::<Vec<_>>()
        };
        let forwarded = |world: &Self| read(world, &|w| w.counters().forwarded());
        let before = (drops(self), punts(self), notes(self), forwarded(self));
        work(self);
        fn grown<T: Copy>(all: &[T], before: &[u64], after: &[u64]) -> Vec<(T, u64)> {
            let counts = before.iter().zip(after).map(|(b, a)| a - b);
            let grown = all.iter().copied().zip(counts);
            grown.filter(|(_, count)| *count != 0).collect()
        }
        let outcome = Outcome {
            sent: std::mem::take(&mut self.exit.0),
            drops: grown(DropReason::ALL, &before.0, &drops(self)),
            punts: grown(PuntReason::ALL, &before.1, &punts(self)),
            notes: grown(MetadataNote::ALL, &before.2, &notes(self)),
            forwarded: forwarded(self) - before.3,
        };
        self.check();
        outcome
    }

    /// `received = forwarded + punted + dropped`, and the pool is full but for what workers handed each other.
    #[track_caller]
    pub(crate) fn check(&self) {
        for worker in &self.workers {
            let counters = worker.counters();
            let accounted = counters.forwarded() + counters.punted() + counters.dropped();
            assert_eq!(counters.received(), accounted);
        }
        let handed = self.pool.size() - self.pool.free();
        assert!(
            handed == 0 || self.workers.len() > 1,
            "{handed} buffers are missing"
        );
    }

    /// A figure of the first worker.
    pub(crate) fn figure(&self, figure: Figure) -> u64 {
        self.workers[0].counters().figure(figure)
    }

    /// Dispatches of a class for a reason, of all workers.
    pub(crate) fn dispatches(&self, class: ClassIx, why: DispatchReason) -> u64 {
        let counters = self.shared.counters.iter();
        counters.map(|c| c.dispatches_why(class, why)).sum()
    }

    /// Tokens in flight to instance `n`, by the newest generation.
    pub(crate) fn in_flight(&self, n: u16) -> u32 {
        let slot = Slot(n - 1);
        let base = self.aft().base_tokens[slot.index()];
        self.shared.inflight.in_flight(slot, base)
    }

    /// The first worker's flows.
    pub(crate) fn flows(&self) -> Vec<FlowEntry> {
        let mut flows = Vec::new();
        let table = self.workers[0].flows();
        table.scan(Cursor::START, usize::MAX, |entry| flows.push(*entry));
        flows
    }
}

/// A SYN from a client's port to a service.
pub(crate) fn syn(port: u16, destination: Ipv6Addr) -> Packet {
    Packet {
        to_mac: mac(EDGE),
        from_mac: EDGE_ROUTER,
        vlan: None,
        traffic_class: 0,
        flow_label: 0xBEEF,
        hop_limit: 60,
        source: CLIENT,
        destination,
        headers: Vec::new(),
        upper: Upper::Tcp {
            source: port,
            destination: 8_000,
            seq: 1_000,
            ack: 0,
            flags: SYN,
            options: vec![2, 4, 5, 0xA0, 1, 3, 3, 7],
            payload: Vec::new(),
        },
    }
}

/// The client's ACK that ends the handshake.
pub(crate) fn ack(port: u16, destination: Ipv6Addr, ack: u32) -> Packet {
    syn(port, destination).tcp(|tcp| {
        (*tcp.seq, *tcp.ack, *tcp.flags) = (1_001, ack, ACK);
        tcp.options.clear();
    })
}

/// The client's payload.
pub(crate) fn data(port: u16, destination: Ipv6Addr, ack_: u32) -> Packet {
    ack(port, destination, ack_).tcp(|tcp| {
        *tcp.flags = PSH | ACK;
        *tcp.payload = b"POST /v1/completions HTTP/1.1\r\n".to_vec();
    })
}

/// A datagram from a client's port to a service.
pub(crate) fn datagram(port: u16, destination: Ipv6Addr) -> Packet {
    Packet {
        upper: Upper::Udp {
            source: port,
            destination: 8_000,
            payload: b"a task".to_vec(),
        },
        ..syn(port, destination)
    }
}

/// A service's answer to a client's port: SYN and ACK.
pub(crate) fn reply(port: u16, service: Ipv6Addr) -> Packet {
    Packet {
        to_mac: mac(FABRIC),
        from_mac: instance_mac(1),
        source: service,
        destination: CLIENT,
        hop_limit: 64,
        upper: Upper::Tcp {
            source: 8_000,
            destination: port,
            seq: 5_000,
            ack: 1_001,
            flags: SYN | ACK,
            options: vec![2, 4, 5, 0xA0, 1, 3, 3, 7],
            payload: Vec::new(),
        },
        ..syn(port, service)
    }
}

/// The same in instance `n`'s tunnel to the AFR.
pub(crate) fn tunnelled_reply(n: u16, port: u16, service: Ipv6Addr) -> Packet {
    let mut packet = reply(port, service).tunnelled(tunnel_source(n), SID);
    packet.from_mac = instance_mac(n);
    packet
}

/// A report datagram of instance `n`.
pub(crate) fn report_datagram(n: u16, object: &[u8]) -> Packet {
    Packet {
        to_mac: mac(FABRIC),
        from_mac: instance_mac(n),
        source: tunnel_source(n),
        destination: AFR,
        upper: Upper::Udp {
            source: 40_000,
            destination: afr_wire::UDP_PORT,
            payload: object.to_vec(),
        },
        ..syn(0, AFR)
    }
}

impl Packet {
    /// As it would come by another port.
    pub(crate) fn by(mut self, port: PortIx) -> Self {
        self.to_mac = mac(port);
        self
    }

    /// From another source.
    pub(crate) fn from(mut self, source: Ipv6Addr) -> Self {
        self.source = source;
        self
    }
}

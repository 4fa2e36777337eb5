//! Steering between workers: rings by which a worker that received what is another's hands it over, a burst at a time.
//!
//! A ring from each worker to each other, one sender and one receiver. In a round a worker divides what its queues gave it
//! ([`Handoff::divide`]), works on its own part, and then takes at most a burst from every other worker
//! ([`Handoff::take_over`]). All of a flow takes one ring, in order. What a full ring refuses is dropped and counted
//! ([`DropReason::SteeringFull`]): a worker never waits for another.
//!
//! Where a port has fewer transmit queues than there are workers, those without one send through a ring to one that has
//! ([`Lanes`]), by the same means; what that refuses counts as refused by the port ([`Figure::TxFull`]).

use arrayvec::ArrayVec;
use dpdk::{Eal, Mbuf, RingError, RingReceiver, RingSender, SocketId, ring};

use crate::counters::{Figure, LocalCounters};
use crate::id::{PortIx, WorkerId};
use crate::path::{BURST, BURSTS_A_ROUND, Burst};
use crate::steer::Owners;
use crate::verdict::DropReason;

/// One worker's side of steering.
#[derive(Debug)]
pub struct Handoff {
    own: WorkerId,
    owners: Owners,
    /// By worker; not to itself.
    to: Vec<Option<Lane>>,
    from: Vec<RingReceiver>,
}

/// A ring to another worker, and what of the burst goes into it.
#[derive(Debug)]
struct Lane {
    ring: RingSender,
    waiting: Burst<Mbuf>,
}

impl Handoff {
    /// The sides of `workers` workers, in their order, with rings for `capacity` packets each. `seed` as for [`Owners`].
    ///
    /// # Errors
    ///
    /// No memory for the rings.
    pub fn mesh(eal: &Eal, workers: u16, capacity: u32, seed: u64) -> Result<Vec<Self>, RingError> {
        let owners = Owners::new(workers, seed);
        let side = |own| Self {
            own: WorkerId(own),
            owners: owners.clone(),
            to: Vec::new(),
            from: Vec::new(),
        };
        let mut sides: Vec<_> = (0..workers).map(side).collect();
        for from in 0..workers {
            for to in 0..workers {
                let mut lane = None;
                if from != to {
                    let name = format!("afr_steer_{from}_{to}");
                    let (sender, receiver) = ring(eal, &name, capacity, SocketId::ANY)?;
                    lane = Some(Lane {
                        ring: sender,
                        waiting: Burst::new(),
                    });
                    sides[usize::from(to)].from.push(receiver);
                }
                sides[usize::from(from)].to.push(lane);
            }
        }
        Ok(sides)
    }

    /// Takes out of `burst`, which came by `port`, what is other workers', and hands it over. The rest stays, in order.
    #[inline]
    pub fn divide(&mut self, port: PortIx, burst: &mut Burst<Mbuf>, counters: &mut LocalCounters) {
        let mut kept = Burst::<Mbuf>::new();
        for mut mbuf in burst.drain(..) {
            let owner = self.owners.of(mbuf.data()).unwrap_or(self.own);
            match self.to.get_mut(usize::from(owner.0)) {
                Some(Some(lane)) => {
                    mbuf.set_port(port.0.into());
                    // A burst at a time goes in, so there is room.
                    let _ = lane.waiting.try_push(mbuf);
                }
                _ => {
                    let _ = kept.try_push(mbuf);
                }
            }
        }
        *burst = kept;
        for lane in self.to.iter_mut().flatten() {
            if lane.waiting.is_empty() {
                continue;
            }
            let sent = lane.ring.send(&mut lane.waiting);
            counters.add(Figure::SteeredOut, sent as u64);
            refuse(
                &mut lane.waiting,
                counters,
                Figure::Drop(DropReason::SteeringFull),
            );
        }
    }

    /// Gives `f` what other workers handed over, of each as much as a round takes from a port, by the port it came by.
    #[inline]
    pub fn take_over(&mut self, mut f: impl FnMut(PortIx, &mut Burst<Mbuf>)) -> usize {
        let mut taken = 0;
        for ring in &mut self.from {
            taken += drain(ring, |mut packets| {
                // Workers hand over a port at a time, so these are few.
                while let Some(first) = packets.first() {
                    let port = first.port();
                    let run = packets.iter().take_while(|m| m.port() == port).count();
                    let mut burst: Burst<Mbuf> = packets.drain(..run).collect();
                    for mbuf in &burst {
                        mbuf.prefetch_data();
                    }
                    f(PortIx(port as u8), &mut burst);
                }
            });
        }
        taken
    }
}

/// A worker's rings for the transmit queues of ports that have fewer than there are workers.
#[derive(Debug, Default)]
pub struct Lanes {
    /// By port: the ring to a worker that has a queue, where this one has none.
    pub to: Vec<Option<RingSender>>,
    /// What other workers send through this one's queues.
    pub from: Vec<(PortIx, RingReceiver)>,
}

impl Lanes {
    /// The rings of `workers` workers, where the ports have so many queues, each for `capacity` packets.
    ///
    /// # Errors
    ///
    /// No memory for the rings.
    pub fn of(
        eal: &Eal,
        workers: u16,
        queues: &[u16],
        capacity: u32,
    ) -> Result<Vec<Self>, RingError> {
        let mut all: Vec<_> = (0..workers).map(|_| Self::default()).collect();
        for (port, &queues) in (0..).zip(queues) {
            for from in 0..workers {
                let mut lane = None;
                if from >= queues && queues != 0 {
                    let name = format!("afr_send_{port}_{from}");
                    let (sender, receiver) = ring(eal, &name, capacity, SocketId::ANY)?;
                    all[usize::from(from % queues)]
                        .from
                        .push((PortIx(port), receiver));
                    lane = Some(sender);
                }
                all[usize::from(from)].to.push(lane);
            }
        }
        Ok(all)
    }

    /// Gives `f` what other workers send through this one's queues, of each as much as a round takes from a port.
    #[inline]
    pub fn relay(&mut self, mut f: impl FnMut(PortIx, Mbuf)) {
        for (port, ring) in &mut self.from {
            drain(ring, |packets| {
                for mbuf in packets {
                    f(*port, mbuf);
                }
            });
        }
    }
}

/// Gives `f` bursts from the ring while they come full, [`BURSTS_A_ROUND`] at the most. Returns how many packets there were.
#[inline]
fn drain(ring: &mut RingReceiver, mut f: impl FnMut(Burst<Mbuf>)) -> usize {
    let mut taken = 0;
    for _ in 0..BURSTS_A_ROUND {
        let mut packets = Burst::<Mbuf>::new();
        let count = ring.receive(&mut packets);
        taken += count;
        f(packets);
        if count != BURST {
            break;
        }
    }
    taken
}

/// Drops and counts what a ring had no room for.
#[inline]
fn refuse(left: &mut ArrayVec<Mbuf, BURST>, counters: &mut LocalCounters, figure: Figure) {
    if !left.is_empty() {
        counters.add(figure, left.len() as u64);
        dpdk::free_burst(left);
    }
}

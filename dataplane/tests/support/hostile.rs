//! A world under hostile input: frames that are nothing, almost something, or something extreme, by every port, while
//! instances come and go. What must hold all the same is checked after every burst.

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::config::{EcnMode, Limits, NextHop, OnDeath, Path, PlainDispatch, PolicyKind};
use afr_dataplane::id::{PortIx, Slot};
use afr_dataplane::packet::PacketBuf;
use afr_dataplane::path::{BURST, Burst, Egress};
use afr_dataplane::steer::Owners;

use super::pool::{Buf, ROOM};
use super::setup::{CHAT, CODE, EDGE, FABRIC, Setup, WILD, mac};
use super::world::World;

/// Workers between which frames would be steered.
const STEERED: u16 = 3;
const OWNERS: Owners = Owners::new(STEERED, 9);

/// The ports that frames come by.
pub(crate) const PORTS: [PortIx; 3] = [EDGE, FABRIC, WILD];

/// A world in which most that can be switched on is; `variant` chooses among what excludes each other.
pub(crate) fn world(variant: u8) -> World {
    let mut setup = Setup::new(4).config(|config| {
        config.router.transit = true;
        config.router.mss_clamp = Some(1_200);
        config.router.punt_port = (variant & 1 != 0).then_some(WILD);
        config.accept_unauthenticated = variant & 2 != 0;
        config.flows.capacity = 256;
        // Small, so that a fuzzer makes many.
        config.limits = Limits {
            instances: 6,
            signatures: 256,
            overlay_signatures: 32,
            ring: 64,
            sender_keys: 16,
            sessions: 16,
            maglev: 101,
            ..config.limits
        };
        config.admit.sources = 16;
        config.admit.errors_per_s = 1_000_000;
        config.ports[1].vlan = (variant & 4 != 0).then_some(5);
    });
    (setup.workers, setup.buffers) = (2, 100);
    setup.class(CHAT).on_death = OnDeath::Reset;
    setup.class(CHAT).allow_bloom = true;
    setup.class(CHAT).objective_us = Some(1_000_000);
    setup.class(CODE).on_death = OnDeath::Rehash;
    setup.class(CODE).plain = PlainDispatch::Load;
    setup.class(CODE).policy = if variant & 8 != 0 {
        PolicyKind::Weighted
    } else {
        PolicyKind::LeastLoad
    };
    setup.instance(2).ecn = EcnMode::Normal;
    let next_hop = NextHop {
        port: FABRIC,
        mac: [2, 0x52, 0, 0, 0, 3],
    };
    setup.instance(3).path = Path::L2 { next_hop };
    World::new(setup)
}

/// In a step's first byte: worker, port, whether the frame's destination is left as it is, whether something else happens
/// before.
const WORKER: u8 = 0b1;
const PORT: u8 = 0b110;
const AS_IT_IS: u8 = 1 << 6;
const UPHEAVAL: u8 = 1 << 7;

/// One step of an input of [`run`]: a first byte, the frame's length in two, the frame.
pub(crate) fn step(port: PortIx, frame: &[u8]) -> Vec<u8> {
    let mut step = vec![port.0 << 1];
    step.extend((frame.len() as u16).to_be_bytes());
    step.extend(frame);
    step
}

/// Whatever bytes: the first chooses the world, the rest are steps as [`step`] makes them. What a fuzzer runs.
pub(crate) fn run(data: &[u8]) {
    let Some((variant, mut rest)) = data.split_first() else {
        return;
    };
    let mut world = world(*variant);
    while let Some(([how, high, low], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (frame, behind) = behind.split_at(len);
        rest = behind;
        let port = PORTS[usize::from(how & PORT) / 2 % PORTS.len()];
        let mut frame = frame[..len.min(ROOM)].to_vec();
        if how & AS_IT_IS == 0 && frame.len() >= 6 {
            frame[..6].copy_from_slice(&mac(port));
        }
        if how & UPHEAVAL != 0 {
            world.upheaval(*low);
        }
        world.blast(usize::from(how & WORKER), port, [&frame[..]]);
    }
    world.settle();
}

/// Looks at what leaves, and gives the buffer back.
struct Inspector(u64);

impl Egress<Buf> for Inspector {
    fn send(&mut self, port: PortIx, packet: Buf) {
        self.0 += 1;
        well_formed(port, packet.data());
    }
}

/// Whatever came in: what leaves is an Ethernet frame with an IPv6 packet in it that ends where the frame does.
fn well_formed(port: PortIx, frame: &[u8]) {
    if port == WILD && frame.get(6..12) != Some(&mac(port)[..]) {
        // Punted: the frame as it came.
        return;
    }
    assert_eq!(frame[6..12], mac(port), "from another address");
    let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    assert_eq!(frame[l3 - 2..l3], [0x86, 0xDD]);
    assert_eq!(frame[l3] >> 4, 6);
    let payload = u16::from_be_bytes([frame[l3 + 4], frame[l3 + 5]]);
    assert_eq!(l3 + 40 + usize::from(payload), frame.len());
    assert_ne!(frame[l3 + 7], 0, "hop limit");
}

impl World {
    /// Gives a worker a burst of frames, checks that each is accounted for, and lets the others have what was handed to
    /// them. Returns how many frames left.
    pub(crate) fn blast<'f>(
        &mut self,
        worker: usize,
        port: PortIx,
        frames: impl IntoIterator<Item = &'f [u8]>,
    ) -> u64 {
        let mut burst: Burst<Buf> = frames
            .into_iter()
            .take(BURST)
            .map(|frame| {
                // Whose a frame is, is asked of every frame where workers steer, before anything is known of it.
                let owner = OWNERS.of(frame);
                assert!(owner.is_none_or(|owner| owner.0 < STEERED));
                self.pool.receive(frame)
            })
            .collect();
        let mut inspector = Inspector(0);
        let now = self.now;
        self.workers[worker].begin();
        self.workers[worker].burst(now, port, &mut burst, &mut inspector, &mut self.pool);
        assert!(burst.is_empty());
        self.check();
        self.now.mono_us += 50;
        self.now.unix_ms += u64::from(self.now.mono_us.is_multiple_of(1_000));
        for worker in &mut self.workers {
            worker.maintain(self.now, &mut inspector, &mut self.pool);
        }
        self.check();
        assert_eq!(self.pool.free(), self.pool.size(), "buffers are missing");
        inspector.0
    }

    /// Something changes: who lives, what is registered, what is configured.
    pub(crate) fn upheaval(&mut self, what: u8) {
        let n = u16::from(what % 4) + 1;
        match what / 4 % 8 {
            0 => self.mark(n, LiveState::Down),
            1 => self.mark(n, LiveState::Draining),
            2 | 3 => self.mark(n, LiveState::Up),
            4 => {
                let mut next = super::setup::instance(n);
                next.incarnation.0 += 100 + u16::from(what);
                self.core.remove(Slot(n - 1));
                self.settle();
                self.core.register(Slot(n - 1), next);
            }
            5 => self.skip(20_000),
            _ => {}
        }
        self.settle();
    }
}

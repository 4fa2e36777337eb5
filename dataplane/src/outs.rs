//! Where the packets of a burst leave, told while they are worked on and acted on when all are done.

use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::path::{BURST, Burst, Egress};

/// Where one packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Out(u8);

impl Out {
    const NOWHERE: Self = Self(u8::MAX);

    /// By this port.
    #[inline(always)]
    pub(crate) const fn by(port: PortIx) -> Self {
        Self(port.0)
    }
}

/// The way out of each packet of a burst.
#[derive(Debug)]
pub(crate) struct Outs {
    ports: [Out; BURST],
}

impl Default for Outs {
    fn default() -> Self {
        Self {
            ports: [Out::NOWHERE; BURST],
        }
    }
}

impl Outs {
    /// Packet `at` leaves by `port`, or goes nowhere, as it does where nothing is said.
    #[inline(always)]
    pub(crate) fn set(&mut self, at: usize, port: Option<PortIx>) {
        self.ports[at % BURST] = port.map_or(Out::NOWHERE, Out::by);
    }

    /// Those of the packets from `at` on, to be set one after the other.
    #[inline(always)]
    pub(crate) fn from(&mut self, at: usize) -> &mut [Out] {
        self.ports.get_mut(at..).unwrap_or(&mut [])
    }

    /// Parts with the packets. Mostly all go the same way.
    #[inline(always)]
    pub(crate) fn part<B: PacketBuf, E: Egress<B>>(self, packets: &mut Burst<B>, egress: &mut E) {
        let first = self.ports[0];
        let used = &self.ports[..packets.len().min(BURST)];
        let differ = used.iter().fold(0, |differ, out| differ | out.0 ^ first.0);
        if differ == 0 {
            if first == Out::NOWHERE {
                egress.discard_all(packets);
            } else {
                egress.send_all(PortIx(first.0), packets);
            }
            return;
        }
        for (packet, out) in packets.drain(..).zip(self.ports) {
            if out == Out::NOWHERE {
                egress.discard(packet);
            } else {
                egress.send(PortIx(out.0), packet);
            }
        }
    }
}

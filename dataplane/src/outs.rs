//! Where the packets of a burst leave, told while they are worked on and acted on when all are done.

use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::path::{BURST, Burst, Egress};

/// Stands for no port.
const NOWHERE: u8 = u8::MAX;

/// The way out of each packet of a burst.
#[derive(Debug)]
pub(crate) struct Outs {
    ports: [u8; BURST],
}

impl Default for Outs {
    fn default() -> Self {
        Self {
            ports: [NOWHERE; BURST],
        }
    }
}

impl Outs {
    /// Packet `at` leaves by `port`, or goes nowhere, as it does where nothing is said.
    #[inline(always)]
    pub(crate) fn set(&mut self, at: usize, port: Option<PortIx>) {
        self.ports[at % BURST] = port.map_or(NOWHERE, |port| port.0);
    }

    /// Parts with the packets. Mostly all go the same way.
    #[inline(always)]
    pub(crate) fn part<B: PacketBuf, E: Egress<B>>(self, packets: &mut Burst<B>, egress: &mut E) {
        let first = self.ports[0];
        let used = &self.ports[..packets.len().min(BURST)];
        let differ = used.iter().fold(0, |differ, port| differ | port ^ first);
        if differ == 0 && first != NOWHERE {
            egress.send_all(PortIx(first), packets);
            return;
        }
        for (packet, port) in packets.drain(..).zip(self.ports) {
            if port == NOWHERE {
                egress.discard(packet);
            } else {
                egress.send(PortIx(port), packet);
            }
        }
    }
}

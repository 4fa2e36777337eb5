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
    /// All bits that any two of them differ in.
    differ: u8,
}

impl Default for Outs {
    fn default() -> Self {
        Self {
            ports: [NOWHERE; BURST],
            differ: 0,
        }
    }
}

impl Outs {
    /// Packet `at` leaves by `port`, or goes nowhere. To be said of each packet once, in order.
    #[inline(always)]
    pub(crate) fn set(&mut self, at: usize, port: Option<PortIx>) {
        let port = port.map_or(NOWHERE, |port| port.0);
        self.ports[at % BURST] = port;
        self.differ |= port ^ self.ports[0];
    }

    /// Parts with the packets. Mostly all go the same way.
    #[inline(always)]
    pub(crate) fn part<B: PacketBuf, E: Egress<B>>(self, packets: &mut Burst<B>, egress: &mut E) {
        if self.differ == 0 && self.ports[0] != NOWHERE {
            egress.send_all(PortIx(self.ports[0]), packets);
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

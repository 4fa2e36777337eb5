//! Where the packets of a burst leave, told while they are worked on and acted on when all are done.

use std::ops::Range;

use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::path::{BURST, Burst, Egress};

/// Where one packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Out(u8);

impl Out {
    /// By no port.
    pub(crate) const NOWHERE: Self = Self(u8::MAX);

    /// By this port.
    #[inline(always)]
    pub(crate) const fn by(port: PortIx) -> Self {
        Self(port.0)
    }
}

/// The way out of each packet of a burst.
#[derive(Debug)]
pub(crate) struct Outs {
    /// Packets told of.
    told: usize,
    /// Of the first packet, and of all while they do not differ.
    first: Out,
    differ: bool,
    /// Of each packet, once they do.
    each: [Out; BURST],
}

impl Default for Outs {
    fn default() -> Self {
        Self {
            told: 0,
            first: Out::NOWHERE,
            differ: false,
            each: [Out::NOWHERE; BURST],
        }
    }
}

impl Outs {
    /// The packets not told of yet, up to `end`, go this way.
    #[inline(always)]
    pub(crate) fn tell(&mut self, end: usize, out: Out) {
        let places = self.told..end;
        self.told = end;
        if places.start == 0 {
            self.first = out;
        } else if out != self.first {
            self.tell_others(places, out);
        }
    }

    #[inline(never)]
    fn tell_others(&mut self, places: Range<usize>, out: Out) {
        if places.is_empty() {
            return;
        }
        if !self.differ {
            self.differ = true;
            // And so do those after these, unless it is told otherwise.
            self.each.fill(self.first);
        }
        if let Some(each) = self.each.get_mut(places) {
            each.fill(out);
        }
    }

    /// Parts with the packets. Mostly all go the same way.
    #[inline(always)]
    pub(crate) fn part<B: PacketBuf, E: Egress<B>>(&self, packets: &mut Burst<B>, egress: &mut E) {
        debug_assert_eq!(self.told, packets.len(), "a packet was not told of");
        if !self.differ {
            if self.first == Out::NOWHERE {
                egress.discard_all(packets);
            } else {
                egress.send_all(PortIx(self.first.0), packets);
            }
            return;
        }
        for (packet, out) in packets.drain(..).zip(self.each) {
            if out == Out::NOWHERE {
                egress.discard(packet);
            } else {
                egress.send(PortIx(out.0), packet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::VecBuf;

    /// By each packet's number, where it went.
    #[derive(Default)]
    struct Gone(Vec<(u8, Option<u8>)>);

    impl Egress<VecBuf> for Gone {
        fn send(&mut self, port: PortIx, packet: VecBuf) {
            self.0.push((packet.data()[0], Some(port.0)));
        }

        fn discard(&mut self, packet: VecBuf) {
            self.0.push((packet.data()[0], None));
        }

        fn discard_all(&mut self, packets: &mut Burst<VecBuf>) {
            packets.drain(..).for_each(|packet| self.discard(packet));
        }
    }

    proptest! {
        /// However many are told of at a time.
        #[test]
        fn packets_go_where_it_was_told_in_order(
            runs in prop::collection::vec((0_usize..9, prop::option::of(0_u8..3)), 0..12),
        ) {
            let (mut outs, mut expected) = (Outs::default(), Vec::new());
            for (len, port) in runs {
                let end = (expected.len() + len).min(BURST);
                expected.extend((expected.len()..end).map(|number| (number as u8, port)));
                outs.tell(end, port.map_or(Out::NOWHERE, |port| Out::by(PortIx(port))));
            }
            let mut packets: Burst<VecBuf> = (0..expected.len())
                .map(|number| VecBuf::new(&[number as u8]))
                .collect();
            let mut gone = Gone::default();
            outs.part(&mut packets, &mut gone);
            prop_assert!(packets.is_empty());
            prop_assert_eq!(gone.0, expected);
        }
    }
}

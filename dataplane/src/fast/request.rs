//! A client's packet of an established flow whose metadata were verified before: to its instance.

use dpdk::vector::Level;

use super::claims::Claims;
use super::quick::{Quick, Shape, object, object_in};
use super::{MacCheck, Tally};
use crate::aft::{PathEntry, PathKind};
use crate::counters::Figure;
use crate::fingerprint::Fingerprint;
use crate::flow::{FlowEntry, FlowState};
use crate::id::PortIx;
use crate::packet::PacketBuf;
use crate::packet::bytes::be32;
use crate::packet::parse::{ETHERNET_LEN, IPV6_LEN, protocol};
use crate::packet::tcp::flag;
use crate::path::Path;
use crate::request::forward::label_in_place;
use crate::verdict::MetadataNote;

/// Segments with one of these change what is known of their flow.
const CONTROL: u8 = flag::SYN | flag::RST | flag::FIN;

/// What a segment says of how far its client is.
#[derive(Debug, Clone, Copy)]
struct Progress {
    acknowledges: Option<u32>,
    next: Option<u32>,
}

impl Path<'_> {
    /// Sends the packet on its way if it is such a one. `None`: the whole path is to decide, and the packet is as it was.
    ///
    /// `shape` is the packet's. `CHECKED`: MACs were, of this packet too if it has one, and its metadata may be others than
    /// those verified last. They must be known to be right then.
    #[inline(always)]
    pub(super) fn fast_request<B: PacketBuf, const CHECKED: bool>(
        &mut self,
        level: Level,
        buf: &mut B,
        quick: &Quick,
        shape: &Shape,
        tally: &mut Tally,
    ) -> Option<PortIx> {
        let frame = buf.data();
        let own = &mut *self.own;
        // As it was when MACs were checked.
        let is_found = CHECKED && quick.known && own.flows.changes() == self.found_at;
        let entry = own.flows.get_mut(quick.flow)?;
        let head = frame.first_chunk::<{ ETHERNET_LEN + IPV6_LEN }>()?;
        if head[21] <= 1 {
            return None;
        }
        let addresses = head[22..].first_chunk::<32>()?;
        if !is_found && !entry.is_of(addresses, quick.ports, shape.protocol) {
            return None;
        }
        let mut unchanged = 0;
        let mut is_changed = false;
        if shape.object_len != 0 {
            let print = if CHECKED {
                debug_assert!(quick.known, "its fingerprint was taken with its MAC");
                quick.print
            } else {
                let object = object_in(frame, shape)?;
                own.fingerprint.of(level, object)
            };
            let (last, usable) = Fingerprint::read(entry.fingerprint);
            if print == last {
                unchanged = u64::from(usable);
            } else if CHECKED && quick.mac == MacCheck::Right {
                is_changed = true;
            } else {
                return None;
            }
        }
        let (slot, incarnation) = entry.instance();
        let path = self.paths.get(slot.index())?;
        if !self.live.alive(slot, incarnation) || !path.takes(incarnation, quick.ip_len) {
            return None;
        }
        // Noted before the packet leaves, so that little is remembered meanwhile: it will leave.
        let progress = if shape.protocol == protocol::TCP {
            Some(Progress::of(entry, frame, shape.l4)?)
        } else {
            None
        };
        if (is_changed || progress.is_some()) && !has_room(buf, path) {
            return None;
        }
        let entry = if is_changed {
            // What it is charged was found for the flow that it was of then.
            let tokens = if is_found & quick.is_alike {
                Some(quick.tokens)
            } else {
                let time = (self.unix_s, self.config.dispatch.request_skew_s);
                Self::tokens_by_now(self.claims, object(frame, shape), time, entry.class)
            };
            if let Some(tokens) = tokens {
                entry.fingerprint = Fingerprint::mark(quick.print, true);
                entry.note_metadata();
                Self::note_believed(&mut own.counters, shape);
                if own.replay.charge_to(self.mono_s, quick.session) {
                    // The path is the slot's tenant's, and so is the flow.
                    own.charges.commit(&self.shared.inflight, slot, tokens);
                } else {
                    own.counters.count(Figure::Note(MetadataNote::Replayed));
                }
                entry
            } else {
                self.charge_other(quick, frame)?;
                self.own.flows.get_mut(quick.flow)?
            }
        } else {
            entry
        };
        if let Some(progress) = progress {
            progress.note(entry);
        }
        if !leave(buf, quick, path) {
            return None;
        }
        entry.touch(self.now_ms);
        tally.unchanged += unchanged;
        Some(path.port)
    }

    /// Takes note of what a request asks for whose MAC is right. Whatever it is, the flow stays: only what is malformed is
    /// dropped, and that is not for here.
    #[inline(never)]
    fn charge_other(&mut self, quick: &Quick, frame: &[u8]) -> Option<()> {
        let (flow, print) = (quick.flow, quick.print);
        let object = object(frame, &quick.shape);
        self.mac = MacCheck::Right;
        let kept = self.changed(&quick.origin(frame), flow, print, object);
        self.mac = MacCheck::Unknown;
        kept.ok()?;
        let entry = self.own.flows.entry(flow);
        let is_believed = Fingerprint::read(entry.fingerprint).1;
        let class = self.class(entry.class).filter(|_| is_believed);
        let claims = class.and_then(|class| Claims::of(object, entry.class, class));
        Claims::take_up(self.claims, claims);
        Some(())
    }
}

impl Progress {
    /// What the segment says, if it changes nothing else of its flow.
    #[inline(always)]
    fn of(entry: &FlowEntry, frame: &[u8], l4: u16) -> Option<Self> {
        let l4 = frame.get(usize::from(l4)..)?;
        let tcp = l4.first_chunk::<20>()?;
        let header_len = usize::from(tcp[12] >> 4) * 4;
        let settled = entry.state() == FlowState::Established && entry.opening_tokens() == 0;
        if header_len < 20 || header_len > l4.len() || tcp[13] & CONTROL != 0 || !settled {
            return None;
        }
        let payload = l4.len() - header_len;
        let acknowledges = (tcp[13] & flag::ACK != 0).then(|| be32(tcp, 8));
        if acknowledges.is_some_and(|acknowledges| entry.is_answered_by(acknowledges)) {
            return None;
        }
        Some(Self {
            acknowledges,
            next: (payload != 0).then(|| be32(tcp, 4).wrapping_add(payload as u32)),
        })
    }

    #[inline(always)]
    fn note(self, entry: &mut FlowEntry) {
        if let Some(acknowledges) = self.acknowledges {
            entry.last_ack = acknowledges;
        }
        if let Some(next) = self.next {
            entry.note_sent(next);
        }
    }
}

/// Whether the packet has room for the headers to leave with.
#[inline(always)]
fn has_room<B: PacketBuf>(buf: &B, path: &PathEntry) -> bool {
    path.kind != PathKind::Encap || buf.has_headroom(IPV6_LEN)
}

/// Gives the packet the headers to leave with. `false`: there is no room for them, and nothing was changed.
#[inline(always)]
pub(super) fn leave<B: PacketBuf>(buf: &mut B, quick: &Quick, path: &PathEntry) -> bool {
    if path.kind == PathKind::Encap {
        let label = label_in_place(quick.hash);
        path.header.encapsulate(buf, quick.ip_len, label, path.ecn)
    } else {
        path.header.readdress(buf);
        true
    }
}

//! When an instance dies: its flows are found in bounded slices, and their clients told by a TCP RST.
//!
//! A client that waits for its first token sends nothing, so it would wait for ever: the RST goes out by itself, with
//! the client's last acknowledgement as its sequence number, which the client accepts (RFC 9293 §3.10.7.4). A later
//! segment of the flow is answered with SEQ = SEG.ACK (§3.10.7.1). A client whose SYN was never answered has
//! acknowledged nothing and would ignore such a RST, but it sends its SYN again: that one is dispatched anew.

use crate::aft::Aft;
use crate::aft::inflight::Inflight;
use crate::aft::live::Live;
use crate::config::Config;
use crate::counters::{Figure, LocalCounters};
use crate::flow::{Cursor, FlowEntry, FlowState, Pin};
use crate::id::Now;
use crate::packet::encap::{EthernetOut, readdress};
use crate::packet::parse::{ETHERNET_LEN, protocol};
use crate::packet::tcp::{self, Ends, Reset};
use crate::packet::{PacketBuf, PacketPool};
use crate::path::Egress;
use crate::request::admit::ErrorBudget;
use crate::verdict::MetadataNote;

/// Notices deaths and keeps the place of the walk over the flows.
#[derive(Debug, Default)]
pub struct Watch {
    changes: u64,
    cursor: Option<Cursor>,
}

impl Watch {
    /// Where the walk goes on; from the start after every change of who is alive; `None` where nothing is to be done.
    pub fn cursor(&mut self, live: &Live) -> Option<Cursor> {
        let changes = live.changes();
        if changes != self.changes {
            self.changes = changes;
            self.cursor = Some(Cursor::START);
        }
        self.cursor
    }

    /// Notes how far the walk came.
    pub fn go_on(&mut self, next: Option<Cursor>) {
        self.cursor = next;
    }
}

/// Whether the flow's instance is dead and its client does not know yet.
#[must_use]
pub fn is_bereaved(entry: &FlowEntry, live: &Live) -> bool {
    let Pin::Instance(slot, incarnation) = entry.pin() else {
        return false;
    };
    entry.proto() == protocol::TCP
        && !entry.death_told()
        && entry.state() != FlowState::Reset
        && !live.alive(slot, incarnation)
}

/// Gives back what a flow was charged that ends, or that goes on without its instance.
pub fn release(aft: &Aft, inflight: &Inflight, entry: &FlowEntry) {
    let Pin::Instance(slot, incarnation) = entry.pin() else {
        return;
    };
    if aft.incarnation(slot) != incarnation {
        return;
    }
    if let tokens @ 1.. = entry.opening_tokens() {
        inflight.release(slot, tokens);
    }
    if entry.waits() {
        inflight.answered(slot);
    }
}

/// The client of a flow that goes on waits no longer for its first answer, if it did.
pub fn stop_waiting(aft: &Aft, inflight: &Inflight, entry: &mut FlowEntry) {
    if entry.end_waiting()
        && let Pin::Instance(slot, incarnation) = entry.pin()
        && aft.incarnation(slot) == incarnation
    {
        inflight.answered(slot);
    }
}

/// Whether the flow's client has never acknowledged anything: no RST that could be sent would be heeded.
#[must_use]
pub fn is_unanswered(entry: &FlowEntry) -> bool {
    entry.state() == FlowState::Opening && entry.last_ack == 0
}

/// Sends the flow's client a RST, if there is a way to it. `false`: not now, for want of budget or of a buffer.
pub fn tell<P: PacketPool, E: Egress<P::Buf>>(
    entry: &FlowEntry,
    config: &Config,
    now: Now,
    errors: &mut ErrorBudget,
    counters: &mut LocalCounters,
    egress: &mut E,
    pool: &mut P,
) -> bool {
    let key = entry.key();
    let client = u128::from_be_bytes(key.src);
    let ends = Ends {
        source: u128::from_be_bytes(key.dst),
        destination: client,
        source_port: key.dport,
        destination_port: key.sport,
    };
    let reset = Reset {
        seq: entry.last_ack,
        ack: None,
    };
    let Some(route) = config.route(client) else {
        return true;
    };
    if !errors.take(now.mono_us) {
        return false;
    }
    let Some(mut packet) = pool.alloc() else {
        return false;
    };
    let out = route.next_hop.port;
    let port = config.ports.get(usize::from(out.0));
    let ethernet = EthernetOut {
        destination: route.next_hop.mac,
        source: port.map_or([0; 6], |p| p.mac),
        vlan: port.and_then(|p| p.vlan),
    };
    if tcp::write_reset(&mut packet, &ends, reset) {
        let len = packet.data().len() - ETHERNET_LEN;
        if readdress(&mut packet, ETHERNET_LEN, len, &ethernet) {
            counters.count(Figure::Note(MetadataNote::ResetSent));
            counters.count(Figure::Originated);
            egress.send(out, packet);
        }
    }
    true
}

/// Marks a flow whose client was told: it holds no charge any more, answers what the client still sends, and a SYN
/// opens a new one.
pub fn close(aft: &Aft, inflight: &Inflight, entry: &mut FlowEntry) {
    release(aft, inflight, entry);
    let _ = entry.take_opening();
    let _ = entry.end_waiting();
    entry.note_death_told();
    entry.set_state(FlowState::Reset);
}

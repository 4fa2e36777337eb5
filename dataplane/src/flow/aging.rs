//! Flows that end without saying so.
//!
//! A hand goes round the table a few steps a burst, so that ageing costs every burst a little and none much. It finds
//! flows whose client fell silent, charges of flows that were opened but sent no payload (the instance has no
//! work from those, however long they live), and clients that wait for an answer for ever.
//!
//! One lap takes `flows + vacant / 64` steps. To notice an overdue charge within a second, the budgets of a second
//! should add up to that.

use super::entry::{FlowEntry, FlowState, TCP};
use super::table::{Cursor, FlowTable, Step};
use crate::config::{Dispatch, Flows};

/// How long flows and charges live, in milliseconds. Meaningful below 2^31 (24 days).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Idle TCP with payload.
    pub tcp_idle_ms: u32,
    /// Idle TCP before its first payload.
    pub tcp_opening_ms: u32,
    /// TCP after the client's FIN or a RST.
    pub tcp_closing_ms: u32,
    /// Everything else, idle.
    pub other_idle_ms: u32,
    /// Charges of opened flows without payload.
    pub charge_ms: u32,
}

/// Who has waited for so long for an answer does not tell what its instance has to do any more: it may never have finished its
/// request.
const ANSWER_MS: u32 = 60_000;

impl Timeouts {
    /// The configured ones.
    #[must_use]
    pub fn new(flows: &Flows, dispatch: &Dispatch) -> Self {
        Self {
            tcp_idle_ms: flows.tcp_idle_ms,
            tcp_opening_ms: flows.tcp_opening_ms,
            tcp_closing_ms: flows.tcp_closing_ms,
            other_idle_ms: flows.other_idle_ms,
            charge_ms: u32::try_from(dispatch.opening_timeout_us / 1_000).unwrap_or(u32::MAX),
        }
    }

    /// Whether nothing was heard of the flow for as long as its state allows.
    #[inline]
    #[must_use]
    pub const fn is_idle(&self, entry: &FlowEntry, now_ms: u32) -> bool {
        let limit_ms = if entry.proto() == TCP {
            match entry.state() {
                FlowState::Opening => self.tcp_opening_ms,
                FlowState::Established => self.tcp_idle_ms,
                FlowState::ClientClosing | FlowState::Reset => self.tcp_closing_ms,
            }
        } else {
            self.other_idle_ms
        };
        entry.age_ms(now_ms) >= limit_ms
    }

    /// Whether a SYN on this entry opens a new flow: it is closing, or idle and not yet swept. Otherwise the SYN is a
    /// retransmission.
    #[inline]
    #[must_use]
    pub const fn syn_reopens(&self, entry: &FlowEntry, now_ms: u32) -> bool {
        entry.state().is_closing() || self.is_idle(entry, now_ms)
    }

    const fn is_charge_overdue(&self, entry: &FlowEntry, now_ms: u32) -> bool {
        entry.opening_tokens() != 0 && entry.age_ms(now_ms) >= self.charge_ms
    }
}

/// Whether a client has waited for too long to count.
const fn is_answer_overdue(entry: &FlowEntry, now_ms: u32) -> bool {
    entry.waits() && entry.age_ms(now_ms) >= ANSWER_MS
}

/// What the hand came upon.
#[derive(Debug)]
pub enum Aged<'a> {
    /// A charge waited too long for the flow's first payload. Its tokens are the callee's to release; the entry's
    /// charge ends with the call, the flow itself lives on.
    OpeningTimeout(&'a mut FlowEntry),
    /// A client waits for its first answer for longer than says anything. That it waits is the callee's to take back; the
    /// entry's mark ends with the call, the flow itself lives on.
    AnswerTimeout(&'a mut FlowEntry),
    /// A flow was idle for too long and is gone. A charge it still had is the callee's to release.
    Expired(&'a FlowEntry),
}

/// What becomes of an entry that [`FlowTable::scan_dead`] has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed.
    Forget,
    /// It stays for now, and the walk pauses at it: the callee has no budget left to deal with it.
    Pause,
}

impl FlowTable {
    /// Moves the hand on by at most `budget` steps (a step is a flow, or up to 64 vacant places) and tells `f` what it
    /// comes upon.
    pub fn sweep(
        &mut self,
        now_ms: u32,
        budget: usize,
        timeouts: &Timeouts,
        mut f: impl FnMut(Aged<'_>),
    ) {
        self.shrink();
        let mut budget = budget;
        let mut turned = false;
        loop {
            match self.step(self.ageing_hand, &mut budget) {
                Step::Flow(flow) => {
                    self.ageing_hand = flow.next();
                    let entry = self.entry_mut(flow);
                    if timeouts.is_charge_overdue(entry, now_ms) {
                        // Packets since the charge did not count (see `FlowEntry::touch`), so the flow itself gets the
                        // benefit of the doubt: idle from here.
                        f(Aged::OpeningTimeout(entry));
                        let _ = entry.take_opening();
                        entry.touch(now_ms);
                    } else if is_answer_overdue(entry, now_ms) && !timeouts.is_idle(entry, now_ms) {
                        f(Aged::AnswerTimeout(entry));
                        let _ = entry.end_waiting();
                    } else if timeouts.is_idle(entry, now_ms) {
                        f(Aged::Expired(&self.remove(flow)));
                    }
                }
                Step::Pause(hand) => {
                    self.ageing_hand = hand;
                    return;
                }
                Step::End => {
                    self.ageing_hand = Cursor::START;
                    if std::mem::replace(&mut turned, true) {
                        return;
                    }
                }
            }
        }
    }

    /// Walks the flows of an instance that is gone, or any others that `predicate` picks, from `cursor` on for at most
    /// `budget` steps, and does with each what `f` says.
    ///
    /// Returns where to go on, `None` at the end. A charge of a forgotten flow is `f`'s to release.
    pub fn scan_dead(
        &mut self,
        cursor: Cursor,
        budget: usize,
        predicate: impl Fn(&FlowEntry) -> bool,
        mut f: impl FnMut(&mut FlowEntry) -> Fate,
    ) -> Option<Cursor> {
        let mut cursor = cursor;
        let mut budget = budget;
        loop {
            let flow = match self.step(cursor, &mut budget) {
                Step::Flow(flow) => flow,
                Step::Pause(cursor) => return Some(cursor),
                Step::End => return None,
            };
            cursor = flow.next();
            let entry = self.entry_mut(flow);
            if predicate(entry) {
                match f(entry) {
                    Fate::Keep => {}
                    Fate::Forget => {
                        self.remove(flow);
                    }
                    Fate::Pause => return Some(flow.here()),
                }
            }
        }
    }
}

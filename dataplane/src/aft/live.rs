//! Which instances may be used, effective at once on every worker.
//!
//! A generation of the AFT is up to a publish interval old; death and drain of an instance must not wait that long.
//! So each slot has one word beside the generations, written by the control core and read by every worker. The word
//! also names the [`Incarnation`]: a worker whose generation still shows the slot's former tenant sees that the word
//! is not about the instance it means, and a flow pinned to the former tenant is not taken for alive.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::id::{Incarnation, Slot};

/// What may be sent to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LiveState {
    /// No instance has the slot.
    Absent,
    /// Registered, but believed dead: nothing.
    Down,
    /// Everything.
    Up,
    /// The packets of its flows, no new flows.
    Draining,
}

const REGISTERED: u32 = 1 << 16;
const UP: u32 = 1 << 17;
const DRAINING: u32 = 1 << 18;
const FLAGS: u32 = REGISTERED | UP | DRAINING;

impl LiveState {
    const fn flags(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Down => REGISTERED,
            Self::Up => REGISTERED | UP,
            Self::Draining => REGISTERED | UP | DRAINING,
        }
    }

    const fn from_flags(flags: u32) -> Self {
        if flags & REGISTERED == 0 {
            Self::Absent
        } else if flags & UP == 0 {
            Self::Down
        } else if flags & DRAINING == 0 {
            Self::Up
        } else {
            Self::Draining
        }
    }
}

/// What a slot's word is while this incarnation is in this state: the incarnation in the low half, flags in the high.
#[inline(always)]
const fn word_of(incarnation: Incarnation, state: LiveState) -> u32 {
    incarnation.0 as u32 | state.flags()
}

/// One word a slot.
#[derive(Debug)]
pub struct Live {
    words: Vec<AtomicU32>,
    /// A bit a slot: whether its tenant of the moment takes new flows.
    accepting: Vec<AtomicU64>,
    changes: AtomicU64,
}

/// The words of all slots.
#[derive(Debug, Clone, Copy)]
pub struct LiveWords<'a>(&'a [AtomicU32]);

impl LiveWords<'_> {
    /// [`Live::alive`].
    #[inline(always)]
    #[must_use]
    pub fn alive(self, slot: Slot, incarnation: Incarnation) -> bool {
        self.word(slot) & !DRAINING == word_of(incarnation, LiveState::Up)
    }

    #[inline(always)]
    fn word(self, slot: Slot) -> u32 {
        let word = self.0.get(slot.index());
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Live {
    /// `slots` slots, all absent.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            words: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            accepting: (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            changes: AtomicU64::new(0),
        }
    }

    /// From now on the slot is `incarnation`'s, in `state`. Slots beyond the size are ignored.
    pub fn set(&self, slot: Slot, incarnation: Incarnation, state: LiveState) {
        if let Some(word) = self.words.get(slot.index()) {
            // Relaxed: the one word says it all, nothing else has to be seen with it.
            word.store(word_of(incarnation, state), Ordering::Relaxed);
            let bit = 1 << (slot.0 % 64);
            let accepting = &self.accepting[slot.index() / 64];
            if state == LiveState::Up {
                accepting.fetch_or(bit, Ordering::Relaxed);
            } else {
                accepting.fetch_and(!bit, Ordering::Relaxed);
            }
            // Release: who sees the count sees the word.
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// The words, to ask which instances are alive.
    #[inline]
    #[must_use]
    pub fn words(&self) -> LiveWords<'_> {
        LiveWords(&self.words)
    }

    /// How often a word was set: when it has grown, an instance may have died.
    #[inline]
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether the slot's tenant of the moment takes new flows.
    ///
    /// Of a tenant taken from a generation ask [`Self::accepts_new`], which cannot mistake one tenant for the next.
    #[inline]
    #[must_use]
    pub fn usable_for_new(&self, slot: Slot) -> bool {
        self.word(slot) & FLAGS == LiveState::Up.flags()
    }

    /// Which of the 64 slots from 64·`word` on have a tenant that takes new flows. Whether it is the tenant that a
    /// generation means is for [`Self::accepts_new`] to say of the one that is chosen.
    #[inline]
    #[must_use]
    pub fn accepting(&self, word: usize) -> u64 {
        self.accepting
            .get(word)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Whether this tenant of the slot takes new flows.
    #[inline]
    #[must_use]
    pub fn accepts_new(&self, slot: Slot, incarnation: Incarnation) -> bool {
        self.word(slot) == word_of(incarnation, LiveState::Up)
    }

    /// Whether flows of this tenant go on: it is up, draining or not.
    #[inline]
    #[must_use]
    pub fn alive(&self, slot: Slot, incarnation: Incarnation) -> bool {
        self.words().alive(slot, incarnation)
    }

    /// The state of the slot's tenant of the moment.
    #[inline]
    #[must_use]
    pub fn state(&self, slot: Slot) -> LiveState {
        LiveState::from_flags(self.word(slot))
    }

    /// The slot's tenant of the moment, or the last one.
    #[inline]
    #[must_use]
    pub fn incarnation(&self, slot: Slot) -> Incarnation {
        Incarnation(self.word(slot) as u16)
    }

    #[inline]
    fn word(&self, slot: Slot) -> u32 {
        self.words().word(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [LiveState; 4] = [
        LiveState::Absent,
        LiveState::Down,
        LiveState::Up,
        LiveState::Draining,
    ];

    #[test]
    fn each_state_permits_what_it_says() {
        let live = Live::new(2);
        let (slot, tenant) = (Slot(1), Incarnation(u16::MAX));
        for state in STATES {
            live.set(slot, tenant, state);
            assert_eq!(live.state(slot), state);
            assert_eq!(live.incarnation(slot), tenant);
            assert_eq!(live.usable_for_new(slot), state == LiveState::Up);
            assert_eq!(live.accepts_new(slot, tenant), state == LiveState::Up);
            assert_eq!(
                live.alive(slot, tenant),
                matches!(state, LiveState::Up | LiveState::Draining)
            );
            assert_eq!(live.state(Slot(0)), LiveState::Absent);
        }
    }

    #[test]
    fn a_former_tenant_is_not_taken_for_the_next() {
        let live = Live::new(1);
        live.set(Slot(0), Incarnation(8), LiveState::Up);
        assert!(!live.alive(Slot(0), Incarnation(7)));
        assert!(!live.accepts_new(Slot(0), Incarnation(7)));
        assert!(live.usable_for_new(Slot(0)));
    }

    #[test]
    fn a_slot_out_of_range_is_absent() {
        let live = Live::new(1);
        live.set(Slot(9), Incarnation(0), LiveState::Up);
        assert_eq!(live.state(Slot(9)), LiveState::Absent);
        assert!(!live.alive(Slot(9), Incarnation(0)));
    }
}

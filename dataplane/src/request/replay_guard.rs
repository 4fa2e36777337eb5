//! Bounds what a captured request is worth to whoever replays it.
//!
//! A request stays fresh for as long as the skew, and verifies from any port. So each (sender, session) gets a limited
//! number of *charged* dispatches in a window of the skew's length. Exits: within the limit, the dispatch is charged
//! and learned from; beyond, the flow goes the deterministic way, uncharged, and no residency is learned.
//!
//! The window slides: charges are counted in eighths of it, the present one and the eight before, so that no window of
//! that length holds more than the limit, wherever it begins.

use dpdk::vector::Level;

use super::assoc::{Assoc, Placed, Secret, Stamped};
use crate::config;
use crate::flow::FlowSeeds;

/// Parts of a window that are counted apart.
const PARTS: u64 = 8;

/// Counters: a window that begins inside a part touches one part more.
const COUNTERS: usize = PARTS as usize + 1;

/// Charged dispatches of the sessions that one worker has heard lately.
#[derive(Debug)]
pub struct ReplayGuard {
    sessions: Assoc<Session, Charges>,
    /// What fingerprints of sessions depend on.
    seeds: FlowSeeds,
    limit: u32,
    part_s: u64,
    /// Of the time asked for last: dividing takes longer than all else.
    at: At,
}

/// The part that a time is in, and the place of its counter.
#[derive(Debug, Clone, Copy)]
struct At {
    time_s: u64,
    part: u32,
    counter: u32,
}

impl At {
    /// Of no time.
    const NONE: Self = Self {
        time_s: u64::MAX,
        part: 0,
        counter: 0,
    };
}

impl ReplayGuard {
    /// A guard over [`config::Limits::sessions`] sessions at least, the one unheard for longest forgotten. All memory is
    /// taken here. `seed` is random per process.
    #[must_use]
    pub fn new(limits: &config::Limits, dispatch: &config::Dispatch, seed: u64) -> Self {
        let mut this = Self {
            sessions: Assoc::new(limits.sessions, seed),
            seeds: FlowSeeds::new(seed.rotate_left(29)),
            limit: 0,
            part_s: 1,
            at: At::NONE,
        };
        this.configure(dispatch);
        this
    }

    /// Takes limit and skew from a reloaded configuration. With another skew, sessions start afresh.
    pub fn configure(&mut self, dispatch: &config::Dispatch) {
        self.limit = u32::from(dispatch.replay_limit);
        self.part_s = u64::from(dispatch.request_skew_s).div_ceil(PARTS).max(1);
        self.at = At::NONE;
    }

    /// Whether one more dispatch of `session` by `sender` is charged; if so it is counted. `now_s` may be of
    /// any clock, always the same.
    pub fn charge(&mut self, now_s: u64, sender: u128, session: u64) -> bool {
        self.charge_to(now_s, self.fingerprint(sender, session))
    }

    /// The same for a session whose fingerprint is taken.
    #[inline(always)]
    pub(crate) fn charge_to(&mut self, now_s: u64, session: Session) -> bool {
        if self.at.time_s != now_s {
            // From 1 on: a place whose latest part is 0 is nobody's, and makes room before anybody's does.
            let part = (now_s / self.part_s) as u32 + 1;
            self.at = At {
                time_s: now_s,
                part,
                counter: part % COUNTERS as u32,
            };
        }
        let charges = self.sessions.entry(session);
        let mut counter = self.at.counter as usize;
        if charges.part != self.at.part {
            counter = charges.advance(self.at.part);
        }
        let within = u32::from(charges.total) < self.limit;
        if within {
            charges.count(counter);
        }
        within
    }

    /// Brings nearer what [`Self::charge_to`] will read.
    #[inline]
    pub(crate) fn prefetch(&self, session: Session) {
        self.sessions.prefetch(&session);
    }

    /// The fingerprint of a sender's session.
    pub(crate) fn fingerprint(&self, sender: u128, session: u64) -> Session {
        self.fingerprint_of(Level::here(), &sender.to_be_bytes(), session)
    }

    /// The same of a sender's address as it is in a packet.
    #[inline(always)]
    pub(crate) fn fingerprint_of(&self, level: Level, sender: &[u8; 16], session: u64) -> Session {
        // 0 is nobody's.
        Session(self.seeds.of(level, sender, &[0; 16], session).max(1))
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.sessions.memory_bytes()
    }

    /// Sessions that can be told apart at once.
    #[must_use]
    pub fn session_capacity(&self) -> usize {
        self.sessions.capacity()
    }
}

/// A sender's session: a keyed fingerprint of both, so that a set of four is two cache lines. That two are taken for one is
/// as unlikely as with what "verified before" rests on ([`crate::fingerprint::Fingerprint`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Session(u64);

impl Session {
    /// What no session has.
    pub(crate) const NOBODYS: Self = Self(0);
}

/// It is a keyed hash already.
impl Placed for Session {
    #[inline]
    fn place(&self, _: &Secret) -> u64 {
        self.0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Charges {
    /// The latest part counted in.
    part: u32,
    /// The sum of what follows, which is never more than the limit, a `u16`.
    total: u16,
    /// By part, modulo their number.
    counts: [u16; COUNTERS],
}

const _: () = assert!(size_of::<(Session, Charges)>() == 32);

impl Charges {
    /// Forgets what is older than a window that ends in `part`. Says which counter is the latest part's.
    #[inline(never)]
    fn advance(&mut self, part: u32) -> usize {
        let span = COUNTERS as u32;
        if part > self.part {
            for passed in 1..=(part - self.part).min(span) {
                let counter = self.part.wrapping_add(passed) as usize % COUNTERS;
                self.total -= std::mem::take(&mut self.counts[counter]);
            }
            self.part = part;
        } else if part.saturating_add(span) < self.part {
            // The clock was set back by more than a window, or the parts became longer.
            *self = Self {
                part,
                ..Self::default()
            };
        }
        // Set back by less: what is counted now counts as of the latest part.
        self.part as usize % COUNTERS
    }

    #[inline(always)]
    fn count(&mut self, counter: usize) {
        if let Some(count) = self.counts.get_mut(counter) {
            *count += 1;
            self.total += 1;
        }
    }
}

impl Stamped for Charges {
    fn stamp(&self) -> u64 {
        u64::from(self.part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 1_790_000_000;

    fn guard(sessions: u32, replay_limit: u16, request_skew_s: u32) -> ReplayGuard {
        let limits = config::Limits {
            sessions,
            ..config::Limits::default()
        };
        ReplayGuard::new(&limits, &dispatch(replay_limit, request_skew_s), 7)
    }

    fn dispatch(replay_limit: u16, request_skew_s: u32) -> config::Dispatch {
        config::Dispatch {
            replay_limit,
            request_skew_s,
            ..config::Dispatch::default()
        }
    }

    #[test]
    fn who_is_another_sender_has_charges_of_its_own() {
        let mut guard = guard(4_096, 1, 10);
        // Also those that differ in one half of the address while the other is 0.
        let senders = || (0..200_u128).flat_map(|n| [n, n << 64, n << 64 | 7]);
        let distinct: std::collections::HashSet<u128> = senders().collect();
        let charged = senders().filter(|sender| guard.charge(NOW_S, *sender, 1));
        assert_eq!(charged.count(), distinct.len());
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit(
            limit in 0..6_u16,
            skew_s in 1..200_u32,
            gaps_s in proptest::collection::vec(prop_oneof![Just(0), 0..30_u64, 0..500_u64], 1..200),
        ) {
            let mut guard = guard(16, limit, skew_s);
            let mut now_s = NOW_S;
            let mut charged_s: Vec<u64> = Vec::new();
            for gap_s in gaps_s {
                now_s += gap_s;
                let part_s = u64::from(skew_s).div_ceil(PARTS);
                let longest_s = part_s * COUNTERS as u64;
                let within = |window_s| charged_s.iter().filter(|&&at| now_s - at < window_s).count();
                let (strict, lenient) = (within(u64::from(skew_s)), within(longest_s));
                if guard.charge(now_s, 1, 1) {
                    assert!(strict < usize::from(limit), "one too many");
                    charged_s.push(now_s);
                } else {
                    assert!(lenient >= usize::from(limit), "refused without need");
                }
            }
        }
    }

    #[test]
    fn sessions_and_senders_are_counted_apart() {
        let mut guard = guard(64, 3, 120);
        for (sender, session) in [(1, 1), (1, 2), (2, 1), (0, 0)] {
            for _ in 0..3 {
                assert!(guard.charge(NOW_S, sender, session));
            }
            assert!(!guard.charge(NOW_S, sender, session));
        }
        assert!(!guard.charge(NOW_S + 120, 1, 1));
        assert!(guard.charge(NOW_S + 140, 1, 1));
    }

    #[test]
    fn nobody_is_forgotten_while_there_is_room() {
        // From the first second of the clock on.
        for now_s in [0, NOW_S] {
            let mut guard = guard(4, 1, 120);
            for charged in [true, false] {
                for session in 0..4 {
                    assert_eq!(guard.charge(now_s, 9, session), charged, "{session}");
                }
            }
        }
    }

    #[test]
    fn the_session_unheard_for_longest_is_forgotten() {
        // One set.
        let mut guard = guard(4, 1, 120);
        assert_eq!(guard.session_capacity(), 4);
        for session in 0..4 {
            assert!(guard.charge(NOW_S + 14 * session, 9, session));
        }
        // The first is heard again, so the second is the one that makes room.
        assert!(!guard.charge(NOW_S + 60, 9, 0));
        assert!(guard.charge(NOW_S + 60, 9, 4));
        for session in [0, 2, 3, 4] {
            assert!(!guard.charge(NOW_S + 61, 9, session), "{session}");
        }
        assert!(guard.charge(NOW_S + 61, 9, 1));
    }

    #[test]
    fn a_clock_set_back_neither_frees_nor_blocks_for_long() {
        let mut guard = guard(4, 2, 120);
        assert!(guard.charge(NOW_S, 1, 1));
        assert!(guard.charge(NOW_S - 30, 1, 1));
        assert!(!guard.charge(NOW_S - 30, 1, 1));
        // Charged as of now, not as of then.
        assert!(!guard.charge(NOW_S + 119, 1, 1));
        assert!(guard.charge(NOW_S - 3_600, 1, 1));
    }

    #[test]
    fn another_configuration_takes_effect() {
        let mut guard = guard(4, 1, 120);
        assert!(guard.charge(NOW_S, 1, 1));
        assert!(!guard.charge(NOW_S, 1, 1));
        guard.configure(&dispatch(2, 120));
        assert!(guard.charge(NOW_S, 1, 1));
        // Longer parts have smaller numbers.
        guard.configure(&dispatch(1, 1_200));
        assert!(guard.charge(NOW_S, 1, 1));
        assert!(!guard.charge(NOW_S, 1, 1));
        guard.configure(&dispatch(0, 1_200));
        assert!(!guard.charge(NOW_S, 2, 2));
    }
}

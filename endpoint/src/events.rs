//! What an instance's KV store holds, and which of it the next report tells.
//!
//! Reports may be lost and have little room. So each outlet (datagrams, replies) first tells what is new since its last
//! report, then goes round what is held, a few prefixes at a time: whatever was lost is told again one round later.

use std::collections::{HashMap, VecDeque};

use afr_wire::{Event, EventOp, List, MAX_EVENTS_DATAGRAM, Prefix, Signature};

/// Events remembered as news. An outlet that falls further behind is told the rest by the rounds.
const MAX_NEWS: usize = 4096;

/// Says nothing: no prompt is 16,776,960 tokens deep, so no instance holds this one. For reports that must have an event.
pub const NOTHING_EVICTED: Event = Event {
    op: EventOp::Evicted,
    prefix: Prefix {
        depth: u16::MAX,
        signature: Signature([0; 4]),
    },
};

/// The prefixes held, and the latest changes.
#[derive(Clone, Debug, Default)]
pub struct EventFeed {
    /// In no order, so that going round costs no search.
    held: Vec<Prefix>,
    /// Where in `held` each is.
    place: HashMap<Prefix, usize>,
    news: VecDeque<Event>,
    /// How many events came before the first of `news`.
    forgotten: u64,
}

/// How far one outlet has told the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    told: u64,
    round: usize,
}

impl Cursor {
    /// Nothing told yet.
    pub const START: Self = Self { told: 0, round: 0 };
}

impl EventFeed {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many prefixes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes note of a change. What changes nothing (stored twice, evicted while not held) is no news.
    pub fn push(&mut self, event: Event) {
        let changed = match event.op {
            EventOp::Stored => self.hold(event.prefix),
            EventOp::Evicted => self.drop_held(event.prefix),
        };
        if !changed {
            return;
        }
        if self.news.len() == MAX_NEWS {
            self.news.pop_front();
            self.forgotten += 1;
        }
        self.news.push_back(event);
    }

    fn hold(&mut self, prefix: Prefix) -> bool {
        let is_new = !self.place.contains_key(&prefix);
        if is_new {
            self.place.insert(prefix, self.held.len());
            self.held.push(prefix);
        }
        is_new
    }

    fn drop_held(&mut self, prefix: Prefix) -> bool {
        let Some(place) = self.place.remove(&prefix) else {
            return false;
        };
        self.held.swap_remove(place);
        if let Some(moved) = self.held.get(place) {
            self.place.insert(*moved, place);
        }
        true
    }

    /// Whether there is something that the outlet has not told yet.
    #[must_use]
    pub fn has_news(&self, cursor: &Cursor) -> bool {
        cursor.told < self.forgotten + self.news.len() as u64
    }

    /// At most `room` events for the next report of an outlet: news first, then the next of what is held, none of
    /// these twice.
    pub fn fill(&self, cursor: &mut Cursor, room: usize) -> List<Event, MAX_EVENTS_DATAGRAM> {
        let room = room.min(MAX_EVENTS_DATAGRAM);
        let mut events = List::new();
        let mut skip = cursor.told.saturating_sub(self.forgotten) as usize;
        cursor.told = self.forgotten + skip as u64;
        while events.len() < room {
            let Some(event) = self.news.get(skip) else {
                break;
            };
            skip += 1;
            cursor.told += 1;
            // Outlets go at their own pace and one AFR may hear several: an overtaken change must not be told.
            let holds = self.place.contains_key(&event.prefix);
            if holds == (event.op == EventOp::Stored) {
                // There is room: the loop's condition.
                let _ = events.push(*event);
            }
        }
        for _ in 0..self.held.len().min(room - events.len()) {
            cursor.round = if cursor.round + 1 < self.held.len() {
                cursor.round + 1
            } else {
                0
            };
            if let Some(prefix) = self.held.get(cursor.round) {
                let _ = events.push(Event {
                    op: EventOp::Stored,
                    prefix: *prefix,
                });
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn prefix(n: u16) -> Prefix {
        Prefix {
            depth: n + 1,
            signature: Signature([n as u8; 4]),
        }
    }

    fn stored(n: u16) -> Event {
        Event {
            op: EventOp::Stored,
            prefix: prefix(n),
        }
    }

    fn evicted(n: u16) -> Event {
        Event {
            op: EventOp::Evicted,
            prefix: prefix(n),
        }
    }

    #[test]
    fn news_come_first_and_once_in_their_order() {
        let mut feed = EventFeed::new();
        (0..5).for_each(|n| feed.push(stored(n)));
        let mut cursor = Cursor::default();
        assert!(feed.has_news(&cursor));
        assert_eq!(
            *feed.fill(&mut cursor, 3),
            [stored(0), stored(1), stored(2)]
        );
        feed.push(evicted(0));
        let second = feed.fill(&mut cursor, 3);
        assert_eq!(*second, [stored(3), stored(4), evicted(0)]);
        assert!(!feed.has_news(&cursor));
    }

    #[test]
    fn rounds_tell_all_that_is_held() {
        let mut feed = EventFeed::new();
        (0..10).for_each(|n| feed.push(stored(n)));
        feed.push(evicted(4));
        let mut cursor = Cursor::default();
        feed.fill(&mut cursor, 176);
        let told: HashSet<Prefix> = (0..3)
            .flat_map(|_| feed.fill(&mut cursor, 3).to_vec())
            .map(|event| event.prefix)
            .collect();
        assert_eq!(told.len(), 9);
        assert!(!told.contains(&prefix(4)));
    }

    #[test]
    fn what_was_overtaken_is_not_told() {
        let mut feed = EventFeed::new();
        let mut slow = Cursor::default();
        feed.push(stored(1));
        feed.push(evicted(1));
        assert_eq!(*feed.fill(&mut slow, 12), [evicted(1)]);
    }

    #[test]
    fn an_outlet_left_behind_catches_up_by_rounds() {
        let mut feed = EventFeed::new();
        let count = MAX_NEWS as u16 + 100;
        (0..count).for_each(|n| feed.push(stored(n)));
        let mut cursor = Cursor::default();
        assert_eq!(feed.fill(&mut cursor, 1)[0], stored(100));
        let mut told = HashSet::new();
        for _ in 0..2 * usize::from(count) / MAX_EVENTS_DATAGRAM + 2 {
            let events = feed.fill(&mut cursor, MAX_EVENTS_DATAGRAM);
            told.extend(events.iter().map(|event| event.prefix.depth));
        }
        assert_eq!(told.len(), usize::from(count));
    }

    proptest! {
        /// However changes and reports interleave, a receiver that misses none knows exactly what is held.
        #[test]
        fn a_receiver_ends_with_what_is_held(
            steps in prop::collection::vec((0_u16..30, any::<bool>(), 0_usize..6), 0..200),
        ) {
            let mut feed = EventFeed::new();
            let mut cursor = Cursor::default();
            let mut known = HashSet::new();
            let mut learn = |events: &[Event]| {
                for event in events {
                    match event.op {
                        EventOp::Stored => known.insert(event.prefix),
                        EventOp::Evicted => known.remove(&event.prefix),
                    };
                }
            };
            for (n, store, room) in steps {
                feed.push(if store { stored(n) } else { evicted(n) });
                learn(&feed.fill(&mut cursor, room));
            }
            while feed.has_news(&cursor) {
                learn(&feed.fill(&mut cursor, 8));
            }
            let held: HashSet<Prefix> = feed.held.iter().copied().collect();
            prop_assert_eq!(known, held);
        }
    }
}

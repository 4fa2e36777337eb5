//! The highest rate held: doubled until one is not, then the space between halved.

/// Lowest rate that is tried.
const LEAST_PER_S: f64 = 1.0;
/// Highest rate that is tried: no contender gets near it on one machine.
const MOST_PER_S: f64 = 100_000.0;

/// A search. A rate that fails is tried once more, for something else may have disturbed it, and counts as not held if it
/// fails again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    next_per_s: f64,
    has_failed: bool,
    held_per_s: Option<f64>,
    not_held_per_s: Option<f64>,
    ratio: f64,
}

impl Search {
    /// Begins at a rate, and ends when the highest rate held and the lowest that is not differ by no more than `ratio`.
    #[must_use]
    pub(super) const fn new(first_per_s: f64, ratio: f64) -> Self {
        Self {
            next_per_s: first_per_s,
            has_failed: false,
            held_per_s: None,
            not_held_per_s: None,
            ratio,
        }
    }

    /// The rate to try next; none when the search is over.
    #[must_use]
    pub(super) fn next(&self) -> Option<f64> {
        let is_near = match (self.held_per_s, self.not_held_per_s) {
            (Some(held), Some(not)) => not / held <= self.ratio,
            _ => false,
        };
        let is_possible = (LEAST_PER_S..=MOST_PER_S).contains(&self.next_per_s);
        (!is_near && is_possible).then_some(self.next_per_s)
    }

    /// Tells what came of the rate that was tried.
    pub(super) fn tell(&mut self, is_held: bool) {
        let rate = self.next_per_s;
        if is_held {
            self.held_per_s = Some(rate);
        } else if !self.has_failed {
            self.has_failed = true;
            return;
        } else {
            self.not_held_per_s = Some(rate);
        }
        self.has_failed = false;
        self.next_per_s = match (self.held_per_s, self.not_held_per_s) {
            (Some(held), Some(not)) => (held * not).sqrt(),
            (Some(held), None) => held * 2.0,
            (None, _) => rate / 2.0,
        };
    }

    /// The highest rate held so far.
    #[must_use]
    pub(super) const fn held(&self) -> Option<f64> {
        self.held_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search where everything up to `limit` is held, and how many rates it tried.
    fn search(first: f64, limit: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(first, 1.1);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.tell(rate <= limit);
            tried += 1;
        }
        (search.held(), tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for limit in [3.0, 50.0, 777.0, 12_345.0] {
            let (held, tried) = search(50.0, limit);
            let held = held.unwrap();
            assert!(held <= limit && limit < held * 1.1, "{held} for {limit}");
            assert!(tried < 25, "{tried}");
        }
    }

    #[test]
    fn it_ends_where_nothing_or_everything_is_held() {
        assert_eq!(search(50.0, 0.0).0, None);
        assert!(search(50.0, f64::INFINITY).0.unwrap() > MOST_PER_S / 2.0);
    }

    #[test]
    fn one_failure_is_forgiven() {
        let mut search = Search::new(100.0, 1.1);
        search.tell(false);
        assert_eq!(search.next(), Some(100.0));
        search.tell(true);
        assert_eq!((search.next(), search.held()), (Some(200.0), Some(100.0)));
        search.tell(false);
        search.tell(false);
        assert_eq!(search.held(), Some(100.0));
        assert!(search.next().unwrap() < 200.0);
    }
}

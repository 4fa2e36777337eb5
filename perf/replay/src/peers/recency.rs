//! What was sent where, remembered within a bound, the least recently used forgotten first: what routers go by that hear
//! nothing of the engines' caches.

use std::collections::{BTreeMap, HashMap};

use crate::workload::Block;

/// The blocks that one instance is believed to hold.
#[derive(Debug)]
pub struct Recency {
    capacity: usize,
    stamps: HashMap<u64, u64>,
    oldest: BTreeMap<u64, u64>,
    next: u64,
}

impl Recency {
    /// For so many blocks.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            stamps: HashMap::new(),
            oldest: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many of `blocks`, from the first on, are believed to be held.
    #[must_use]
    pub fn matched(&self, blocks: &[Block]) -> usize {
        let held = |block: &&Block| self.stamps.contains_key(&block.key);
        blocks.iter().take_while(held).count()
    }

    /// A request with these blocks was sent. Of a prompt, the end is forgotten before the beginning.
    pub fn sent(&mut self, blocks: &[Block]) {
        for block in blocks.iter().rev() {
            self.next += 1;
            if let Some(old) = self.stamps.insert(block.key, self.next) {
                self.oldest.remove(&old);
            }
            self.oldest.insert(self.next, block.key);
        }
        while self.stamps.len() > self.capacity {
            if let Some((_, key)) = self.oldest.pop_first() {
                self.stamps.remove(&key);
            }
        }
    }

    /// The instance said that it has evicted these.
    pub fn forget(&mut self, blocks: &[Block]) {
        for block in blocks {
            if let Some(stamp) = self.stamps.remove(&block.key) {
                self.oldest.remove(&stamp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::workload;

    #[test]
    fn the_least_recently_sent_is_forgotten_from_its_end() {
        let jobs = workload(&[(1_024, &[1, 2]), (1_024, &[3, 4]), (512, &[5])]).jobs;
        let mut recency = Recency::new(4);
        recency.sent(&jobs[0].blocks);
        recency.sent(&jobs[1].blocks);
        recency.sent(&jobs[0].blocks);
        recency.sent(&jobs[2].blocks);
        let matched = jobs.iter().map(|job| recency.matched(&job.blocks));
        assert_eq!(matched.collect::<Vec<_>>(), [2, 1, 1]);
        recency.forget(&jobs[0].blocks[..1]);
        assert_eq!(recency.matched(&jobs[0].blocks), 0);
    }
}

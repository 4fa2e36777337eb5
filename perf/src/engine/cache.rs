//! The KV store: a fixed number of blocks, some shared as a prefix cache.
//!
//! A block is *reserved* while a sequence writes to it, *referenced* while sequences use it as part of their prompt, and
//! *idle* when none does; idle ones are evicted, least recently used first, when room is needed. A sequence references a
//! chain of blocks from the first on and gives them back from the last on, so that of a chain the end goes first and no
//! block is held whose predecessors are not.

use std::collections::{BTreeMap, HashMap};

use afr_wire::{Event, EventOp, Prefix};

/// A whole block of a prompt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Names the block and all before it.
    pub key: u64,
    /// The same on the wire.
    pub prefix: Prefix,
}

/// There are not so many blocks that nobody uses.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} blocks wanted, {available} not in use")]
pub struct NoRoom {
    /// Blocks asked for.
    pub wanted: u32,
    /// Blocks free or idle.
    pub available: u32,
}

#[derive(Debug)]
struct Entry {
    prefix: Prefix,
    references: u32,
    /// Key in `idle`; meaningful while `references` is 0.
    stamp: u64,
}

/// The store. Its events tell what enters and leaves the cache, in order.
#[derive(Debug)]
pub struct PrefixCache {
    capacity: u32,
    entries: HashMap<u64, Entry>,
    /// Idle blocks by when they were last used.
    idle: BTreeMap<u64, u64>,
    reserved: u32,
    next_stamp: u64,
    events: Vec<Event>,
}

impl PrefixCache {
    /// An empty store of so many blocks.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            idle: BTreeMap::new(),
            reserved: 0,
            next_stamp: 0,
            events: Vec::new(),
        }
    }

    /// Blocks in all.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Blocks that sequences use: referenced or reserved.
    #[must_use]
    pub fn active(&self) -> u32 {
        (self.entries.len() - self.idle.len()) as u32 + self.reserved
    }

    /// Blocks held as a prefix cache, referenced or idle.
    #[must_use]
    pub fn cached(&self) -> u32 {
        self.entries.len() as u32
    }

    /// How many of `blocks`, from the first on, are held.
    #[must_use]
    pub fn held_prefix(&self, blocks: &[Block]) -> usize {
        blocks
            .iter()
            .take_while(|block| self.entries.contains_key(&block.key))
            .count()
    }

    /// References blocks that are held; others are passed over.
    pub fn reference(&mut self, blocks: &[Block]) {
        for block in blocks {
            if let Some(entry) = self.entries.get_mut(&block.key) {
                if entry.references == 0 {
                    self.idle.remove(&entry.stamp);
                }
                entry.references += 1;
            }
        }
    }

    /// Reserves blocks to write to, evicting idle ones as needed.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing is reserved or evicted then.
    pub fn reserve(&mut self, count: u32) -> Result<(), NoRoom> {
        let available = self.capacity - self.active();
        if count > available {
            return Err(NoRoom {
                wanted: count,
                available,
            });
        }
        let free = self.capacity - self.cached() - self.reserved;
        for _ in free..count {
            self.evict_oldest();
        }
        self.reserved += count;
        Ok(())
    }

    /// Turns one reserved block into one that is cached and referenced. Where another sequence was faster, its block is
    /// referenced and the reserved one is free.
    pub fn store(&mut self, block: Block) {
        self.reserved -= 1;
        match self.entries.get_mut(&block.key) {
            Some(_) => self.reference(&[block]),
            None => {
                let entry = Entry {
                    prefix: block.prefix,
                    references: 1,
                    stamp: 0,
                };
                self.entries.insert(block.key, entry);
                self.events.push(Event {
                    op: EventOp::Stored,
                    prefix: block.prefix,
                });
            }
        }
    }

    /// Gives back references to `blocks`, and blocks reserved and not stored.
    pub fn release(&mut self, blocks: &[Block], reserved: u32) {
        self.reserved -= reserved;
        for block in blocks.iter().rev() {
            let Some(entry) = self.entries.get_mut(&block.key) else {
                continue;
            };
            entry.references -= 1;
            if entry.references == 0 {
                entry.stamp = self.next_stamp;
                self.idle.insert(self.next_stamp, block.key);
                self.next_stamp += 1;
            }
        }
    }

    /// Evicts every idle block.
    pub fn clear(&mut self) {
        while self.evict_oldest() {}
    }

    fn evict_oldest(&mut self) -> bool {
        let Some((_, key)) = self.idle.pop_first() else {
            return false;
        };
        if let Some(entry) = self.entries.remove(&key) {
            self.events.push(Event {
                op: EventOp::Evicted,
                prefix: entry.prefix,
            });
        }
        true
    }

    /// What was stored and evicted since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afr_wire::Signature;

    fn chain(name: u64, length: u16) -> Vec<Block> {
        (1..=length)
            .map(|depth| Block {
                key: name << 16 | u64::from(depth),
                prefix: Prefix {
                    depth,
                    signature: Signature([name as u8; 4]),
                },
            })
            .collect()
    }

    fn run(cache: &mut PrefixCache, blocks: &[Block]) {
        let held = cache.held_prefix(blocks);
        cache.reference(&blocks[..held]);
        cache.reserve((blocks.len() - held) as u32).unwrap();
        blocks[held..].iter().for_each(|block| cache.store(*block));
        cache.release(blocks, 0);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_from_its_end() {
        let mut cache = PrefixCache::new(6);
        let [one, two] = [1, 2].map(|name| chain(name, 3));
        run(&mut cache, &one);
        run(&mut cache, &two);
        run(&mut cache, &one);
        cache.take_events();
        cache.reserve(2).unwrap();
        let evicted: Vec<u64> = cache
            .take_events()
            .iter()
            .map(|event| u64::from(event.prefix.depth))
            .collect();
        assert_eq!(evicted, [3, 2]);
        assert_eq!(cache.held_prefix(&two), 1);
        assert_eq!(cache.held_prefix(&one), 3);
    }

    #[test]
    fn what_is_in_use_is_never_evicted() {
        let mut cache = PrefixCache::new(4);
        let one = chain(1, 3);
        run(&mut cache, &one);
        cache.reference(&one);
        assert_eq!(
            cache.reserve(2),
            Err(NoRoom {
                wanted: 2,
                available: 1
            })
        );
        cache.clear();
        assert_eq!(cache.held_prefix(&one), 3);
        cache.release(&one, 0);
        cache.clear();
        assert_eq!(cache.cached(), 0);
    }

    #[test]
    fn a_block_written_twice_is_held_once() {
        let mut cache = PrefixCache::new(4);
        let one = chain(1, 1);
        cache.reserve(2).unwrap();
        cache.store(one[0]);
        cache.store(one[0]);
        assert_eq!((cache.active(), cache.cached()), (1, 1));
        assert_eq!(cache.take_events().len(), 1);
        cache.release(&one, 0);
        assert_eq!(cache.active(), 1, "the other sequence still uses it");
        cache.release(&one, 0);
        assert_eq!(cache.active(), 0);
    }
}

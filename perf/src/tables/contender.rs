//! The tables, each behind the few calls that a measurement makes.

use std::fmt;

use afr_dataplane::config::Flows;
use afr_dataplane::flow::{FlowEntry, FlowKey, FlowSeeds, FlowTable, Pin};
use afr_dataplane::id::{ClassIx, Incarnation, Slot};
use anyhow::ensure;
use dpdk::prefetch::prefetch_read;
use dpdk::{Eal, HashConfig, HashTable, HugeSlice};

use super::BURST;
use super::keys::Asked;

/// Seed of the hash that all but `rte_hash`'s own take.
const HASH_SEED: u64 = 0x5EED;
/// Bytes of a key of `rte_hash`: the next length beyond the key's 37 for which it has a comparison of its own.
const RTE_KEY: usize = 48;

/// A table in a measurement.
pub trait Contender: Sized {
    /// What the table takes as a key.
    type Key: Copy;

    /// A key in the table's form.
    fn key(key: &FlowKey) -> Self::Key;

    /// An empty table for `flows`, all memory written.
    ///
    /// # Errors
    ///
    /// No memory.
    fn empty(eal: &Eal, flows: u32) -> anyhow::Result<Self>;

    /// Empties the table, its memory staying.
    fn clear(&mut self);

    /// Enters flow `number`.
    ///
    /// # Errors
    ///
    /// No room.
    fn insert(&mut self, key: &Self::Key, number: u32) -> anyhow::Result<()>;

    /// Looks up a burst. Returns the sum of the numbers found, and how many were.
    fn look_up(&self, keys: &[Self::Key; BURST]) -> (u64, u32);

    /// Flows in the table.
    fn flows(&self) -> usize;

    /// Bytes that table and states take.
    fn memory_bytes(&self) -> usize;

    /// Of these, bytes of the EAL's heap.
    fn eal_bytes(&self) -> usize {
        0
    }
}

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Ours.
    Afr,
    /// `hashbrown`.
    Hashbrown,
    /// `rte_hash` for as many entries as there are flows.
    RteFull,
    /// `rte_hash` for twice as many.
    RteRoomy,
    /// The same, the caller hashing.
    RteHashed,
}

impl Which {
    /// All, in the order of the report.
    pub const ALL: [Self; 5] = [
        Self::Afr,
        Self::Hashbrown,
        Self::RteFull,
        Self::RteRoomy,
        Self::RteHashed,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Afr => "afr",
            Self::Hashbrown => "hashbrown",
            Self::RteFull => "rte_hash",
            Self::RteRoomy => "rte_hash-2x",
            Self::RteHashed => "rte_hash-2x-fold",
        }
    }

    /// What it is.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Afr => {
                "ours: 64 bytes a flow behind an index of tags; foldhash; two steps of prefetch"
            }
            Self::Hashbrown => "hashbrown, key and state inline; foldhash; no prefetch",
            Self::RteFull => {
                "rte_hash for as many entries as flows, extendable; CRC-32C; bulk look-up"
            }
            Self::RteRoomy => "rte_hash for twice as many entries as flows; CRC-32C; bulk look-up",
            Self::RteHashed => "the same with foldhash by the caller",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the product keeps of a flow besides its key, where a table is not ours.
#[derive(Debug, Clone, Copy)]
struct State {
    number: u32,
    _rest: [u32; 5],
}

impl State {
    const fn of(number: u32) -> Self {
        Self {
            number,
            _rest: [0; 5],
        }
    }
}

/// The same apart from its key, so that it lies in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Apart(State);

/// Our table.
#[derive(Debug)]
pub struct Afr {
    flows: u32,
    table: FlowTable,
}

impl Contender for Afr {
    type Key = FlowKey;

    fn key(key: &FlowKey) -> FlowKey {
        *key
    }

    fn empty(_: &Eal, flows: u32) -> anyhow::Result<Self> {
        let config = Flows {
            capacity: flows,
            ..Flows::default()
        };
        Ok(Self {
            flows,
            table: FlowTable::new(&config, HASH_SEED),
        })
    }

    fn clear(&mut self) {
        let config = Flows {
            capacity: self.flows,
            ..Flows::default()
        };
        // The old one's memory goes first.
        self.table = FlowTable::new(
            &Flows {
                capacity: 1,
                ..Flows::default()
            },
            HASH_SEED,
        );
        self.table = FlowTable::new(&config, HASH_SEED);
    }

    #[inline]
    fn insert(&mut self, key: &FlowKey, number: u32) -> anyhow::Result<()> {
        let pin = Pin::Instance(Slot(number as u16), Incarnation(1));
        let mut entry = FlowEntry::new(key, pin, ClassIx(0), 0);
        entry.last_ack = number;
        let inserted = self.table.insert(self.table.hash(key), entry, 0);
        ensure!(inserted.evicted.is_none(), "flow {number} took a place");
        Ok(())
    }

    #[inline]
    fn look_up(&self, keys: &[FlowKey; BURST]) -> (u64, u32) {
        let table = &self.table;
        let hashes = keys.each_ref().map(|key| {
            let hash = table.hash(key);
            table.ahead().prefetch_bucket(hash);
            hash
        });
        // As the fast path does: who the tag points to is asked first, and the table where that is not the flow.
        let guesses = hashes.map(|hash| table.ahead().prefetch_guess(hash));
        let (mut sum, mut found) = (0, 0);
        for ((key, hash), guess) in keys.iter().zip(hashes).zip(guesses) {
            let guessed = table.get(guess).is_some_and(|entry| entry.is(key));
            if let Some(flow) = guessed.then_some(guess).or_else(|| table.lookup(hash, key)) {
                sum += u64::from(table.entry(flow).last_ack);
                found += 1;
            }
        }
        (sum, found)
    }

    fn flows(&self) -> usize {
        self.table.len() as usize
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

/// `hashbrown`'s table under our hash.
pub struct Hashbrown {
    table: hashbrown::HashTable<(FlowKey, State)>,
    seeds: FlowSeeds,
}

impl Contender for Hashbrown {
    type Key = FlowKey;

    fn key(key: &FlowKey) -> FlowKey {
        *key
    }

    fn empty(_: &Eal, flows: u32) -> anyhow::Result<Self> {
        Ok(Self {
            table: hashbrown::HashTable::with_capacity(flows as usize),
            seeds: FlowSeeds::new(HASH_SEED),
        })
    }

    fn clear(&mut self) {
        self.table.clear();
    }

    #[inline]
    fn insert(&mut self, key: &FlowKey, number: u32) -> anyhow::Result<()> {
        let seeds = &self.seeds;
        let entry = self.table.entry(
            key.hash(seeds),
            |(other, _)| other == key,
            |(other, _)| other.hash(seeds),
        );
        entry.insert((*key, State::of(number)));
        Ok(())
    }

    #[inline]
    fn look_up(&self, keys: &[FlowKey; BURST]) -> (u64, u32) {
        let (mut sum, mut found) = (0, 0);
        for key in keys {
            let hash = key.hash(&self.seeds);
            if let Some((_, state)) = self.table.find(hash, |(other, _)| other == key) {
                sum += u64::from(state.number);
                found += 1;
            }
        }
        (sum, found)
    }

    fn flows(&self) -> usize {
        self.table.len()
    }

    fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

/// `rte_hash`, for `ROOM` times as many entries as flows, `OURS` with our hash.
pub struct Rte<const ROOM: u32, const OURS: bool> {
    table: HashTable<RTE_KEY>,
    states: HugeSlice<Apart>,
    seeds: FlowSeeds,
}

impl<const ROOM: u32, const OURS: bool> Rte<ROOM, OURS> {
    #[inline]
    fn hash(&self, key: &[u8; RTE_KEY]) -> u32 {
        unpacked(key).hash(&self.seeds) as u32
    }
}

impl<const ROOM: u32, const OURS: bool> Contender for Rte<ROOM, OURS> {
    type Key = [u8; RTE_KEY];

    fn key(key: &FlowKey) -> [u8; RTE_KEY] {
        let mut bytes = [0; RTE_KEY];
        bytes[..16].copy_from_slice(&key.src);
        bytes[16..32].copy_from_slice(&key.dst);
        bytes[32..34].copy_from_slice(&key.sport.to_ne_bytes());
        bytes[34..36].copy_from_slice(&key.dport.to_ne_bytes());
        bytes[36] = key.proto;
        bytes
    }

    fn empty(eal: &Eal, flows: u32) -> anyhow::Result<Self> {
        let config = HashConfig {
            entries: flows * ROOM,
            extendable: ROOM == 1,
            socket: eal.socket_of(eal.main_lcore()),
        };
        Ok(Self {
            table: HashTable::create(eal, "afr_tables", &config)?,
            states: HugeSlice::filled(flows as usize, Apart(State::of(0))),
            seeds: FlowSeeds::new(HASH_SEED),
        })
    }

    fn clear(&mut self) {
        self.table.clear();
    }

    #[inline]
    fn insert(&mut self, key: &[u8; RTE_KEY], number: u32) -> anyhow::Result<()> {
        self.states[number as usize] = Apart(State::of(number));
        if OURS {
            let hash = self.hash(key);
            self.table.insert_hashed(key, hash, number as usize)?;
        } else {
            self.table.insert(key, number as usize)?;
        }
        Ok(())
    }

    #[inline]
    fn look_up(&self, keys: &[[u8; RTE_KEY]; BURST]) -> (u64, u32) {
        let pointers = keys.each_ref();
        let mut places = [0; BURST];
        let hits = if OURS {
            let mut hashes = pointers.map(|key| self.hash(key));
            self.table
                .lookup_hashed(&pointers, &mut hashes, &mut places)
        } else {
            self.table.lookup(&pointers, &mut places)
        };
        let found = || (0..BURST).filter(|at| hits >> at & 1 != 0);
        for at in found() {
            prefetch_read(&self.states[places[at]]);
        }
        let numbers = found().map(|at| u64::from(self.states[places[at]].0.number));
        (numbers.sum(), hits.count_ones())
    }

    fn flows(&self) -> usize {
        self.table.len()
    }

    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + size_of_val(&*self.states)
    }

    fn eal_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

/// The key of a packed one.
#[inline]
fn unpacked(bytes: &[u8; RTE_KEY]) -> FlowKey {
    let [mut src, mut dst] = [[0; 16]; 2];
    src.copy_from_slice(&bytes[..16]);
    dst.copy_from_slice(&bytes[16..32]);
    FlowKey {
        src,
        dst,
        sport: u16::from_ne_bytes([bytes[32], bytes[33]]),
        dport: u16::from_ne_bytes([bytes[34], bytes[35]]),
        proto: bytes[36],
    }
}

/// What the right answers to `asked` add up to, and how many there are.
#[must_use]
pub fn expected(asked: &[Asked]) -> (u64, u64) {
    let found = asked.iter().filter_map(|one| one.flow);
    found.fold((0, 0), |(sum, count), flow| {
        (sum + u64::from(flow), count + 1)
    })
}

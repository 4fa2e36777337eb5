//! DPDK's hash table behind its safe owner.

#![cfg(feature = "hash")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use common::eal;
use dpdk::{HashConfig, HashError, HashTable, SocketId};

fn config(entries: u32, extendable: bool) -> HashConfig {
    HashConfig {
        entries,
        extendable,
        socket: SocketId::ANY,
    }
}

/// Key *n* of 48 bytes.
fn key(n: u32) -> [u8; 48] {
    let mut key = [0xA5; 48];
    key[20..24].copy_from_slice(&n.to_le_bytes());
    key[44..].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
    key
}

#[test]
fn keys_are_found_with_their_numbers_and_others_are_not() {
    let mut table = HashTable::<48>::create(eal(), "found", &config(1_024, true)).unwrap();
    assert!(table.is_empty() && table.memory_bytes() > 1_024 * 48);
    for n in 0..1_024 {
        table.insert(&key(n), n as usize + 7).unwrap();
    }
    assert_eq!(
        table.len(),
        1_024,
        "an extendable table takes all it was made for"
    );
    table.insert(&key(3), 99).unwrap();
    assert_eq!(table.len(), 1_024, "a key is there once");

    // Every other key of the burst is unknown.
    for first in (0..1_024).step_by(16) {
        let keys: [_; 32] =
            std::array::from_fn(|i| key(first + i as u32 / 2 + i as u32 % 2 * 5_000));
        let mut values = [usize::MAX; 32];
        let hits = table.lookup(&keys.each_ref(), &mut values);
        assert_eq!(hits, 0x5555_5555);
        for (i, value) in values.iter().enumerate() {
            let n = first as usize + i / 2;
            let expected = match (i % 2, n) {
                (1, _) => usize::MAX,
                (_, 3) => 99,
                _ => n + 7,
            };
            assert_eq!(*value, expected, "key {i} of the burst at {first}");
        }
    }
    table.clear();
    assert!(table.is_empty());
    assert_eq!(table.lookup(&[&key(3)], &mut [0]), 0);
}

#[test]
fn a_caller_may_hash() {
    let mut table = HashTable::<48>::create(eal(), "hashed", &config(64, false)).unwrap();
    // The same hash for all: the keys themselves are compared.
    for n in 0..8 {
        table.insert_hashed(&key(n), 5, n as usize).unwrap();
    }
    let (keys, mut values) = ([key(6), key(60), key(1)], [0; 3]);
    let hits = table.lookup_hashed(&keys.each_ref(), &mut [5; 3], &mut values);
    assert_eq!((hits, values[0], values[2]), (0b101, 6, 1));
    assert_eq!(
        table.lookup_hashed(&keys.each_ref(), &mut [6 << 16; 3], &mut values),
        0
    );
}

#[test]
fn a_full_table_and_bad_names_are_refused() {
    let mut table = HashTable::<48>::create(eal(), "full", &config(8, false)).unwrap();
    let refused = (0..64).find_map(|n| table.insert(&key(n), 0).err());
    assert!(
        matches!(refused, Some(HashError::Insert { .. })),
        "{refused:?}"
    );

    let taken = HashTable::<48>::create(eal(), "full", &config(8, false));
    assert!(matches!(taken, Err(HashError::Create { .. })), "{taken:?}");
    for name in ["", "a\0b", &"x".repeat(26)] {
        let refused = HashTable::<48>::create(eal(), name, &config(8, false));
        assert!(
            matches!(refused, Err(HashError::Name { .. })),
            "{refused:?}"
        );
    }
    drop(table);
    HashTable::<48>::create(eal(), "full", &config(8, false)).unwrap();
}

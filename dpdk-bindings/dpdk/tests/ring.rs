//! Rings of packets between two threads.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use std::thread;

use arrayvec::ArrayVec;
use common::{eal, pool};
use dpdk::{Mbuf, Mempool, RingError, SocketId, ring};

const PACKETS: u32 = 100_000;

fn numbered(pool: &Mempool, number: u32) -> Option<Mbuf> {
    let mut mbuf = pool.alloc()?;
    let bytes = number.to_le_bytes();
    mbuf.append(bytes.len()).unwrap().copy_from_slice(&bytes);
    Some(mbuf)
}

fn number(mbuf: &Mbuf) -> u32 {
    u32::from_le_bytes(mbuf.data().try_into().unwrap())
}

#[test]
fn every_packet_arrives_once_and_in_order_on_another_thread() {
    let pool = pool("ring_order", 1_023, 128);
    let (mut sender, mut receiver) = ring(eal(), "order", 100, SocketId::ANY).unwrap();
    let sending = thread::spawn({
        let pool = pool.clone();
        move || {
            let (mut next, mut burst) = (0, ArrayVec::<Mbuf, 32>::new());
            while next < PACKETS || !burst.is_empty() {
                while next < PACKETS
                    && !burst.is_full()
                    && let Some(mbuf) = numbered(&pool, next)
                {
                    burst.push(mbuf);
                    next += 1;
                }
                // What there was no room for is offered again, in front.
                if sender.send(&mut burst) == 0 {
                    thread::yield_now();
                }
            }
        }
    });
    let (mut expected, mut burst) = (0, ArrayVec::<Mbuf, 24>::new());
    while expected < PACKETS {
        if receiver.receive(&mut burst) == 0 {
            thread::yield_now();
        }
        for mbuf in burst.drain(..) {
            assert_eq!(number(&mbuf), expected);
            expected += 1;
        }
    }
    sending.join().unwrap();
    assert_eq!(receiver.waiting(), 0);
    assert_eq!(pool.available(), pool.size(), "every buffer went back");
}

#[test]
fn what_does_not_fit_stays_and_what_is_left_is_freed_with_the_ring() {
    let pool = pool("ring_full", 63, 128);
    let (mut sender, mut receiver) = ring(eal(), "full_ring", 5, SocketId::ANY).unwrap();
    let fresh = |from: u32| (from..from + 8).map(|n| numbered(&pool, n).unwrap());
    let mut burst: ArrayVec<Mbuf, 8> = fresh(0).collect();
    assert_eq!(sender.send(&mut burst), 5);
    let left: Vec<_> = burst.iter().map(number).collect();
    assert_eq!(left, [5, 6, 7]);
    assert_eq!(sender.send(&mut burst), 0, "full");

    let mut out = ArrayVec::<Mbuf, 2>::new();
    assert_eq!(receiver.receive(&mut out), 2);
    assert_eq!(receiver.receive(&mut out), 0, "no room to receive into");
    assert_eq!(sender.send(&mut burst), 2);
    assert_eq!((receiver.waiting(), burst.len()), (5, 1));
    drop((burst, out));
    assert_eq!(pool.available(), 63 - 5);
    drop(receiver);
    assert_eq!(pool.available(), 63 - 5, "the sender still holds the ring");
    drop(sender);
    assert_eq!(pool.available(), 63);
    // The name is free again.
    ring(eal(), "full_ring", 5, SocketId::ANY).unwrap();
}

#[test]
fn bad_names_and_sizes_are_refused() {
    let _taken = ring(eal(), "taken", 8, SocketId::ANY).unwrap();
    let again = ring(eal(), "taken", 8, SocketId::ANY);
    assert!(matches!(again, Err(RingError::Create { .. })), "{again:?}");
    for name in ["", "a\0b", &"x".repeat(29)] {
        let refused = ring(eal(), name, 8, SocketId::ANY);
        assert!(
            matches!(refused, Err(RingError::Name { .. })),
            "{refused:?}"
        );
    }
    for capacity in [0, u32::MAX] {
        let refused = ring(eal(), "size", capacity, SocketId::ANY);
        assert!(
            matches!(refused, Err(RingError::Capacity { .. })),
            "{refused:?}"
        );
    }
}

//! A packet that outlives the EAL's last handle. Needs a process of its own, so it is one test.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use dpdk::{Eal, Mempool, MempoolConfig};

#[test]
fn a_packet_in_a_thread_keeps_its_memory() {
    let eal = Eal::init(common::eal_args()).unwrap();
    let pool = Mempool::create(
        &eal,
        "pool",
        &MempoolConfig {
            mbufs: 1_023,
            ..Default::default()
        },
    )
    .unwrap();
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append(1_000).unwrap().fill(0x5a);
    drop(pool);
    drop(eal);
    let sum = std::thread::spawn(move || {
        mbuf.data_mut()[0] = 0;
        mbuf.data()
            .iter()
            .map(|&byte| usize::from(byte))
            .sum::<usize>()
    });
    assert_eq!(sum.join().unwrap(), 999 * 0x5a);
}

//! The life of an EAL whose packets have all been freed. Needs a process of its own, so it is one test.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use std::fs;

use arrayvec::ArrayVec;
use dpdk::{Eal, EalError, Mbuf, Mempool, MempoolConfig, Port, PortConfig, free_burst};

/// Whether the address is mapped into this process.
fn is_mapped(address: usize) -> bool {
    fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .any(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let range =
                usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap();
            // Address space that DPDK reserves but has given back is mapped without access.
            range.contains(&address) && !line.contains(" ---p ")
        })
}

#[test]
fn memory_goes_back_with_the_last_owner_and_there_is_no_second_eal() {
    assert!(matches!(
        Eal::init(["a\0b"]),
        Err(EalError::NulInArgument { .. })
    ));

    let mut args = common::eal_args();
    args.push("--vdev=net_null0".to_owned());
    let eal = Eal::init(args).unwrap();
    assert!(matches!(
        Eal::init(["--no-huge"]),
        Err(EalError::AlreadyInitialised)
    ));

    let pool = Mempool::create(
        &eal,
        "pool",
        &MempoolConfig {
            mbufs: 2_047,
            ..Default::default()
        },
    )
    .unwrap();
    let (port, mut rx, mut tx) =
        Port::open(&eal, "net_null0", &PortConfig::new(pool.clone())).unwrap();
    let worker = eal.worker_lcores()[0];
    let handle = eal
        .launch(worker, move || {
            let mut burst = ArrayVec::<Mbuf, 32>::new();
            for _ in 0..10 {
                rx[0].receive(&mut burst);
                tx[0].transmit(&mut burst);
                rx[0].receive(&mut burst);
                free_burst(&mut burst);
                rx[0].receive(&mut burst);
                burst.clear();
            }
            (rx, tx)
        })
        .unwrap();
    let queues = handle.join().unwrap();

    let mut mbuf = pool.alloc().unwrap();
    let address = mbuf.append(1).unwrap().as_ptr() as usize;
    drop(eal);
    drop(port);
    assert!(is_mapped(address), "queues, pool and packet are left");
    drop(mbuf);
    drop(pool);
    assert!(is_mapped(address), "queues are left");
    drop(queues);
    assert!(!is_mapped(address), "nothing is left");
    assert!(matches!(
        Eal::init(["--no-huge"]),
        Err(EalError::AlreadyInitialised)
    ));
}

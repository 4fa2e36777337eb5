//! Closures on the EAL's worker cores.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use std::sync::mpsc;

use common::{eal, pool};
use dpdk::{LcoreError, LcoreId};
use parking_lot::{Mutex, MutexGuard};

/// There is one worker lcore, and tests of one process take turns on it.
fn worker() -> (LcoreId, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock();
    (eal().worker_lcores()[0], turn)
}

#[test]
fn the_eal_describes_itself() {
    assert_eq!(eal().main_lcore(), LcoreId::new(0));
    assert_eq!(eal().worker_lcores(), [LcoreId::new(1)]);
    assert!(!eal().sockets().is_empty());
    assert!(!eal().has_hugepages());
    assert!(eal().tsc_hz() > 1_000_000);
    assert!(eal().version().starts_with("DPDK 2"), "{}", eal().version());
}

#[test]
fn a_closure_runs_there_and_its_value_comes_back() {
    let (lcore, _turn) = worker();
    for round in 0..100 {
        let handle = eal()
            .launch(lcore, move || (round, std::thread::current().id()))
            .unwrap();
        let (value, thread) = handle.join().unwrap();
        assert_eq!(value, round);
        assert_ne!(thread, std::thread::current().id());
    }
}

#[test]
fn a_panic_is_reported_and_the_lcore_lives_on() {
    let (lcore, _turn) = worker();
    let text = eal()
        .launch(lcore, || panic!("a plain text"))
        .unwrap()
        .join();
    assert_eq!(
        text.unwrap_err().to_string(),
        "lcore 1: panicked: a plain text"
    );
    let formatted = eal()
        .launch(lcore, || panic!("number {}", 7))
        .unwrap()
        .join();
    assert!(
        matches!(formatted, Err(LcoreError::Panicked { message, .. }) if message == "number 7")
    );
    let other = eal()
        .launch(lcore, || std::panic::panic_any(7))
        .unwrap()
        .join();
    assert!(
        matches!(other, Err(LcoreError::Panicked { message, .. }) if message == "a value that is not text")
    );
    assert_eq!(eal().launch(lcore, || 5).unwrap().join().unwrap(), 5);
}

#[test]
fn a_busy_lcore_refuses_and_drops_the_second_closure() {
    let (lcore, _turn) = worker();
    let (stop, stopped) = mpsc::channel::<()>();
    let handle = eal().launch(lcore, move || stopped.recv()).unwrap();
    assert!(!handle.is_finished());

    let (owned_by_second, dropped) = mpsc::channel::<()>();
    let refused = eal()
        .launch(lcore, move || drop(owned_by_second))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "lcore 1: rte_eal_remote_launch: Device or resource busy (os error 16)"
    );
    assert!(dropped.recv().is_err(), "the refused closure is gone");

    stop.send(()).unwrap();
    handle.join().unwrap().unwrap();
}

#[test]
fn only_workers_can_be_launched() {
    for lcore in [eal().main_lcore(), LcoreId::new(77), LcoreId::new(u32::MAX)] {
        let error = eal().launch(lcore, || ()).unwrap_err();
        assert!(
            matches!(&error, LcoreError::NotAWorker { workers, .. } if *workers == [LcoreId::new(1)]),
            "{error}"
        );
    }
}

#[test]
fn packets_pass_between_an_lcore_and_other_threads() {
    let (lcore, _turn) = worker();
    let config = dpdk::MempoolConfig {
        mbufs: 1_023,
        cache: 64,
        data_room: 64,
        ..Default::default()
    };
    let cached = dpdk::Mempool::create(eal(), "cached", &config).unwrap();
    let uncached = pool("uncached", 63, 64);
    let (to_lcore, from_thread) = mpsc::channel();
    let (to_thread, from_lcore) = mpsc::channel();
    let lcores_pool = cached.clone();
    let handle = eal()
        .launch(lcore, move || {
            for mbuf in from_thread {
                drop::<dpdk::Mbuf>(mbuf);
                to_thread.send(lcores_pool.alloc().unwrap()).unwrap();
            }
        })
        .unwrap();
    for _ in 0..500 {
        to_lcore.send(cached.alloc().unwrap()).unwrap();
        to_lcore.send(uncached.alloc().unwrap()).unwrap();
        drop((from_lcore.recv().unwrap(), from_lcore.recv().unwrap()));
    }
    drop(to_lcore);
    handle.join().unwrap();
    assert_eq!(
        (cached.available(), uncached.available()),
        (cached.size(), uncached.size())
    );
}

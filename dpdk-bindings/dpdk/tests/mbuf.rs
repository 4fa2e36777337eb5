//! Mbufs against a model that is a vector of bytes.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use arrayvec::ArrayVec;
use common::{TempFile, eal, open, pool, write_pcap};
use dpdk::{Mbuf, Mempool, MempoolConfig, MempoolError, SocketPools, free_burst};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::sync::OnceLock;

const HEADROOM: usize = 128;

fn bytes(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.chunks().flatten().copied().collect()
}

#[test]
fn an_mbuf_is_one_pointer() {
    assert_eq!(size_of::<Mbuf>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Mbuf>>(), size_of::<usize>());
}

#[test]
fn a_new_mbuf_is_empty_with_all_its_room() {
    let pool = pool("new", 7, 512);
    let mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty());
    assert_eq!(
        (mbuf.headroom(), mbuf.tailroom(), mbuf.segments()),
        (HEADROOM, 512, 1)
    );
    assert_eq!((mbuf.port(), mbuf.rss_hash()), (u16::MAX, None));
}

#[test]
fn an_empty_pool_gives_none_and_a_dropped_mbuf_comes_back() {
    let pool = pool("drain", 7, 64);
    let mut taken: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((taken.len(), pool.available()), (7, 0));
    taken.pop();
    assert_eq!(pool.available(), 1);
    assert!(pool.alloc().is_some());
    drop(taken);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_burst_is_freed_whole() {
    let pool = pool("burst", 63, 64);
    let mut burst: ArrayVec<Mbuf, 32> = std::iter::from_fn(|| pool.alloc()).take(32).collect();
    assert_eq!(pool.available(), 63 - 32);
    free_burst(&mut burst);
    assert!(burst.is_empty());
    free_burst(&mut burst);
    assert_eq!(pool.available(), 63);
}

#[test]
fn buffers_come_back_from_any_thread() {
    let pool = pool("threads", 255, 64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mbufs: Vec<_> = (0..32).map(|_| pool.alloc().unwrap()).collect();
            let pool = pool.clone();
            scope.spawn(move || {
                drop(mbufs);
                for _ in 0..1_000 {
                    drop(pool.alloc());
                }
            });
        }
    });
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn growing_stops_at_the_room_and_changes_nothing_beyond() {
    let pool = pool("bounds", 7, 100);
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.append(101).is_none());
    mbuf.append(100).unwrap().fill(7);
    assert!(mbuf.append(1).is_none());
    assert!(mbuf.prepend(HEADROOM + 1).is_none());
    assert!(mbuf.prepend(usize::MAX).is_none());
    mbuf.prepend(HEADROOM).unwrap().fill(9);
    assert!(mbuf.prepend(1).is_none());
    assert_eq!(
        (mbuf.len(), mbuf.headroom(), mbuf.tailroom()),
        (HEADROOM + 100, 0, 0)
    );
    assert!(!mbuf.adj(HEADROOM + 101));
    assert!(!mbuf.truncate(HEADROOM + 101));
    assert_eq!(
        mbuf.data(),
        [[9; HEADROOM].as_slice(), [7; 100].as_slice()].concat()
    );
    assert!(mbuf.adj(HEADROOM + 100));
    assert!(mbuf.is_empty());
    assert!(!mbuf.adj(1));
    assert!(mbuf.prepend(HEADROOM + 100).is_some());
}

#[test]
fn pools_are_refused_with_the_reason() {
    let create =
        |name: &str, config: MempoolConfig| Mempool::create(eal(), name, &config).unwrap_err();
    let small = MempoolConfig {
        mbufs: 63,
        cache: 0,
        data_room: 64,
        ..MempoolConfig::default()
    };

    for name in ["", "a\0b", "twenty-six-bytes-are-a-lot"] {
        assert!(
            matches!(
                create(name, small.clone()),
                MempoolError::Name { limit: 25, .. }
            ),
            "{name:?}"
        );
    }
    let longest = "twenty-five-bytes-are-ok-";
    let _pool = Mempool::create(eal(), longest, &small).unwrap();
    assert_eq!(
        create(longest, small.clone()).to_string(),
        format!("mempool {longest}: rte_pktmbuf_pool_create: File exists (os error 17)")
    );
    let big = MempoolConfig {
        data_room: 65_408,
        ..small.clone()
    };
    assert!(matches!(
        create("room", big),
        MempoolError::DataRoom {
            asked: 65_408,
            limit: 65_407,
            ..
        }
    ));
    let cached = MempoolConfig {
        cache: 43,
        ..small.clone()
    };
    assert!(matches!(
        create("cache", cached),
        MempoolError::Cache {
            asked: 43,
            limit: 42,
            ..
        }
    ));
    Mempool::create(
        eal(),
        "cache",
        &MempoolConfig {
            cache: 42,
            ..small.clone()
        },
    )
    .unwrap();
    let huge = MempoolConfig {
        mbufs: 10_000_000,
        data_room: 65_407,
        ..small
    };
    assert!(
        create("huge", huge)
            .to_string()
            .contains("Cannot allocate memory")
    );
}

#[test]
fn every_socket_has_its_pool() {
    let config = MempoolConfig {
        mbufs: 63,
        cache: 0,
        data_room: 64,
        ..MempoolConfig::default()
    };
    let pools = SocketPools::create(eal(), "numa", &config).unwrap();
    assert_eq!(pools.iter().count(), eal().sockets().len());
    for socket in eal().sockets() {
        assert_eq!(pools.on(socket).socket(), socket);
        assert!(pools.on(socket).alloc().is_some());
    }
    let main = eal().socket_of(eal().main_lcore());
    assert_eq!(pools.on(dpdk::SocketId::ANY).socket(), main);
}

/// One change of a packet; the numbers go past every bound now and then.
#[derive(Debug, Clone)]
enum Op {
    Prepend(usize, u8),
    PrependHead(u16, u8),
    AdjHead(u16, u8),
    Append(usize, u8),
    Adj(usize),
    Truncate(usize),
    Write(usize, u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..160_usize, any::<u8>()).prop_map(|(n, byte)| Op::Prepend(n, byte)),
        (0..160_u16, any::<u8>()).prop_map(|(n, byte)| Op::PrependHead(n, byte)),
        (0..160_u16, any::<u8>()).prop_map(|(n, byte)| Op::AdjHead(n, byte)),
        (0..320_usize, any::<u8>()).prop_map(|(n, byte)| Op::Append(n, byte)),
        (0..200_usize).prop_map(Op::Adj),
        (0..3_100_usize).prop_map(Op::Truncate),
        (0..400_usize, any::<u8>()).prop_map(|(at, byte)| Op::Write(at, byte)),
    ];
    prop::collection::vec(op, 0..60)
}

/// Applies `ops` to the packet and to a vector, and compares them after each.
fn agree_with_model(mbuf: &mut Mbuf, ops: &[Op]) {
    let mut model = bytes(mbuf);
    for op in ops {
        let (headroom, tailroom, first) = (mbuf.headroom(), mbuf.tailroom(), mbuf.data().len());
        match *op {
            Op::Prepend(n, byte) => {
                let grown = mbuf.prepend(n).map(|new| new.fill(byte));
                assert_eq!(grown.is_some(), n <= headroom);
                if grown.is_some() {
                    model.splice(..0, vec![byte; n]);
                    assert_eq!(mbuf.headroom(), headroom - n);
                }
            }
            Op::PrependHead(n, byte) => {
                const HEAD: usize = 64;
                let grown = mbuf.prepend_head::<HEAD>(n);
                let n = usize::from(n);
                assert_eq!(grown.is_some(), n <= headroom && first + n >= HEAD);
                if let Some(head) = grown {
                    let old = HEAD.saturating_sub(n);
                    assert_eq!(head[HEAD - old..], model[..old], "what was the front");
                    head.fill(byte);
                    model.splice(..old, [byte; HEAD]);
                    model.splice(HEAD..HEAD, mbuf.data()[HEAD..n.max(HEAD)].to_vec());
                    assert_eq!(mbuf.headroom(), headroom - n);
                }
            }
            Op::Append(n, byte) => {
                let grown = mbuf.append(n).map(|new| new.fill(byte));
                assert_eq!(grown.is_some(), n <= tailroom);
                if grown.is_some() {
                    model.extend(vec![byte; n]);
                    assert_eq!(mbuf.tailroom(), tailroom - n);
                }
            }
            Op::Adj(n) => {
                assert_eq!(mbuf.adj(n), n <= first);
                if n <= first {
                    model.drain(..n);
                    assert_eq!(mbuf.headroom(), headroom + n);
                }
            }
            Op::AdjHead(n, byte) => {
                const HEAD: usize = 22;
                let rest = mbuf.adj_head::<HEAD>(n);
                let n = usize::from(n);
                assert_eq!(rest.is_some(), n + HEAD <= first);
                if let Some(head) = rest {
                    assert_eq!(head[..], model[n..n + HEAD]);
                    head.fill(byte);
                    model.drain(..n);
                    model[..HEAD].fill(byte);
                    assert_eq!(mbuf.headroom(), headroom + n);
                }
            }
            Op::Truncate(len) => {
                assert_eq!(mbuf.truncate(len), len <= model.len());
                model.truncate(len);
            }
            Op::Write(at, byte) => {
                if let Some(cell) = mbuf.data_mut().get_mut(at) {
                    *cell = byte;
                    model[at] = byte;
                }
            }
        }
        assert_eq!(mbuf.len(), model.len(), "{op:?}");
        assert_eq!(bytes(mbuf), model, "{op:?}");
        assert_eq!(mbuf.chunks().count(), mbuf.segments());
        assert!(mbuf.segments() == 1 || mbuf.chunks().skip(1).all(|chunk| !chunk.is_empty()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_packet_is_a_vector_with_room_at_both_ends(ops in ops()) {
        static POOL: OnceLock<Mempool> = OnceLock::new();
        let pool = POOL.get_or_init(|| pool("model", 15, 300));
        let mut mbuf = pool.alloc().unwrap();
        agree_with_model(&mut mbuf, &ops);
        drop(mbuf);
        prop_assert_eq!(pool.available(), pool.size());
    }
}

/// Chains come from a driver: frames longer than the pool's buffers.
#[test]
fn a_chain_is_a_vector_too() {
    const FRAMES: usize = 48;
    let frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|i| (0..200 + 60 * i).map(|at| (at * 7 + i) as u8).collect())
        .collect();
    let file = TempFile::new("chain.pcap");
    write_pcap(file.path(), &frames);
    let pool = pool("chain", 1_023, 512);
    let (port, mut rx, tx) = open(
        &format!("net_pcap_chain,rx_pcap={}", file.path().display()),
        &pool,
    );

    let mut burst = ArrayVec::<Mbuf, FRAMES>::new();
    while burst.len() < FRAMES {
        rx.receive(&mut burst);
    }
    assert!(burst.iter().any(|mbuf| mbuf.segments() > 4));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (mbuf, frame) in burst.iter_mut().zip(&frames) {
        assert_eq!(&bytes(mbuf), frame);
        let ops = ops().new_tree(&mut runner).unwrap().current();
        agree_with_model(mbuf, &ops);
    }
    // Freed at once, beside packets of another pool.
    let other = self::pool("chain_other", 63, 64);
    let mut mixed = ArrayVec::<Mbuf, { 2 * FRAMES }>::new();
    for mbuf in burst {
        mixed.push(mbuf);
        mixed.extend(other.alloc());
    }
    assert_eq!(other.available(), other.size() - FRAMES as u32);
    free_burst(&mut mixed);
    drop((port, rx, tx));
    for pool in [pool, other] {
        assert_eq!(pool.available(), pool.size());
    }
}

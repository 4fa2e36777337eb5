//! Ports and queues on virtual devices.

#![cfg(feature = "eal")]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail like tests

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use arrayvec::ArrayVec;
use common::{TempFile, eal, open, pool, read_pcap, write_pcap};
use dpdk::wait::{Waiter, packet_sockets};
use dpdk::{
    Direction, Errno, Mbuf, Mempool, Offloads, Port, PortConfig, PortError, RssConfig, RssTypes,
    RxOffloads, Setting, TxOffloads,
};

fn packet(pool: &Mempool, number: usize) -> Mbuf {
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append(64).unwrap().fill(number as u8);
    mbuf
}

/// A net_ring port receives what it transmits.
#[test]
fn a_ring_gives_back_what_it_took_in_order() {
    let pool = pool("loop", 255, 128);
    let (port, mut rx, mut tx) = open("net_ring_loop", &pool);
    assert_eq!(port.driver(), "net_ring");

    let mut burst: ArrayVec<Mbuf, 32> = (0..32).map(|number| packet(&pool, number)).collect();
    assert_eq!(tx.transmit(&mut burst), 32);
    assert!(burst.is_empty());

    burst.push(packet(&pool, 99));
    assert_eq!(rx.receive(&mut burst), 31, "there is room for 31");
    assert_eq!(rx.receive(&mut burst), 0, "there is no room");
    let firsts: Vec<u8> = burst.iter().map(|mbuf| mbuf.data()[0]).collect();
    assert_eq!(firsts, [99].into_iter().chain(0..31).collect::<Vec<_>>());
    burst.clear();
    assert_eq!((rx.receive(&mut burst), rx.receive(&mut burst)), (1, 0));
    assert_eq!((rx.received(), tx.taken()), (32, 32));
    assert_eq!(
        (rx.index(), tx.index(), rx.port_id(), tx.port_id()),
        (0, 0, port.id(), port.id())
    );

    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (32, 32));
    port.reset_stats().unwrap();
    assert_eq!(port.stats().unwrap().rx_packets, 0);
    burst.clear();
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn what_a_full_ring_refuses_stays_with_the_sender_in_order() {
    let pool = pool("full", 2_047, 128);
    let (_port, mut rx, mut tx) = open("net_ring_full", &pool);
    let bytes = |burst: &[Mbuf]| burst.iter().map(|mbuf| mbuf.len() as u64).sum::<u64>();
    let (mut sent, mut sent_bytes) = (0, 0);
    let mut burst = ArrayVec::<Mbuf, 32>::new();
    while burst.is_empty() {
        burst = (0..32).map(|number| packet(&pool, number)).collect();
        for (extra, mbuf) in burst.iter_mut().enumerate() {
            mbuf.append(extra).unwrap();
        }
        sent_bytes += bytes(&burst);
        sent += tx.transmit(&mut burst);
    }
    sent_bytes -= bytes(&burst);
    assert_eq!(tx.taken_bytes(), sent_bytes, "without those that stayed");
    let left: Vec<u8> = burst.iter().map(|mbuf| mbuf.data()[0]).collect();
    let accepted_of_last = 32 - left.len();
    assert_eq!(left, (accepted_of_last as u8..32).collect::<Vec<_>>());
    assert_eq!(pool.available() as usize, 2_047 - sent - left.len());

    assert_eq!(tx.transmit(&mut burst), 0, "still full");
    let mut received = ArrayVec::<Mbuf, 4>::new();
    assert_eq!(rx.receive(&mut received), 4);
    assert_eq!(
        tx.transmit(&mut burst),
        4.min(left.len()),
        "as many as there is room for again"
    );
    drop((burst, received));

    let mut rest = ArrayVec::<Mbuf, 64>::new();
    while rx.receive(&mut rest) > 0 {
        rest.clear();
    }
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn frames_pass_from_file_to_file_unchanged() {
    let frames: Vec<Vec<u8>> = (0..100)
        .map(|i| (0..60 + 10 * i).map(|at| (at ^ i) as u8).collect())
        .collect();
    let (input, output) = (TempFile::new("in.pcap"), TempFile::new("out.pcap"));
    write_pcap(input.path(), &frames);
    let pool = pool("files", 511, 2_048);
    let devargs = format!(
        "net_pcap_files,rx_pcap={},tx_pcap={}",
        input.path().display(),
        output.path().display()
    );
    let (port, mut rx, mut tx) = open(&devargs, &pool);

    let mut burst = ArrayVec::<Mbuf, 32>::new();
    let mut passed = 0;
    while passed < frames.len() {
        rx.receive(&mut burst);
        for mbuf in &mut burst {
            assert_eq!(mbuf.port(), port.id());
            mbuf.prepend(2).unwrap().copy_from_slice(&[0xaf, 0x12]);
            assert!(mbuf.adj(2));
        }
        passed += tx.transmit(&mut burst);
    }
    // Closing the port writes the file out.
    drop((port, rx, tx));
    assert_eq!(read_pcap(output.path()), frames);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_port_outlives_its_handle_until_its_last_queue() {
    let pool = pool("owners", 255, 2_048);
    let (port, mut rx, tx) = open("net_null_owners", &pool);
    drop((port, tx));
    let thread = std::thread::spawn(move || {
        let mut burst = ArrayVec::<Mbuf, 32>::new();
        rx.receive(&mut burst)
    });
    assert_eq!(thread.join().unwrap(), 32);
    let gone = Port::open(eal(), "net_null_owners", &PortConfig::new(pool.clone())).unwrap_err();
    assert!(matches!(gone, PortError::NotFound { .. }));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_number_taken_over_carries_no_claim_of_its_predecessor() {
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                let pool = pool(&format!("race{thread}"), 63, 128);
                for round in 0..200 {
                    drop(open(&format!("net_null_race{thread}_{round}"), &pool));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn every_packet_of_a_null_device_is_accounted_for() {
    let pool = pool("null", 255, 2_048);
    let (port, mut rx, mut tx) = open("net_null_count", &pool);
    let mut burst = ArrayVec::<Mbuf, 64>::new();
    for _ in 0..10_000 {
        assert_eq!(rx.receive(&mut burst), 64);
        assert_eq!(tx.transmit(&mut burst), 64);
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (640_000, 640_000));
    let xstats = port.xstats().unwrap();
    assert!(
        xstats.contains(&("rx_good_packets".to_owned(), 640_000)),
        "{xstats:?}"
    );
    assert_eq!(pool.available(), pool.size());

    assert!(port.link().unwrap().up);
    assert_eq!(port.mac().unwrap().len(), 6);
    assert_eq!(port.mtu().unwrap(), 1_500);
    drop((rx, tx));
}

#[test]
fn an_unknown_device_is_named_with_those_there_are() {
    Port::attach(eal(), "net_null_known").unwrap();
    let pool = pool("unknown", 63, 128);
    let error = Port::open(eal(), "net_missing0", &PortConfig::new(pool)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("port net_missing0: no such device; there are ["),
        "{text}"
    );
    assert!(text.contains("net_null_known"), "{text}");
    assert!(matches!(
        Port::socket_by_name(eal(), "net_missing0"),
        Err(PortError::NotFound { .. })
    ));
}

#[test]
fn a_device_that_cannot_be_attached_is_named_with_the_call_and_the_reason() {
    let error = Port::attach(eal(), "net_af_packet_lost,iface=no-such-interface").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("port net_af_packet_lost,iface=no-such-interface: rte_dev_probe: "),
        "{text}"
    );
    assert!(matches!(
        Port::attach(eal(), "net\0null"),
        Err(PortError::NulInName { .. })
    ));
}

#[test]
fn a_port_has_one_owner_and_its_device_stays_while_it_has() {
    let pool = pool("once", 63, 128);
    let config = PortConfig::new(pool.clone());
    assert_eq!(
        Port::attach(eal(), "net_null_once").unwrap(),
        ["net_null_once"]
    );
    assert!(
        Port::by_names(eal())
            .unwrap()
            .contains(&"net_null_once".to_owned())
    );
    assert!(matches!(
        Port::attach(eal(), "net_null_once"),
        Err(PortError::NoNewPort { .. })
    ));

    let opened = Port::open(eal(), "net_null_once", &config).unwrap();
    assert!(matches!(
        Port::open(eal(), "net_null_once", &config),
        Err(PortError::AlreadyOpen { .. })
    ));
    assert!(matches!(
        Port::detach(eal(), "vdev", "net_null_once"),
        Err(PortError::AlreadyOpen { .. })
    ));
    drop(opened);

    Port::detach(eal(), "vdev", "net_null_once").unwrap();
    Port::attach(eal(), "net_null_once").unwrap();
    drop(Port::open(eal(), "net_null_once", &config).unwrap());
    assert!(matches!(
        Port::detach(eal(), "vdev", "net_never"),
        Err(PortError::Call { .. })
    ));
}

#[test]
fn too_many_queues_are_refused_and_the_port_can_be_opened_with_fewer() {
    let pool = pool("queues", 63, 128);
    let name = Port::attach(eal(), "net_ring_queues").unwrap().remove(0);
    let many = PortConfig {
        tx_queues: 1_000,
        ..PortConfig::new(pool.clone())
    };
    let error = Port::open(eal(), &name, &many).unwrap_err();
    assert!(
        matches!(
            &error,
            PortError::TooManyQueues {
                direction: Direction::Transmit,
                asked: 1_000,
                ..
            }
        ),
        "{error}"
    );
    Port::open(eal(), &name, &PortConfig::new(pool)).unwrap();
}

#[test]
fn a_port_says_what_it_granted() {
    let pool = pool("granted", 255, 128);
    let name = Port::attach(eal(), "net_null_granted").unwrap().remove(0);
    let socket = Port::socket_by_name(eal(), &name).unwrap();
    let wanted = RssTypes::IPV6 | RssTypes::IPV6_TCP | RssTypes::IPV6_UDP;
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        rss: Some(RssConfig {
            hash_types: wanted,
            key: Some(vec![0x6d; 40]),
        }),
        promiscuous: true,
        all_multicast: true,
        offloads: Offloads {
            rx: RxOffloads::RSS_HASH | RxOffloads::SCATTER,
            tx: TxOffloads::MULTI_SEGMENT,
        },
        ..PortConfig::new(pool.clone())
    };
    let (port, rx, tx) = Port::open(eal(), &name, &config).unwrap();
    assert_eq!((rx.len(), tx.len(), port.rss_key_bytes()), (2, 2, 40));
    let Setting::Applied(types) = port.applied().rss else {
        panic!("{:?}", port.applied())
    };
    assert!(wanted.contains(types) && port.supported_rss().contains(types) && !types.is_empty());
    assert_eq!(port.applied().mtu, Setting::NotAsked);
    assert_eq!(port.applied().promiscuous, Setting::Applied(()));
    assert_eq!(port.applied().all_multicast, Setting::Applied(()));
    assert_eq!(port.socket(), socket);
    assert_eq!(
        port.applied().offloads,
        Offloads::default(),
        "net_null has none"
    );

    let name = Port::attach(eal(), "net_ring_granted").unwrap().remove(0);
    let (port, _rx, _tx) = Port::open(
        eal(),
        &name,
        &PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            ..config
        },
    )
    .unwrap();
    assert_eq!(
        port.applied().offloads,
        Offloads {
            rx: RxOffloads::SCATTER,
            tx: TxOffloads::MULTI_SEGMENT
        },
        "net_ring knows no hash"
    );
}

#[test]
fn what_a_device_lacks_is_reported_and_does_not_keep_it_closed() {
    let pool = pool("lacks", 255, 128);
    let name = Port::attach(eal(), "net_ring_lacks").unwrap().remove(0);
    let rss = RssConfig {
        hash_types: RssTypes::IPV6,
        key: None,
    };
    let config = PortConfig {
        rss: Some(rss),
        mtu: Some(9_000),
        ..PortConfig::new(pool.clone())
    };
    let (port, _rx, _tx) = Port::open(eal(), &name, &config).unwrap();
    assert_eq!(
        port.applied().rss,
        Setting::Refused {
            errno: Errno::NOT_SUPPORTED
        }
    );

    let name = Port::attach(eal(), "net_null_lacks").unwrap().remove(0);
    let rss = RssConfig {
        hash_types: RssTypes::IPV6,
        key: Some(vec![1; 39]),
    };
    let (port, _rx, _tx) = Port::open(
        eal(),
        &name,
        &PortConfig {
            rss: Some(rss),
            ..config
        },
    )
    .unwrap();
    assert_eq!(
        port.applied().rss,
        Setting::Refused {
            errno: Errno::INVALID
        }
    );
    assert!(port.applied().rss.is_refused());
}

#[test]
fn an_mtu_beyond_the_device_is_refused_as_a_value() {
    let pool = pool("mtu", 255, 9_216);
    let name = Port::attach(eal(), "net_ring_mtu").unwrap().remove(0);
    let open = |mtu| {
        let config = PortConfig {
            mtu: Some(mtu),
            ..PortConfig::new(pool.clone())
        };
        Port::open(eal(), &name, &config).unwrap()
    };
    // A device's smallest MTU is 68 (RFC 791) unless its driver says otherwise.
    let (port, _rx, _tx) = open(20);
    assert_eq!(
        port.applied().mtu,
        Setting::Refused {
            errno: Errno::INVALID
        }
    );
    assert_eq!(port.mtu().unwrap(), 1_500);
}

/// The kernel's packet socket, on an interface that every network namespace has.
#[test]
fn a_packet_socket_opens_though_it_refuses_the_mtu() {
    let pool = pool("kernel", 4_095, 4_192);
    let devargs = "net_af_packet_kernel,iface=lo,qpairs=2,framesz=4096,blocksz=8192";
    let name = Port::attach(eal(), devargs).unwrap().remove(0);
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        mtu: Some(4_000),
        promiscuous: true,
        ..PortConfig::new(pool.clone())
    };
    let (port, rx, tx) = Port::open(eal(), &name, &config).unwrap();
    assert_eq!(port.driver(), "net_af_packet");
    assert_eq!((rx.len(), tx.len()), (2, 2));
    assert_eq!(
        port.applied().mtu,
        Setting::Refused {
            errno: Errno::INVALID
        }
    );
    assert_eq!(port.mtu().unwrap(), 1_500);

    // Who waits for its sockets is woken by what comes, and by nothing else once that is received.
    let sockets = packet_sockets("lo").unwrap();
    assert_eq!(sockets.len(), 2, "one a queue");
    let mut waiter = Waiter::new(sockets);
    let mut rx = rx;
    let payload = b"who waits for a packet socket is woken by the kernel";
    let sender = UdpSocket::bind("[::1]:0").unwrap();
    let mut has_come = false;
    while !has_come {
        sender.send_to(payload, "[::1]:9").unwrap();
        assert!(waiter.wait(Duration::from_secs(100)).unwrap());
        while waiter.wait(Duration::ZERO).unwrap() {
            for rx in &mut rx {
                let mut burst = ArrayVec::<Mbuf, 32>::new();
                rx.receive(&mut burst);
                has_come |= burst.iter().any(|mbuf| mbuf.data().ends_with(payload));
            }
        }
    }
    drop((port, rx, tx));
    assert_eq!(pool.available(), pool.size());
}

/// A port that was not given multi-segment transmission never sees a chain.
#[test]
fn chains_are_sent_only_where_that_was_granted() {
    let frames: Vec<Vec<u8>> = (0..8)
        .map(|i| vec![i as u8; if i % 2 == 0 { 100 } else { 2_000 }])
        .collect();
    let input = TempFile::new("segments.pcap");
    write_pcap(input.path(), &frames);
    let pool = pool("segments", 255, 512);
    let source = |device: &str| {
        open(
            &format!("{device},rx_pcap={}", input.path().display()),
            &pool,
        )
    };
    let receive = |rx: &mut dpdk::RxQueue| {
        let mut burst = ArrayVec::<Mbuf, 8>::new();
        while !burst.is_full() {
            rx.receive(&mut burst);
        }
        burst
    };

    let (_first_port, mut rx, _tx) = source("net_pcap_segments0");
    let (port, _null_rx, mut tx) = open("net_null_single", &pool);
    assert!(port.applied().offloads.tx.is_empty());
    let mut burst = receive(&mut rx);
    assert_eq!(
        (tx.transmit(&mut burst), tx.rejected(), burst.len()),
        (4, 4, 0)
    );
    assert_eq!(tx.taken_bytes(), 4 * 100, "without the chains");

    let (_second_port, mut rx, _tx) = source("net_pcap_segments1");
    let name = Port::attach(eal(), "net_ring_multi").unwrap().remove(0);
    let offloads = Offloads {
        rx: RxOffloads::NONE,
        tx: TxOffloads::MULTI_SEGMENT,
    };
    let config = PortConfig {
        offloads,
        ..PortConfig::new(pool.clone())
    };
    let (_port, mut rxs, mut txs) = Port::open(eal(), &name, &config).unwrap();
    let mut burst = receive(&mut rx);
    assert_eq!((txs[0].transmit(&mut burst), txs[0].rejected()), (8, 0));
    let burst = receive(&mut rxs[0]);
    assert!(
        burst
            .iter()
            .zip(&frames)
            .all(|(mbuf, frame)| mbuf.chunks().flatten().eq(frame))
    );
    drop(burst);
    assert_eq!(pool.available(), pool.size());
}

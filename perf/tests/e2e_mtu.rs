//! Paths that are too narrow, hop limits that run out, echoes: what kernels make of the AFR's ICMPv6.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a test says what is wrong by failing

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use afr_perf::lab::{
    AFR_ADDRESS, AFR_SID, EchoCluster, Interrupt, Lab, LabSpec, client_address, service_address,
};
use socket2::{Domain, Protocol, Socket, Type};

const TIME_EXCEEDED: (u8, u8) = (3, 0);
const PORT_UNREACHABLE: (u8, u8) = (1, 4);

/// Edge and fabric of the same size: what is encapsulated does not fit.
fn narrow() -> EchoCluster {
    let spec = LabSpec {
        instances: 2,
        fabric_mtu: 1_500,
        ..LabSpec::default()
    };
    let lab = Lab::build(spec, &Interrupt::by_hand()).unwrap();
    for host in &lab.hosts {
        // The kernel knows what its own encapsulation takes and would tell the client to send less. A host that does
        // not makes clients send packets that only the AFR finds too big.
        let route = format!(
            "-6 route change default encap seg6 mode encap.red segs {AFR_SID} dev eth0 advmss 1440"
        );
        host.namespace.ip(&route).unwrap();
    }
    EchoCluster::start(lab, |_| {}).unwrap()
}

#[test]
fn tcp_adapts_to_packet_too_big() {
    let cluster = narrow();
    let mut client = cluster.connect().unwrap();
    client.flood(3_000_000).unwrap();

    let metrics = cluster.metrics().unwrap();
    let too_big = metrics.sum("afr_dropped_packets_total", &[("reason", "packet_too_big")]);
    assert!(too_big >= 1.0, "no packet was too big");
    let route = format!("-6 route get {}", service_address(1));
    let learnt = cluster.lab.client.ip(&route).unwrap();
    assert!(
        learnt.contains("mtu 1460"),
        "what the client's kernel learnt: {learnt}"
    );
    // Who comes after profits.
    cluster.connect().unwrap().flood(200_000).unwrap();
    let metrics = cluster.metrics().unwrap();
    let after = metrics.sum("afr_dropped_packets_total", &[("reason", "packet_too_big")]);
    assert_eq!(
        after, too_big,
        "the second connection sent packets that were too big"
    );
    cluster.afrd.stop().unwrap();
}

#[test]
fn a_clamped_mss_needs_no_packet_too_big() {
    let mut cluster = narrow();
    cluster.config.router.mss_clamp = Some(1_360);
    cluster.reload().unwrap();
    cluster.connect().unwrap().flood(1_000_000).unwrap();
    let metrics = cluster.metrics().unwrap();
    assert!(metrics.sum("afr_notes_total", &[("reason", "mss_clamped")]) >= 1.0);
    let too_big = metrics.sum("afr_dropped_packets_total", &[("reason", "packet_too_big")]);
    assert_eq!(
        too_big, 0.0,
        "SYN and SYN-ACK both pass the AFR, and both are clamped"
    );
    cluster.afrd.stop().unwrap();
}

/// What `ip route` calls mode `encap` puts a whole Segment Routing Header around each reply, of which mode `encap.red` leaves out
/// what is needless.
#[test]
fn replies_may_come_under_a_whole_segment_routing_header() {
    let lab = Lab::build(LabSpec::default(), &Interrupt::by_hand()).unwrap();
    for host in &lab.hosts {
        let route =
            format!("-6 route change default encap seg6 mode encap segs {AFR_SID} dev eth0");
        host.namespace.ip(&route).unwrap();
    }
    let cluster = EchoCluster::start(lab, |_| {}).unwrap();
    cluster.connect().unwrap().flood(1_000_000).unwrap();
    let metrics = cluster.metrics().unwrap();
    let sum = |name| metrics.sum(name, &[]);
    let forwarded = sum("afr_forwarded_packets_total");
    let fast = sum("afr_fast_path_packets_total");
    // But for those that open and close the connection, which are looked at more closely.
    assert!(
        forwarded >= 1_000.0 && fast >= forwarded - 20.0,
        "{fast} of {forwarded} by the fast path"
    );
    cluster.afrd.stop().unwrap();
}

#[test]
fn echoes_are_answered_and_hops_are_counted() {
    let lab = Lab::build(LabSpec::default(), &Interrupt::by_hand()).unwrap();
    let cluster = EchoCluster::start(lab, |_| {}).unwrap();
    for address in [service_address(1), AFR_ADDRESS] {
        cluster
            .lab
            .client
            .run(&format!("ping -6 -n -c 2 -W 5 {address}"))
            .unwrap();
    }
    let echoes = cluster
        .metrics()
        .unwrap()
        .sum("afr_punted_packets_total", &[("reason", "echo")]);
    assert!(echoes >= 2.0, "{echoes}");

    // Like traceroute: the first hop is the AFR, the next is the instance, where nobody listens on the port.
    assert_eq!(probe(&cluster, 1), (AFR_ADDRESS, TIME_EXCEEDED));
    assert_eq!(probe(&cluster, 2), (service_address(1), PORT_UNREACHABLE));
    cluster.afrd.stop().unwrap();
}

/// Who answers a datagram with this hop limit, and with which ICMPv6 error.
fn probe(cluster: &EchoCluster, hops: u32) -> (Ipv6Addr, (u8, u8)) {
    let ask = || -> std::io::Result<_> {
        // A raw socket delivers messages without their IPv6 header; std reads from any socket.
        let listener = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        let listener = UdpSocket::from(listener);
        listener.set_read_timeout(Some(Duration::from_secs(5)))?;
        let prober = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        prober.set_unicast_hops_v6(hops)?;
        prober.bind(&SocketAddrV6::new(client_address(0), 0, 0, 0).into())?;
        let to = SocketAddrV6::new(service_address(1), 33_434 + hops as u16, 0, 0);
        prober.send_to(b"where are you", &to.into())?;
        let mut message = [0; 1_500];
        loop {
            let (_, from) = listener.recv_from(&mut message)?;
            // The socket hears Neighbor Discovery too; errors have types below 128 (RFC 4443 §2.1).
            if let IpAddr::V6(from) = from.ip()
                && message[0] < 128
            {
                return Ok((from, (message[0], message[1])));
            }
        }
    };
    cluster.lab.client.inside(ask).unwrap().unwrap()
}

//! Two workers behind devices with one queue: each packet comes to the worker of its flow, streams stay whole and in order,
//! and what is counted adds up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a test says what is wrong by failing

use std::thread;

use afr_perf::lab::{EchoCluster, Exposition, Interrupt, Lab, LabSpec};

const STREAMS: usize = 24;
const BYTES: usize = 200_000;

fn of_worker(metrics: &Exposition, name: &str, worker: &str) -> f64 {
    metrics.sum(name, &[("worker", worker)])
}

#[test]
fn two_workers_share_one_queue_of_each_port() {
    let lab = Lab::build(LabSpec::default(), &Interrupt::by_hand()).unwrap();
    let cluster = EchoCluster::start(lab, |config| {
        config.workers.lcores = vec![0, 1];
        config.workers.steering = Some("flow".to_owned());
        for port in &mut config.port {
            port.queues = Some(1);
        }
    })
    .unwrap();
    // Every byte that comes back is compared.
    let streams = (0..STREAMS).map(|_| {
        let mut client = cluster.connect().unwrap();
        thread::spawn(move || client.exchange(BYTES).map(|_| client))
    });
    let streams: Vec<_> = streams.collect();
    for stream in streams {
        stream.join().unwrap().unwrap();
    }

    // The last ten seconds' packets: all from one worker's queues, of two, and both at work.
    cluster
        .until("being told how uneven that is", |metrics| {
            let of = |packets| metrics.sum("afr_worker_imbalance", &[("packets", packets)]);
            of("received") == 2.0 && of("handled") >= 1.0 && of("handled") < 2.0
        })
        .unwrap();

    // Reports go on coming in; at some point a reading is of one moment.
    cluster
        .until("a reading that adds up", |metrics| {
            let sum = |name| metrics.sum(name, &[]);
            let told = sum("afr_forwarded_packets_total")
                + sum("afr_punted_packets_total")
                + sum("afr_dropped_packets_total");
            told > 0.0
                && told == sum("afr_received_packets_total")
                && sum("afr_steered_out_packets_total") == sum("afr_steered_in_packets_total")
        })
        .unwrap();
    let metrics = cluster.metrics().unwrap();
    let both = |name| ["0", "1"].map(|worker| of_worker(&metrics, name, worker));
    // The first worker has the queues.
    let received = both("afr_port_receive_packets_total");
    assert!(received[0] > 0.0 && received[1] == 0.0, "{received:?}");
    let sent = both("afr_port_transmit_packets_total");
    assert!(sent[0] > 0.0 && sent[1] == 0.0, "{sent:?}");
    // Both have the flows: that all of 24 are one's happens once in eight million.
    let created = [("reason", "flow_created")];
    let flows = ["0", "1"].map(|worker| {
        let labels = [created[0], ("worker", worker)];
        metrics.sum("afr_notes_total", &labels)
    });
    assert!(flows.iter().all(|flows| *flows > 0.0), "{flows:?}");
    assert_eq!(flows.iter().sum::<f64>(), STREAMS as f64);
    // Requests and replies of a flow are its worker's.
    let replies = ["0", "1"].map(|worker| {
        let labels = [("direction", "reply"), ("worker", worker)];
        metrics.sum("afr_forwarded_packets_total", &labels)
    });
    assert!(replies.iter().all(|replies| *replies > 0.0), "{replies:?}");
    let steered = both("afr_steered_in_packets_total");
    assert!(steered[0] == 0.0 && steered[1] > 0.0, "{steered:?}");
    cluster.afrd.stop().unwrap();
}

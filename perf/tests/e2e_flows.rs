//! Real TCP streams through `afrd` while its instances are changed, added, drained and killed under them.
//!
//! Every byte of every stream is compared, and a server's name comes first on each: a stream that moved to another
//! instance could not go on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a test says what is wrong by failing

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use afr_perf::lab::{
    Client, Dial, EchoCluster, Interrupt, Lab, LabSpec, PeerError, client_address,
};

/// Streams kept open while things change.
const STREAMS: usize = 24;
/// New flows that tell where flows go now. An instance that takes a third of them is missed by all once in 10^7.
const PROBES: usize = 40;

fn cluster(instances: u8, dead_after_ms: Option<u32>) -> EchoCluster {
    let spec = LabSpec {
        instances,
        ..LabSpec::default()
    };
    let lab = Lab::build(spec, &Interrupt::by_hand()).unwrap();
    EchoCluster::start(lab, |config| config.dispatch.dead_after_ms = dead_after_ms).unwrap()
}

/// A stream that carries bytes on a thread of its own until it is told to stop, or breaks.
struct Stream {
    instance: String,
    thread: JoinHandle<Result<Client, PeerError>>,
}

/// Streams under way.
struct Traffic {
    stop: Arc<AtomicBool>,
    streams: Vec<Stream>,
}

impl Traffic {
    fn start(cluster: &EchoCluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let streams = (0..STREAMS).map(|_| {
            let mut client = cluster.connect().unwrap();
            let (instance, stop) = (client.instance().to_owned(), Arc::clone(&stop));
            let thread = thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.exchange(20_000)?;
                }
                Ok(client)
            });
            Stream { instance, thread }
        });
        let streams = streams.collect();
        Self { stop, streams }
    }

    /// How many streams each instance has.
    fn by_instance(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for stream in &self.streams {
            *count.entry(stream.instance.as_str()).or_default() += 1;
        }
        count
    }

    /// Waits for the end of every stream of `instance`, which must be a reset, and forgets them.
    fn expect_resets(&mut self, instance: &str) -> usize {
        let (dead, living) = std::mem::take(&mut self.streams)
            .into_iter()
            .partition::<Vec<_>, _>(|stream| stream.instance == instance);
        self.streams = living;
        let count = dead.len();
        for stream in dead {
            match stream.thread.join().unwrap() {
                Err(PeerError::Broken { source, .. }) => {
                    assert_eq!(source.kind(), ErrorKind::ConnectionReset, "{source}");
                }
                other => panic!("a stream of {instance} ended with {other:?}"),
            }
        }
        count
    }

    /// None has ended.
    fn expect_all_alive(&self, when: &str) {
        for stream in &self.streams {
            assert!(
                !stream.thread.is_finished(),
                "a stream to {} ended {when}",
                stream.instance
            );
        }
    }

    /// Stops all; each still works, and still with the same instance.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for stream in self.streams {
            let mut client = stream.thread.join().unwrap().unwrap();
            client.exchange(1_000).unwrap();
            assert_eq!(client.instance(), stream.instance);
        }
    }
}

/// The instances that new plain flows reach.
fn reached(cluster: &EchoCluster) -> BTreeMap<String, usize> {
    let dial = Dial::plain(client_address(1), EchoCluster::service(1));
    let mut count = BTreeMap::new();
    for instance in cluster.reached(&dial, PROBES).unwrap() {
        *count.entry(instance).or_default() += 1;
    }
    count
}

#[test]
fn no_flow_of_a_living_instance_moves_whatever_changes() {
    let mut cluster = cluster(3, None);
    let mut traffic = Traffic::start(&cluster);
    let spread = traffic.by_instance();
    assert_eq!(spread.len(), 3, "the streams are spread: {spread:?}");

    // Weights and labels. None is so light that of forty new flows it might get none.
    for (number, weight) in [(1, 9), (2, 4), (3, 5)] {
        cluster.config.instance_mut(number).unwrap().weight = Some(weight);
    }
    cluster.config.catalogue[0].labels = vec!["model:a".to_owned(), "model:b".to_owned()];
    cluster.config.instance_mut(2).unwrap().labels = vec!["model:b".to_owned()];
    cluster.reload().unwrap();
    traffic.expect_all_alive("when weights and labels changed");

    // One more instance.
    let added = cluster.add_instance().unwrap();
    cluster.config.instance_mut(added).unwrap().weight = Some(9);
    cluster.reload().unwrap();
    cluster.wait_for_reports().unwrap();
    let now = reached(&cluster);
    assert!(
        now.contains_key("i4"),
        "new flows reach the instance that was added: {now:?}"
    );
    traffic.expect_all_alive("when an instance was added");

    // Drained by the operator: new flows go elsewhere, those there are go on.
    cluster.afrd.ctl("drain i1").unwrap();
    let now = reached(&cluster);
    assert!(
        !now.contains_key("i1"),
        "new flows avoid what is drained: {now:?}"
    );
    traffic.expect_all_alive("when i1 was drained");
    cluster.afrd.ctl("undrain i1").unwrap();
    let now = reached(&cluster);
    assert!(now.contains_key("i1"), "new flows come back: {now:?}");

    // Drained by the configuration.
    cluster.config.instance_mut(4).unwrap().drain = Some(true);
    cluster.reload().unwrap();
    let now = reached(&cluster);
    assert!(
        !now.contains_key("i4"),
        "new flows avoid what is drained: {now:?}"
    );

    // Declared dead: its flows are reset, all others go on.
    let before = cluster
        .metrics()
        .unwrap()
        .sum("afr_notes_total", &[("reason", "reset_sent")]);
    cluster.afrd.ctl("down i3").unwrap();
    let reset = traffic.expect_resets("i3");
    assert!(reset > 0);
    let now = reached(&cluster);
    assert!(
        !now.contains_key("i3"),
        "new flows avoid what is dead: {now:?}"
    );
    let after = cluster
        .metrics()
        .unwrap()
        .sum("afr_notes_total", &[("reason", "reset_sent")]);
    assert!(
        after - before >= reset as f64,
        "{reset} flows, {before} resets before, {after} after"
    );
    traffic.expect_all_alive("when i3 died");

    // A configuration that is none leaves the running one in force.
    let revision = cluster.metrics().unwrap().sum("afr_config_revision", &[]);
    let bad = "[router]\ncluster = \"none\"\nunheard_of = 1\n";
    assert!(
        !cluster.afrd.reload_text(&cluster.lab, bad).unwrap(),
        "it is refused"
    );
    assert_eq!(
        cluster.metrics().unwrap().sum("afr_config_revision", &[]),
        revision
    );
    let now = reached(&cluster);
    assert!(
        now.contains_key("i2") && !now.contains_key("i4"),
        "as before: {now:?}"
    );

    traffic.expect_all_alive("when a bad configuration was refused");
    traffic.finish();
    cluster.afrd.stop().unwrap();
}

#[test]
fn a_removed_instance_takes_its_flows_along_and_no_others() {
    let mut cluster = cluster(3, None);
    let mut traffic = Traffic::start(&cluster);
    cluster
        .config
        .instance
        .retain(|instance| instance.name != "i2");
    cluster.reload().unwrap();
    assert!(traffic.expect_resets("i2") > 0);
    let now = reached(&cluster);
    assert!(!now.contains_key("i2"), "{now:?}");
    traffic.expect_all_alive("when i2 was removed");
    traffic.finish();
    cluster.afrd.stop().unwrap();
}

#[test]
fn who_waits_for_a_silent_instance_is_told() {
    let mut cluster = cluster(3, Some(1_000));
    // Clients that have sent all they had and wait, as for a first token: nothing of theirs would find out.
    let mut waiting: Vec<Client> = (0..STREAMS).map(|_| cluster.connect().unwrap()).collect();
    for client in &mut waiting {
        client.exchange(1_000).unwrap();
    }
    cluster.unplug(2).unwrap();
    let (dead, living): (Vec<_>, Vec<_>) = waiting
        .into_iter()
        .partition(|client| client.instance() == "i2");
    assert!(!dead.is_empty() && !living.is_empty());
    for mut client in dead {
        assert_eq!(client.end(), Some(ErrorKind::ConnectionReset));
    }
    for mut client in living {
        client.exchange(1_000).unwrap();
    }
    let now = reached(&cluster);
    assert!(
        !now.contains_key("i2"),
        "new flows avoid what is dead: {now:?}"
    );

    // It comes back.
    cluster.plug(2).unwrap();
    cluster.wait_for_reports().unwrap();
    cluster
        .until("believing i2 alive", |metrics| {
            metrics.sum("afr_instance_up", &[("instance", "i2")]) == 1.0
        })
        .unwrap();
    let now = reached(&cluster);
    assert!(now.contains_key("i2"), "{now:?}");
    cluster.afrd.stop().unwrap();
}

/// The system call that the worker's thread is in: its number, or "running".
fn call_of_the_worker(cluster: &EchoCluster) -> String {
    let tasks = format!("/proc/{}/task", cluster.afrd.id());
    let is_worker = |task: &PathBuf| {
        let name = fs::read_to_string(task.join("comm"));
        name.is_ok_and(|name| name.starts_with("rte-worker"))
    };
    let mut tasks = fs::read_dir(tasks)
        .unwrap()
        .map(|task| task.unwrap().path());
    let worker = tasks.find(is_worker).unwrap();
    let call = fs::read_to_string(worker.join("syscall")).unwrap();
    call.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn an_idle_worker_waits_for_packets_and_misses_none() {
    const PPOLL: &str = if cfg!(target_arch = "x86_64") {
        "271"
    } else {
        "73"
    };
    let cluster = cluster(2, None);
    let mut client = cluster.connect().unwrap();
    for _ in 0..20 {
        client.exchange(20_000).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while call_of_the_worker(&cluster) != PPOLL {
            assert!(Instant::now() < until, "it does not wait for packets");
        }
    }
}

//! The exposition: what a Prometheus server reads, and the conventions of its names.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::net::SocketAddr;

use afr_controlplane::api::Request;
use afr_controlplane::api::protocol::InstanceName;
use afr_controlplane::metrics::{Exporter, MetricsServer};
use afr_dataplane::counters::{Figure, LocalCounters};
use afr_dataplane::id::{ClassIx, PortIx, Slot};
use afr_dataplane::verdict::{DispatchReason, DropReason, MetadataNote, PuntReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::Lab;

type Labels = BTreeMap<String, String>;

/// A family as read back.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: BTreeMap<Labels, f64>,
}

/// Reads the text format, version 0.0.4, as strictly as its description is.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!families.contains_key(name), "{name} comes twice");
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
                None => (series, Labels::new()),
            };
            assert_eq!(name, current, "a sample outside its family");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let samples = &mut families.get_mut(name).unwrap().samples;
            assert!(
                samples.insert(labels, value).is_none(),
                "{line} comes twice"
            );
        }
    }
    families
}

fn parse_labels(text: &str) -> Labels {
    let pairs = text.split("\",").map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    pairs.collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

async fn exposition(lab: &Lab) -> BTreeMap<String, Family> {
    let exporter = Exporter::new(lab.site.clone());
    parse(&exporter.render().await.unwrap())
}

#[tokio::test]
async fn names_follow_the_conventions() {
    let lab = Lab::settled().await;
    lab.report(0, 1, 100);
    lab.until(|instances| instances.iter().any(|i| i.report.received > 0))
        .await;
    lab.shared.counters[0].dispatched(ClassIx(0), Some(Slot(0)), DispatchReason::Load);
    let mut local = LocalCounters::default();
    local.count(Figure::RxPackets(PortIx(0)));
    local.copy_to(&lab.shared.counters[0]);
    for (name, family) in exposition(&lab).await {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            name.starts_with("afr_") && name.bytes().all(is_name),
            "{name}"
        );
        assert!(!family.samples.is_empty(), "{name} has no sample");
        assert!(
            family.help.ends_with('.') && family.help.len() > 10,
            "{name}: {}",
            family.help
        );
        match &*family.kind {
            "counter" => assert!(name.ends_with("_total"), "{name} is a counter"),
            "gauge" => assert!(!name.ends_with("_total"), "{name} is a gauge"),
            other => panic!("{name} is a {other}"),
        }
        for unit in [
            "us", "ms", "ns", "kb", "mb", "mbps", "percent", "minutes", "bits",
        ] {
            assert!(
                !name.split('_').any(|part| part == unit),
                "{name}: {unit} is no base unit"
            );
        }
        for value in family.samples.values() {
            assert!(value.is_finite() && *value >= 0.0, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn every_reason_is_there_from_the_start() {
    let lab = Lab::settled().await;
    let families = exposition(&lab).await;
    let check = |family: &str, label: &str, names: &[&str]| {
        let samples = &families[family].samples;
        for name in names {
            for worker in ["0", "1"] {
                let at = labels(&[(label, name), ("worker", worker)]);
                assert_eq!(samples.get(&at), Some(&0.0), "{family} {at:?}");
            }
        }
        assert_eq!(samples.len(), names.len() * 2);
    };
    let names = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<Vec<_>>();
    check(
        "afr_dropped_packets_total",
        "reason",
        &names(&mut DropReason::ALL.iter().map(|r| r.name())),
    );
    check(
        "afr_punted_packets_total",
        "reason",
        &names(&mut PuntReason::ALL.iter().map(|r| r.name())),
    );
    check(
        "afr_notes_total",
        "reason",
        &names(&mut MetadataNote::ALL.iter().map(|r| r.name())),
    );
    let why = &families["afr_class_dispatches_total"].samples;
    for reason in DispatchReason::ALL {
        for class in ["chat", "code"] {
            let at = labels(&[("class", class), ("reason", reason.name())]);
            assert_eq!(why.get(&at), Some(&0.0), "{at:?}");
        }
    }
}

#[tokio::test]
async fn what_an_operator_asks_for_is_there() {
    let lab = Lab::settled().await;
    lab.report(0, 1, 100);
    lab.until(|instances| instances.iter().any(|i| i.report.received > 0))
        .await;
    let families = exposition(&lab).await;
    for name in [
        "afr_build_info",
        "afr_start_time_seconds",
        "afr_control_core_up",
        "afr_config_revision",
        "afr_config_reloads_total",
        "afr_port_receive_packets_total",
        "afr_port_receive_bytes_total",
        "afr_port_transmit_packets_total",
        "afr_port_transmit_bytes_total",
        "afr_port_receive_missed_packets_total",
        "afr_forwarded_packets_total",
        "afr_prompt_tokens_total",
        "afr_affinity_tokens_total",
        "afr_flows",
        "afr_flows_capacity",
        "afr_worker_table_bytes",
        "afr_epoch",
        "afr_epoch_age_seconds",
        "afr_worker_epoch",
        "afr_worker_busy_cycles_total",
        "afr_publish_stalls_total",
        "afr_ring_messages",
        "afr_instance_report_age_seconds",
        "afr_instance_reports_lost_total",
        "afr_instance_in_flight_tokens",
        "afr_residency_signatures",
        "afr_residency_evictions_total",
        "afr_limit",
    ] {
        assert!(families.contains_key(name), "{name}");
    }
    let ages = &families["afr_instance_report_age_seconds"].samples;
    assert_eq!(ages.len(), 1, "absent before the first report");
    let speed = &families["afr_port_link_speed_bytes_per_second"].samples;
    assert_eq!(
        speed,
        &BTreeMap::from([(labels(&[("port", "fabric")]), 1.25e9)])
    );
}

#[tokio::test]
async fn figures_are_those_of_the_workers() {
    let lab = Lab::settled().await;
    for (worker, counters) in lab.shared.counters.iter().enumerate() {
        let mut local = LocalCounters::default();
        local.add(Figure::RxPackets(PortIx(0)), 4);
        local.add(Figure::BusyCycles, 1_000);
        local.add(Figure::Drop(DropReason::NoRoute), worker as u64);
        local.copy_to(counters);
    }
    let slot = lab.instances().await[1].slot;
    lab.shared.counters[0].dispatched(ClassIx(1), Some(Slot(slot)), DispatchReason::Load);
    lab.shared.counters[1].dispatched(ClassIx(1), Some(Slot(slot)), DispatchReason::Affinity);
    let instance = "a".to_owned();
    lab.ask(Request::Drain(InstanceName { instance }))
        .await
        .unwrap();
    let families = exposition(&lab).await;
    let at = |family: &str, pairs: &[(&str, &str)]| families[family].samples[&labels(pairs)];
    assert_eq!(at("afr_received_packets_total", &[("worker", "1")]), 4.0);
    assert_eq!(
        at("afr_worker_cycles_per_packet", &[("worker", "0")]),
        250.0
    );
    assert_eq!(
        at(
            "afr_dropped_packets_total",
            &[("reason", "no_route"), ("worker", "1")]
        ),
        1.0
    );
    assert_eq!(
        at(
            "afr_port_receive_packets_total",
            &[("port", "fabric"), ("worker", "0")]
        ),
        4.0
    );
    assert_eq!(at("afr_instance_draining", &[("instance", "a")]), 1.0);
    assert_eq!(at("afr_class_usable_instances", &[("class", "chat")]), 1.0);
    // Only pairs that occurred.
    let pairs = &families["afr_dispatches_total"].samples;
    assert_eq!(
        pairs,
        &BTreeMap::from([(labels(&[("class", "code"), ("instance", "b")]), 2.0)])
    );
}

#[tokio::test]
async fn an_uneven_load_is_told_and_a_few_packets_are_not() {
    let lab = Lab::settled().await;
    let count = |worker: usize, packets| {
        let mut local = LocalCounters::default();
        local.add(Figure::RxPackets(PortIx(0)), packets);
        local.copy_to(&lab.shared.counters[worker]);
    };
    let workers = lab.shared.counters.len() as u64;
    let told = async || exposition(&lab).await.remove("afr_worker_imbalance");
    lab.site.second();
    count(0, 99 * workers);
    lab.site.second();
    assert!(told().await.is_none(), "too few");
    count(0, 100 * workers);
    lab.site.second();
    let family = told().await.unwrap();
    assert_eq!(family.kind, "gauge");
    for packets in ["received", "handled"] {
        let of = labels(&[("packets", packets)]);
        assert_eq!(family.samples[&of], workers as f64, "all is one's");
    }
    for worker in 1..workers as usize {
        count(worker, 100 * workers);
    }
    lab.site.second();
    let family = told().await.unwrap();
    assert!(family.samples.values().all(|ratio| *ratio == 1.0));
}

#[tokio::test]
async fn worker_figures_outlive_the_core() {
    let lab = Lab::settled().await;
    let (handle, inbox) = afr_controlplane::api::core::channel();
    drop(inbox);
    let platform = afr_controlplane::api::Platform {
        started_unix_s: 0,
        lcores: Vec::new(),
        ports: Vec::new(),
        probe: Box::new(|_| None),
    };
    let site = afr_controlplane::api::Site::new(handle, lab.shared.clone(), platform, "x".into());
    let text = Exporter::new(site.into()).render().await.unwrap();
    let families = parse(&text);
    assert_eq!(families["afr_control_core_up"].samples[&Labels::new()], 0.0);
    assert!(families.contains_key("afr_dropped_packets_total"));
    assert!(!families.contains_key("afr_epoch"));
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: afr\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn served_over_http() {
    let lab = Lab::settled().await;
    let exporter = Exporter::new(lab.site.clone());
    let any = "127.0.0.1:0".parse().unwrap();
    let server = MetricsServer::bind(any, exporter.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    let serving = tokio::spawn(server.serve(future::pending()));

    let (head, body) = get(address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let names: BTreeSet<_> = parse(&body).into_keys().collect();
    assert!(names.contains("afr_epoch"));
    let (head, body) = get(address, "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains(r#""ok":true"#), "{body}");
    assert!(get(address, "/else").await.0.starts_with("HTTP/1.1 404"));

    let taken = MetricsServer::bind(address, exporter)
        .await
        .unwrap_err()
        .to_string();
    assert!(taken.contains("metrics.listen"), "{taken}");
    serving.abort();
}

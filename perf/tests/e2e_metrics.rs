//! What `afrd` says of itself: metrics that add up, `afrctl` that scripts can read, explanations that come true.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a test says what is wrong by failing

use std::io::Write;
use std::process::{Command, Stdio};

use afr_endpoint::report::Sample;
use afr_perf::lab::{
    Dial, EchoCluster, Interrupt, Lab, LabSpec, Wish, client_address, label, sender,
};
use serde_json::Value;

const CONNECTIONS: usize = 12;

fn cluster() -> EchoCluster {
    let lab = Lab::build(LabSpec::default(), &Interrupt::by_hand()).unwrap();
    EchoCluster::start(lab, |config| {
        config.catalogue[0].labels = vec!["size:large".to_owned(), "only:i3".to_owned()];
        for (number, labels) in [(1, vec!["size:large"]), (3, vec!["size:large", "only:i3"])] {
            let labels = labels.into_iter().map(str::to_owned).collect();
            config.instance_mut(number).unwrap().labels = labels;
        }
    })
    .unwrap()
}

#[test]
fn metrics_add_up_and_are_named_by_the_conventions() {
    let cluster = cluster();
    for _ in 0..CONNECTIONS {
        cluster.connect().unwrap().exchange(10_000).unwrap();
    }
    // Reports go on coming in, so the figures never rest; each reading must add up all the same, give or take what is
    // copied between two figures, and it must do so exactly at some point.
    cluster
        .until("a reading that adds up", |metrics| {
            let sum = |name| metrics.sum(name, &[]);
            let told = sum("afr_forwarded_packets_total")
                + sum("afr_punted_packets_total")
                + sum("afr_dropped_packets_total");
            told > 0.0 && told == sum("afr_received_packets_total")
        })
        .unwrap();

    let metrics = cluster.metrics().unwrap();
    assert_eq!(metrics.sum("afr_dispatches_total", &[]), CONNECTIONS as f64);
    assert_eq!(
        metrics.sum("afr_notes_total", &[("reason", "flow_created")]),
        CONNECTIONS as f64
    );
    // Reasons are there before anything happens for them.
    assert!(metrics.text().contains("reason=\"mac_invalid\""));
    promtool(metrics.text());
    cluster.afrd.stop().unwrap();
}

/// Prometheus' own opinion of names, types and help, where it is installed.
fn promtool(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!(
            "no promtool here (Debian: prometheus): the metrics' names are not checked by it"
        );
        return;
    };
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_view_is_there_for_people_and_for_scripts() {
    let cluster = cluster();
    let mut client = cluster.connect().unwrap();
    client.exchange(1_000).unwrap();
    for view in [
        "ports",
        "workers",
        "instances",
        "flows",
        "classes",
        "counters",
        "aft",
    ] {
        let table = cluster.afrd.ctl(&format!("show {view}")).unwrap();
        assert!(table.lines().count() >= 2, "show {view}: {table}");
        let json = cluster.afrd.ctl_json(&format!("show {view}")).unwrap();
        assert!(json.is_object() || json.is_array(), "show {view}: {json}");
    }
    let instances = cluster.afrd.ctl("show instances").unwrap();
    let flows = cluster.afrd.ctl_json("show flows").unwrap().to_string();
    for number in 1..=3 {
        assert!(instances.contains(&format!("i{number}")), "{instances}");
    }
    assert!(
        flows.contains(client.instance()),
        "the flow of {}: {flows}",
        client.instance()
    );
    assert!(
        cluster.afrd.ctl("drain nobody").is_err(),
        "there is no instance nobody"
    );
    cluster.afrd.ctl("top --once").unwrap();
    cluster.afrd.stop().unwrap();
}

#[test]
fn an_explanation_comes_true() {
    let mut cluster = cluster();
    // i2 has the least to do, but not the label; of the two that have it, i1 has less.
    let pending = [(1, 40_000), (2, 0), (3, 80_000)];
    for (number, pending) in pending {
        let sample = Sample {
            pending_prefill_tokens: pending,
            prefill_rate_tokens_s: 8_000,
            queue_depth: 1,
            running: 1,
            ..Sample::default()
        };
        cluster.report(number, sample);
    }
    // A report heard next may still be one of before.
    cluster
        .until("believing what the instances say now", |metrics| {
            pending.iter().all(|(number, pending)| {
                let name = format!("i{number}");
                let believed = metrics.sum("afr_instance_pending_tokens", &[("instance", &name)]);
                believed == f64::from(*pending)
            })
        })
        .unwrap();
    cluster.afrd.settle(&cluster.lab).unwrap();

    for (labels, expected) in [
        (vec![], "i2"),
        (vec!["size:large"], "i1"),
        (vec!["only:i3"], "i3"),
    ] {
        let options: String = labels
            .iter()
            .map(|label| format!(" --label {label}"))
            .collect();
        let explained = cluster
            .afrd
            .ctl_json(&format!("explain --class chat{options}"))
            .unwrap();
        assert_eq!(winner(&explained), expected, "{explained}");
        let wish = Wish {
            labels: labels.iter().map(|name| label(name)).collect(),
            ..Wish::of(1, client_address(0), EchoCluster::service(1))
        };
        let header = wish.header(&sender()).unwrap();
        let dial = Dial::plain(wish.from, wish.to).with(&header);
        let reached = cluster.reached(&dial, 3).unwrap();
        assert!(
            reached.iter().all(|name| name == expected),
            "{labels:?}: {reached:?}"
        );
    }
    cluster.afrd.stop().unwrap();
}

/// Who wins, wherever in the answer it is told.
fn winner(explanation: &Value) -> &str {
    let inner = explanation.get("data").unwrap_or(explanation);
    inner["winner"].as_str().unwrap_or("nobody")
}

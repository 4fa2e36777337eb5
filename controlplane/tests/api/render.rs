//! What people see, to the letter. Run with `UPDATE_SNAPSHOTS=1` to write what is seen now; then read the difference.

use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use afr_controlplane::api::Response;
use afr_controlplane::api::view::*;
use afr_controlplane::ctl::render::{Detail, render};
use afr_controlplane::ctl::top::{Sample, screen};

fn check(name: &str, seen: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/snapshots");
    let file = directory.join(format!("{name}.txt"));
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, seen).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(seen, expected, "{name}: seen is\n{seen}");
}

fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn instance(id: u32, name: &str, dispatches: u64) -> InstanceView {
    InstanceView {
        id,
        name: name.to_owned(),
        slot: 3,
        incarnation: 1,
        state: StateView::Up,
        causes: Vec::new(),
        available: true,
        classes: strings(&["chat", "code"]),
        refuses: Vec::new(),
        labels: strings(&["tool:search"]),
        path: PathView::Encap {
            sid: address(0xd),
            port: "fabric".to_owned(),
            mac: "02:00:00:00:01:01".to_owned(),
        },
        tunnel_source: address(0x11),
        mtu_bytes: 1_500,
        weight: 1,
        prefill_rate_tokens_s: 8_000,
        pending_tokens: 12_345,
        in_flight_tokens: 678,
        queue_us: 1_627_875,
        pressure_us: 0,
        waiting_requests: 2,
        running_requests: 17,
        kv_used_ratio: 0.42,
        load_class: 9,
        report: ReportView {
            age_us: Some(12_300),
            boot_epoch_s: 1_700_000_000,
            seq: 912,
            received: 910,
            lost: 2,
        },
        dispatches,
    }
}

fn instances() -> Vec<InstanceView> {
    vec![
        instance(11, "inst-1", 1_234_567),
        InstanceView {
            state: StateView::Draining,
            causes: vec![StateCause::DrainedByOperator, StateCause::DrainedByReport],
            classes: strings(&["chat"]),
            refuses: strings(&["chat"]),
            path: PathView::L2 {
                port: "fabric".to_owned(),
                mac: "02:00:00:00:01:02".to_owned(),
            },
            report: ReportView {
                age_us: None,
                boot_epoch_s: 0,
                seq: 0,
                received: 0,
                lost: 0,
            },
            ..instance(12, "a-longer-name", 8)
        },
        InstanceView {
            available: false,
            ..instance(14, "inst-4", 0)
        },
        InstanceView {
            state: StateView::Down,
            causes: vec![StateCause::DownByOperator, StateCause::Silent],
            ..instance(13, "inst-3", 0)
        },
    ]
}

fn worker(worker: u16, received_packets: u64) -> WorkerView {
    WorkerView {
        worker,
        lcore: Some(worker + 1),
        epoch: 40,
        epochs_behind: 1,
        received_packets,
        forwarded_request_packets: received_packets / 2,
        forwarded_reply_packets: received_packets / 4,
        punted_packets: 9,
        dropped_packets: 5,
        originated_packets: 3,
        handed_packets: 1,
        steered_out_packets: received_packets / 8,
        steered_in_packets: received_packets / 10,
        flows: 52_428,
        flows_capacity: 1_048_576,
        busy_cycles: received_packets * 250,
        busy_bursts: 10,
        idle_polls: 90,
        cycles_per_packet: (received_packets > 0).then_some(250.4),
        ring_messages: 4,
        ring_capacity: 16_384,
        ring_pushed: 100,
        ring_full: 0,
    }
}

fn counters(scale: u64) -> CountersView {
    let reason = |name: &str, help: &str, count| ReasonCount {
        name: name.to_owned(),
        help: help.to_owned(),
        count,
    };
    CountersView {
        worker: None,
        received_packets: 10_000 * scale,
        forwarded_request_packets: 6_000 * scale,
        forwarded_reply_packets: 3_000 * scale,
        originated_packets: 12,
        prompt_tokens: 40_000 * scale,
        affinity_tokens: 30_000 * scale,
        drops: vec![
            reason("frame_truncated", "The frame ends early.", 0),
            reason("hop_limit", "The hop limit is exhausted.", 900 * scale),
        ],
        punts: vec![reason(
            "report",
            "A report datagram, consumed.",
            100 * scale,
        )],
        notes: vec![reason("absent", "A new flow without metadata.", 0)],
        dispatches: vec![
            ClassReasonCount {
                class: "chat".to_owned(),
                reason: "affinity".to_owned(),
                count: 50 * scale,
            },
            ClassReasonCount {
                class: "chat".to_owned(),
                reason: "load".to_owned(),
                count: 0,
            },
        ],
    }
}

fn aft() -> AftView {
    AftView {
        epoch: 4_711,
        epoch_age_us: 1_250,
        config_revision: 3,
        cluster: 1,
        instances: 3,
        instance_slots: 4_096,
        instances_waiting: 0,
        classes: 2,
        signatures: 123_456,
        signatures_capacity: 1_048_576,
        signature_evictions: 7,
        holder_overflows: 0,
        consumed_messages: vec![1_000, 2_000_000],
        pending_changes: 12,
        dropped_changes: 0,
        publish_stalls: 1,
        publish_stalled_us: 250_000,
        workers_behind: 1,
    }
}

fn seen(response: &Response) -> String {
    render(response, Detail::Brief)
}

#[test]
fn instances_as_a_table_and_in_full() {
    let response = Response::Instances(instances());
    check("instances", &seen(&response));
    check("instances_all", &render(&response, Detail::All));
    assert_eq!(seen(&Response::Instances(Vec::new())), "no instances\n");
}

#[test]
fn ports() {
    let port = PortView {
        index: 0,
        name: "fabric".to_owned(),
        role: "inside".to_owned(),
        boundary: "strip".to_owned(),
        device: "net_af_packet0".to_owned(),
        driver: "net_af_packet".to_owned(),
        queues: 2,
        mac: "02:00:00:00:00:01".to_owned(),
        mtu_bytes: 1_500,
        vlan: Some(100),
        link_up: Some(true),
        link_speed_mbps: Some(25_000),
        receive_packets: 1_000_000,
        receive_bytes: 64_000_000,
        transmit_packets: 999_999,
        transmit_bytes: 63_999_936,
        transmit_full_packets: 1,
        device_counters: Some(DeviceCounters {
            receive_missed_packets: 17,
            extended: vec![
                NamedCount {
                    name: "rx_q0_errors".to_owned(),
                    count: 17,
                },
                NamedCount {
                    name: "rx_q1_errors".to_owned(),
                    count: 0,
                },
            ],
            ..DeviceCounters::default()
        }),
    };
    let silent = PortView {
        index: 1,
        name: "clients".to_owned(),
        role: "outside".to_owned(),
        vlan: None,
        link_up: None,
        device_counters: None,
        ..port.clone()
    };
    let response = Response::Ports(vec![port, silent]);
    check("ports", &seen(&response));
    check("ports_all", &render(&response, Detail::All));
}

#[test]
fn workers() {
    check(
        "workers",
        &seen(&Response::Workers(vec![worker(0, 1_000_000), worker(1, 0)])),
    );
}

#[test]
fn counters_brief_and_all() {
    let response = Response::Counters(counters(3));
    check("counters", &seen(&response));
    check("counters_all", &render(&response, Detail::All));
}

#[test]
fn flows() {
    let flow = FlowView {
        worker: 0,
        source: address(0xc1),
        source_port: 40_001,
        destination: address(0xa9),
        destination_port: 80,
        protocol: 6,
        class: "chat".to_owned(),
        instance: Some("inst-1".to_owned()),
        spilled: false,
        state: "established".to_owned(),
        metadata: true,
        opening_tokens: 0,
        age_ms: 1_500,
    };
    let spilled = FlowView {
        protocol: 17,
        instance: None,
        spilled: true,
        metadata: false,
        ..flow.clone()
    };
    let gone = FlowView {
        protocol: 132,
        instance: None,
        state: "opening".to_owned(),
        opening_tokens: 4_096,
        ..flow.clone()
    };
    let response = Response::Flows(FlowsView {
        flows: vec![flow, spilled, gone],
        scanned: 1_048_576,
        complete: false,
    });
    check("flows", &seen(&response));
}

#[test]
fn the_aft_and_its_classes() {
    check("aft", &seen(&Response::Aft(aft())));
    let class = ClassView {
        id: 1,
        name: "chat".to_owned(),
        policy: "ttft".to_owned(),
        plain: "maglev".to_owned(),
        objective_us: Some(2_000_000),
        saturation: "least-bad".to_owned(),
        spill: Some(address(0xbf)),
        on_death: "reset".to_owned(),
        addresses: vec![address(1), address(2)],
        instances: 3,
        usable_instances: 1,
        refusing_instances: 1,
        maglev_entries: 16_381,
        dispatches: 1_234_567,
    };
    let plain = ClassView {
        id: 2,
        name: "code".to_owned(),
        objective_us: None,
        saturation: "reject".to_owned(),
        spill: None,
        addresses: Vec::new(),
        ..class.clone()
    };
    check("classes", &seen(&Response::Classes(vec![class, plain])));
}

#[test]
fn explanation() {
    let candidate = CandidateView {
        id: 11,
        instance: "inst-1".to_owned(),
        why_not: None,
        pending_tokens: 1_000,
        in_flight_tokens: 200,
        reuse_tokens: 1_024,
        queue_us: 150_000,
        prefill_us: 384_000,
        pressure_us: 0,
        total_us: 534_000,
        recent_us: 7_000,
        cost_us: 925_000,
    };
    let out = CandidateView {
        id: 12,
        instance: "inst-2".to_owned(),
        why_not: Some("lacks a label".to_owned()),
        reuse_tokens: 0,
        total_us: 90_000,
        recent_us: 0,
        cost_us: 90_000,
        ..candidate.clone()
    };
    let view = ExplanationView {
        class: "chat".to_owned(),
        policy: "ttft".to_owned(),
        prompt_tokens: 4_096,
        weight_per_mille: 2_000,
        objective_us: Some(2_000_000),
        candidates: vec![candidate, out.clone()],
        winner: Some("inst-1".to_owned()),
        reason: "the only candidate; it holds 1024 tokens of the prompt".to_owned(),
    };
    check("explanation", &seen(&Response::Explanation(view.clone())));
    let nobody = ExplanationView {
        weight_per_mille: 1_000,
        objective_us: None,
        candidates: vec![out],
        winner: None,
        reason: "every instance of the class is out: the flow is rejected".to_owned(),
        ..view
    };
    check("explanation_nobody", &seen(&Response::Explanation(nobody)));
}

#[test]
fn short_answers() {
    let change = StateChangeView {
        id: 11,
        instance: "inst-1".to_owned(),
        before: StateView::Up,
        after: StateView::Draining,
        causes: vec![StateCause::DrainedByOperator],
    };
    let same = StateChangeView {
        before: StateView::Draining,
        ..change.clone()
    };
    let check_of = |name: &str, ok| HealthCheck {
        name: name.to_owned(),
        ok,
        detail: "found".to_owned(),
    };
    let answers = [
        Response::Version(VersionView {
            program: "afrd".to_owned(),
            version: "1.2.3".to_owned(),
            protocol: 1,
            started_unix_s: 0,
        }),
        Response::Health(HealthView {
            ok: false,
            forwards: true,
            checks: vec![check_of("control_core", true), check_of("classes", false)],
        }),
        Response::Changed(change),
        Response::Changed(same),
        Response::Reloaded(ReloadView {
            revision: 4,
            instances_added: 2,
            instances_changed: 1,
            instances_removed: 0,
        }),
    ];
    let texts: Vec<_> = answers.iter().map(seen).collect();
    check("short", &texts.join("\n"));
}

#[test]
fn top_shows_rates() {
    let sample = |scale: u64| Sample {
        aft: aft(),
        counters: counters(scale),
        workers: vec![worker(0, 1_000_000 * scale), worker(1, 0)],
        instances: vec![instance(11, "inst-1", 100 * scale)],
    };
    check(
        "top",
        &screen(&sample(1), &sample(4), Duration::from_secs(2)),
    );
    // A restart in between counts from zero, and an instance that is new from its first.
    let restarted = screen(&sample(4), &sample(1), Duration::from_secs(1));
    assert!(restarted.contains("dispatched 50 flows/s"), "{restarted}");
}

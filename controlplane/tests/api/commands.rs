//! Every command, answered by a real control core.

use std::fs;

use afr_controlplane::api::protocol::{
    CounterFilter, FlowFilter, InstanceName, RequestLine, ResponseLine,
};
use afr_controlplane::api::view::{StateCause, StateView};
use afr_controlplane::api::{ApiError, Request, Response};
use afr_dataplane::counters::{Figure, LocalCounters};
use afr_dataplane::id::{ClassIx, PortIx, Slot};
use afr_dataplane::verdict::{DispatchReason, DropReason};

use crate::explain::explain;
use crate::lab::{CONFIG, Lab};

fn named(instance: &str) -> InstanceName {
    InstanceName {
        instance: instance.to_owned(),
    }
}

#[tokio::test]
async fn every_answer_survives_its_line() {
    let lab = Lab::settled().await;
    lab.add_flow(0, 1, 0, 0);
    let requests = [
        Request::Version,
        Request::Health,
        Request::ShowPorts,
        Request::ShowWorkers,
        Request::ShowInstances,
        Request::ShowFlows(FlowFilter::default()),
        Request::ShowClasses,
        Request::ShowCounters(CounterFilter::default()),
        Request::ShowAft,
        Request::Explain(explain("chat")),
        Request::Drain(named("a")),
        Request::Undrain(named("a")),
        Request::Down(named("12")),
        Request::Up(named("12")),
        Request::Reload,
    ];
    for request in requests {
        let line = serde_json::to_vec(&RequestLine::new(request.clone())).unwrap();
        assert_eq!(RequestLine::parse(&line).unwrap().request, request);
        let answer = lab.ask(request.clone()).await;
        assert!(answer.is_ok(), "{request:?}: {answer:?}");
        let answer = ResponseLine::new(answer);
        let line = serde_json::to_string(&answer).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<ResponseLine>(&line).unwrap(), answer);
    }
}

#[tokio::test]
async fn instances_show_their_reports() {
    let lab = Lab::settled().await;
    let before = lab.instances().await;
    assert_eq!(before[0].report.age_us, None);
    assert_eq!(before[0].prefill_rate_tokens_s, 1_000);
    lab.report(before[0].slot, 1, 500);
    // Long enough after the first for number 2 to count as lost.
    lab.report(before[0].slot, 3, 500);
    lab.report(before[0].slot, 66, 500);
    lab.until(|instances| instances[0].report.seq == 66).await;
    let after = lab.instances().await;
    let a = &after[0];
    assert_eq!((a.id, &*a.name, a.state), (11, "a", StateView::Up));
    assert_eq!((a.report.received, a.report.lost), (3, 1));
    assert!(a.report.age_us.is_some());
    assert_eq!((a.waiting_requests, a.running_requests), (3, 4));
    assert!((a.kv_used_ratio - 0.2).abs() < 1e-9);
    assert_eq!(
        (&a.classes[..], &a.labels[..]),
        (&["chat".to_owned()][..], &["tool:search".to_owned()][..])
    );
    assert_eq!(after[1].report.received, 0);
}

#[tokio::test]
async fn tokens_in_flight_count_until_reported() {
    let lab = Lab::settled().await;
    let slot = lab.instances().await[1].slot;
    lab.shared.inflight.commit_direct(Slot(slot), 2_000_000);
    let b = &lab.instances().await[1];
    // The core may have let the silent instance do some of it already.
    assert!((1..=2_000_000).contains(&b.in_flight_tokens), "{b:?}");
    assert_eq!(b.queue_us, u64::from(b.in_flight_tokens) * 1_000);
}

#[tokio::test]
async fn operators_change_states_at_once() {
    let lab = Lab::settled().await;
    let steps = [
        (
            Request::Drain(named("a")),
            StateView::Up,
            StateView::Draining,
        ),
        (
            Request::Drain(named("11")),
            StateView::Draining,
            StateView::Draining,
        ),
        (
            Request::Undrain(named("a")),
            StateView::Draining,
            StateView::Up,
        ),
        (Request::Down(named("a")), StateView::Up, StateView::Down),
        (Request::Up(named("a")), StateView::Down, StateView::Up),
    ];
    for (request, before, after) in steps {
        match lab.ask(request.clone()).await.unwrap() {
            Response::Changed(change) => {
                assert_eq!((change.id, &*change.instance), (11, "a"));
                assert_eq!(
                    (change.before, change.after),
                    (before, after),
                    "{request:?}"
                );
                let drained = change.causes == [StateCause::DrainedByOperator];
                assert_eq!(drained, after == StateView::Draining);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(lab.instances().await[0].state, after);
    }
    let error = lab.ask(Request::Drain(named("c"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"no instance is called "c"; there are: a, b"#
    );
}

#[tokio::test]
async fn reload_changes_or_leaves_all_as_it_is() {
    let lab = Lab::settled().await;
    let file = lab.directory.path().join("afrd.toml");
    let third = CONFIG
        .replace(r#"name = "b""#, r#"name = "c""#)
        .replace("id = 12", "id = 13");
    fs::write(&file, third).unwrap();
    match lab.ask(Request::Reload).await.unwrap() {
        Response::Reloaded(reload) => {
            assert_eq!(reload.revision, 2);
            assert_eq!((reload.instances_added, reload.instances_removed), (1, 1));
        }
        other => panic!("{other:?}"),
    }
    let names = |instances: &[afr_controlplane::api::view::InstanceView]| {
        let names = instances.iter().map(|instance| instance.name.clone());
        names.collect::<Vec<_>>() == ["a", "c"]
    };
    lab.until(names).await;

    fs::write(
        &file,
        CONFIG.replace("cluster = 1", "cluster = 0\nclutser = 1"),
    )
    .unwrap();
    match lab.ask(Request::Reload).await.unwrap_err() {
        ApiError::Refused { reasons } => {
            assert!(
                reasons.iter().any(|reason| reason.contains("clutser")),
                "{reasons:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    fs::write(&file, CONFIG.replace("lcores = [2, 3]", "lcores = [2]")).unwrap();
    let refused = lab.ask(Request::Reload).await.unwrap_err().to_string();
    assert!(
        refused.contains("[workers]") && refused.contains("restart"),
        "{refused}"
    );
    fs::remove_file(&file).unwrap();
    assert!(lab.ask(Request::Reload).await.is_err());
    lab.until(names).await;
    assert_eq!(lab.site.reloads(), (1, 3));
}

#[tokio::test]
async fn counters_add_up_over_workers() {
    let lab = Lab::settled().await;
    for (worker, counters) in lab.shared.counters.iter().enumerate() {
        let mut local = LocalCounters::default();
        local.add(Figure::RxPackets(PortIx(1)), 10);
        local.add(Figure::Handed, 1);
        local.add(Figure::Drop(DropReason::HopLimit), 2 + worker as u64);
        local.add(Figure::ForwardedRequest, 8);
        local.add(Figure::BusyCycles, 1_100);
        local.copy_to(counters);
        counters.dispatched(ClassIx(1), Some(Slot(0)), DispatchReason::Affinity);
    }
    let Ok(Response::Counters(all)) = lab
        .ask(Request::ShowCounters(CounterFilter::default()))
        .await
    else {
        panic!()
    };
    assert_eq!(
        (all.received_packets, all.forwarded_request_packets),
        (22, 16)
    );
    let drop = all
        .drops
        .iter()
        .find(|drop| drop.name == "hop_limit")
        .unwrap();
    assert_eq!(drop.count, 5);
    assert_eq!(all.drops.len(), DropReason::COUNT);
    let code: Vec<_> = all.dispatches.iter().filter(|row| row.count > 0).collect();
    assert_eq!(code.len(), 1);
    assert_eq!(
        (&*code[0].class, &*code[0].reason, code[0].count),
        ("code", "affinity", 2)
    );

    let worker = CounterFilter { worker: Some(1) };
    let Ok(Response::Counters(one)) = lab.ask(Request::ShowCounters(worker)).await else {
        panic!()
    };
    assert_eq!((one.received_packets, one.worker), (11, Some(1)));
    let Ok(Response::Workers(workers)) = lab.ask(Request::ShowWorkers).await else {
        panic!()
    };
    assert_eq!(
        workers.iter().map(|w| w.lcore).collect::<Vec<_>>(),
        [Some(2), Some(3)]
    );
    assert_eq!(workers[0].cycles_per_packet, Some(100.0));
    let Ok(Response::Ports(ports)) = lab.ask(Request::ShowPorts).await else {
        panic!()
    };
    assert_eq!(
        (ports[1].receive_packets, ports[0].receive_packets),
        (20, 0)
    );
    assert_eq!((ports[0].link_up, ports[1].link_up), (Some(true), None));
    assert_eq!((&*ports[0].role, &*ports[1].role), ("inside", "outside"));
}

#[tokio::test]
async fn classes_know_who_can_serve_them() {
    let lab = Lab::settled().await;
    let usable = async || match lab.ask(Request::ShowClasses).await.unwrap() {
        Response::Classes(classes) => {
            let of = classes.iter().map(|c| (c.instances, c.usable_instances));
            of.collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(usable().await, [(2, 2), (1, 1)]);
    lab.ask(Request::Drain(named("b"))).await.unwrap();
    assert_eq!(usable().await, [(2, 1), (1, 0)]);

    let Ok(Response::Health(health)) = lab.ask(Request::Health).await else {
        panic!()
    };
    assert!(!health.ok && health.forwards, "{health:?}");
    assert!(
        health
            .checks
            .iter()
            .any(|check| check.detail.ends_with("new flows of code"))
    );
}

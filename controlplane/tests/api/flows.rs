//! `show flows`: found at every worker, filtered, bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use afr_controlplane::api::protocol::{CounterFilter, FlowFilter};
use afr_controlplane::api::view::FlowsView;
use afr_controlplane::api::{ApiError, Backend as _, LocalBackend, Request, Response};
use afr_dataplane::message::WorkerCommand;

use crate::lab::Lab;

async fn flows(lab: &Lab, class: Option<&str>, instance: Option<&str>, limit: u32) -> FlowsView {
    let filter = FlowFilter {
        class: class.map(str::to_owned),
        instance: instance.map(str::to_owned),
        limit: Some(limit),
    };
    match lab.ask(Request::ShowFlows(filter)).await.unwrap() {
        Response::Flows(flows) => flows,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn flows_of_all_workers_are_found_and_filtered() {
    let lab = Lab::settled().await;
    let slots: Vec<u16> = lab.instances().await.iter().map(|i| i.slot).collect();
    // More than one chunk at worker 0.
    for sport in 0..5_000 {
        lab.add_flow(
            0,
            sport,
            u16::from(sport % 10 == 0),
            slots[usize::from(sport % 2)],
        );
    }
    for sport in 0..30 {
        lab.add_flow(1, sport, 0, slots[1]);
    }
    let all = flows(&lab, None, None, 10_000).await;
    assert_eq!(
        (all.flows.len(), all.scanned, all.complete),
        (5_030, 5_030, true)
    );
    assert_eq!(
        flows(&lab, Some("code"), None, 10_000).await.flows.len(),
        500
    );
    assert_eq!(
        flows(&lab, None, Some("a"), 10_000).await.flows.len(),
        2_500
    );
    assert_eq!(
        flows(&lab, Some("1"), Some("12"), 10_000).await.flows.len(),
        2_530
    );
    let some = flows(&lab, None, None, 7).await;
    assert_eq!((some.flows.len(), some.complete), (7, false));
    let exact = flows(&lab, Some("code"), None, 500).await;
    assert_eq!((exact.flows.len(), exact.complete), (500, true));

    let flow = all.flows.iter().find(|flow| flow.worker == 1).unwrap();
    assert_eq!(
        (flow.source_port, flow.destination_port, flow.protocol),
        (flow.source_port, 80, 6)
    );
    assert_eq!(
        (&*flow.class, flow.instance.as_deref()),
        ("chat", Some("b"))
    );
    assert_eq!(
        (&*flow.state, flow.spilled, flow.metadata),
        ("opening", false, false)
    );
}

#[tokio::test]
async fn a_flow_of_a_former_tenant_names_nobody() {
    let lab = Lab::settled().await;
    lab.add_flow(0, 1, 9, 15);
    let found = flows(&lab, None, None, 10).await;
    assert_eq!(found.flows[0].instance, None);
    assert_eq!(found.flows[0].class, "#9");
}

#[tokio::test]
async fn what_a_worker_answers_into_outlives_who_asked() {
    let lab = Lab::settled().await;
    lab.workers_stuck.store(true, Ordering::Relaxed);
    let backend = LocalBackend::new(Arc::clone(&lab.site));
    let asked = backend.handle(Request::ShowFlows(FlowFilter::default()));
    assert!(matches!(asked.await, Err(ApiError::WorkerSilent { .. })));
    drop(backend);
    // The worker comes to it when nobody waits any more.
    let Some(WorkerCommand::ScanFlows { reply, .. }) = lab.shared.commands[0].pop() else {
        panic!("no command");
    };
    assert!(Arc::strong_count(&reply) > 1, "the worker would free it");
}

#[tokio::test]
async fn wrong_filters_are_told_what_is_allowed() {
    let lab = Lab::settled().await;
    for (limit, class) in [(0, None), (10_001, None), (1, Some("c"))] {
        let filter = FlowFilter {
            class: class.map(str::to_owned),
            limit: Some(limit),
            ..FlowFilter::default()
        };
        let error = lab
            .ask(Request::ShowFlows(filter))
            .await
            .unwrap_err()
            .to_string();
        let allowed = match class {
            None => "1 to 10000",
            Some(_) => "there are: chat, code",
        };
        assert!(error.contains(allowed), "{error}");
    }
    let worker = CounterFilter { worker: Some(2) };
    let error = lab.ask(Request::ShowCounters(worker)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"no worker is called "2"; there are: 0, 1"#
    );
}

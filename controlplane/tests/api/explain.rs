//! `explain`: candidates, winner and reason, on what the control core knows.

use afr_controlplane::api::protocol::{ExplainRequest, InstanceName, PrefixText};
use afr_controlplane::api::{Request, Response};
use afr_dataplane::id::Slot;
use afr_dataplane::message::WorkerMsg;
use afr_wire::{CatalogueVersion, DomainId, Prefix, Signature};

use crate::lab::Lab;

pub(crate) fn explain(class: &str) -> ExplainRequest {
    ExplainRequest {
        class: class.to_owned(),
        prompt_tokens: 1_024,
        ..ExplainRequest::default()
    }
}

#[tokio::test]
async fn explain_names_the_winner_and_why() {
    let lab = Lab::settled().await;
    let instances = lab.instances().await;
    let prefix = Prefix {
        depth: 2,
        signature: Signature([0x8c, 0xf4, 0x78, 0x50]),
    };
    let dispatched = WorkerMsg::Dispatched {
        slot: Slot(instances[1].slot),
        catalogue: CatalogueVersion(1),
        domain: DomainId(7),
        prefixes: [prefix].into_iter().collect(),
    };
    assert!(lab.shared.rings[1].push(dispatched).is_ok());
    // A second's work, of which a fifth counts as sent lately, and then less and less.
    let sent = Slot(instances[0].slot);
    lab.shared.inflight.commit_direct(sent, 1_000);
    let request = ExplainRequest {
        domain: 7,
        prefixes: vec![PrefixText {
            depth: 2,
            signature: "8cf47850".to_owned(),
        }],
        ..explain("chat")
    };
    let view = loop {
        match lab.ask(Request::Explain(request.clone())).await.unwrap() {
            Response::Explanation(view) if view.candidates[0].reuse_tokens == 0 => {}
            Response::Explanation(view) => break view,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(view.winner.as_deref(), Some("b"));
    assert_eq!((view.prompt_tokens, &*view.policy), (1_024, "ttft"));
    let [first, second] = &view.candidates[..] else {
        panic!("{view:?}")
    };
    assert_eq!(
        (&*first.instance, first.reuse_tokens, first.prefill_us),
        ("b", 512, 512_000)
    );
    assert_eq!(
        (&*second.instance, second.reuse_tokens, second.total_us),
        ("a", 0, 2_024_000)
    );
    assert!((1..=200_000).contains(&second.recent_us), "{second:?}");
    assert_eq!(second.cost_us, second.total_us + second.recent_us);
    assert_eq!(first.recent_us, 0);
    assert_eq!(
        view.reason,
        "smallest estimated time to first token; it holds 512 tokens of the prompt"
    );

    let labelled = ExplainRequest {
        labels: vec!["tool:search".to_owned()],
        ..request
    };
    let Ok(Response::Explanation(view)) = lab.ask(Request::Explain(labelled)).await else {
        panic!()
    };
    assert_eq!(view.winner.as_deref(), Some("a"));
    assert_eq!(view.candidates[1].why_not.as_deref(), Some("lacks a label"));
    assert_eq!(view.reason, "the only candidate");

    let Ok(Response::Explanation(view)) = lab.ask(Request::Explain(explain("code"))).await else {
        panic!()
    };
    assert!(view.reason.ends_with("beyond the objective of 1000 us: the flow is dispatched to the smallest estimate all the same"), "{}", view.reason);
    lab.ask(Request::Down(InstanceName {
        instance: "b".to_owned(),
    }))
    .await
    .unwrap();
    let Ok(Response::Explanation(view)) = lab.ask(Request::Explain(explain("code"))).await else {
        panic!()
    };
    assert_eq!(
        (view.winner, &*view.reason),
        (
            None,
            "every instance of the class is out: the flow is rejected"
        )
    );
    assert_eq!(view.candidates[0].why_not.as_deref(), Some("believed dead"));
}

#[tokio::test]
async fn explain_refuses_what_no_request_can_carry() {
    let lab = Lab::settled().await;
    let prefix = |depth, signature: &str| PrefixText {
        depth,
        signature: signature.to_owned(),
    };
    let cases = [
        (
            ExplainRequest {
                class: "x".to_owned(),
                ..explain("chat")
            },
            "there are: chat, code",
        ),
        (
            ExplainRequest {
                labels: vec!["x".to_owned()],
                ..explain("chat")
            },
            "there are: tool:search, lang:de",
        ),
        (
            ExplainRequest {
                labels: vec!["lang:de".to_owned(); 9],
                ..explain("chat")
            },
            "at most 8",
        ),
        (
            ExplainRequest {
                catalogue: Some(2),
                ..explain("chat")
            },
            "no catalogue is called \"2\"; there are: 1",
        ),
        (
            ExplainRequest {
                prefixes: vec![prefix(0, "00000000")],
                ..explain("chat")
            },
            "at least 1",
        ),
        (
            ExplainRequest {
                prefixes: vec![prefix(2, "00000000"), prefix(2, "00000000")],
                ..explain("chat")
            },
            "strictly ascending",
        ),
        (
            ExplainRequest {
                prefixes: vec![prefix(1, "+0000000")],
                ..explain("chat")
            },
            "8 hexadecimal digits",
        ),
        (
            ExplainRequest {
                prefixes: (1..=9).map(|depth| prefix(depth, "00000000")).collect(),
                ..explain("chat")
            },
            "at most 8",
        ),
    ];
    for (request, allowed) in cases {
        let error = lab
            .ask(Request::Explain(request))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(allowed), "{error}");
    }
}

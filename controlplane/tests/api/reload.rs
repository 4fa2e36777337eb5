//! What a reload may not do: give what was counted and pinned to someone else.

use std::collections::BTreeMap;
use std::fs;

use afr_controlplane::api::protocol::{CounterFilter, FlowFilter};
use afr_controlplane::api::{Request, Response};
use afr_controlplane::metrics::Exporter;
use afr_dataplane::id::{ClassIx, Slot};
use afr_dataplane::verdict::DispatchReason;

use crate::lab::{CONFIG, Lab};

const CLASSES: &str =
    "[[class]]\nid = 1\nname = \"chat\"\n[[class]]\nid = 2\nname = \"code\"\nobjective_us = 1000\n";

/// Puts another text of the file in force, and waits for the generation that has it.
async fn reload(lab: &Lab, text: &str) {
    fs::write(lab.directory.path().join("afrd.toml"), text).unwrap();
    let revision = match lab.ask(Request::Reload).await.unwrap() {
        Response::Reloaded(reload) => reload.revision,
        other => panic!("{other:?}"),
    };
    lab.until_core(move |core| core.aft().config.revision == revision)
        .await;
}

/// Dispatches by class, as `afrctl show counters` has them, where there are any.
async fn counted(lab: &Lab) -> BTreeMap<String, u64> {
    let ask = Request::ShowCounters(CounterFilter::default());
    let Response::Counters(counters) = lab.ask(ask).await.unwrap() else {
        panic!("no counters");
    };
    let mut by_class = BTreeMap::new();
    for of in counters.dispatches.iter().filter(|of| of.count != 0) {
        *by_class.entry(of.class.clone()).or_default() += of.count;
    }
    by_class
}

/// Flows by the class that `afrctl show flows` names.
async fn flows(lab: &Lab) -> BTreeMap<String, usize> {
    let ask = Request::ShowFlows(FlowFilter::default());
    let Response::Flows(flows) = lab.ask(ask).await.unwrap() else {
        panic!("no flows");
    };
    let mut by_class = BTreeMap::new();
    for flow in flows.flows {
        *by_class.entry(flow.class).or_default() += 1;
    }
    by_class
}

/// The samples of a family.
async fn samples(lab: &Lab, family: &str) -> Vec<String> {
    let text = Exporter::new(lab.site.clone()).render().await.unwrap();
    let of_family = |line: &&str| line.starts_with(family) && !line.ends_with(" 0");
    text.lines().filter(of_family).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_new_tenant_of_a_slot_starts_from_nothing() {
    let lab = Lab::settled().await;
    let slot = lab.instances().await[1].slot;
    for counters in &lab.shared.counters {
        counters.dispatched(ClassIx(0), Some(Slot(slot)), DispatchReason::Load);
    }
    assert_eq!(lab.instances().await[1].dispatches, 2);
    // Another comes in its place, again and again, until one has its slot: the longest free is taken first.
    let mut tries = 13..40;
    let heir = loop {
        let id = tries.next().expect("every slot was given away");
        let name = format!("name = \"c{id}\"");
        let text = CONFIG.replace("name = \"b\"", &name);
        let text = text.replace("id = 12", &format!("id = {id}"));
        reload(&lab, &text).await;
        lab.until(|instances| instances.iter().any(|i| i.id == id))
            .await;
        let heir = lab.instances().await.pop().unwrap();
        if heir.slot == slot {
            break heir;
        }
    };
    assert_eq!((heir.incarnation, heir.dispatches), (2, 0));
    let told = samples(&lab, "afr_dispatches_total{").await;
    assert_eq!(told, [""; 0]);
    lab.shared.counters[1].dispatched(ClassIx(0), Some(Slot(slot)), DispatchReason::Load);
    assert_eq!(lab.instances().await[1].dispatches, 1);
    let told = samples(&lab, "afr_dispatches_total{").await;
    let name = heir.name;
    assert_eq!(
        told,
        [format!(
            "afr_dispatches_total{{class=\"chat\",instance=\"{name}\"}} 1"
        )]
    );
}

#[tokio::test]
async fn flows_and_counts_stay_their_classes() {
    let lab = Lab::settled().await;
    let slot_of_b = lab.instances().await[1].slot;
    for (class, count) in [(0, 3), (1, 5)] {
        for n in 0..count {
            lab.add_flow(0, class * 100 + n, class, slot_of_b);
            let (at, slot) = (ClassIx(class), Some(Slot(slot_of_b)));
            lab.shared.counters[0].dispatched(at, slot, DispatchReason::Load);
        }
    }
    let both_counted = BTreeMap::from([("chat".to_owned(), 3), ("code".to_owned(), 5)]);
    let both_flow = BTreeMap::from([("chat".to_owned(), 3), ("code".to_owned(), 5)]);
    assert_eq!(counted(&lab).await, both_counted);

    let turned = "[[class]]\nid = 3\nname = \"legal\"\n[[class]]\nid = 2\nname = \"code\"\n[[class]]\nid = 1\nname = \"chat\"\n";
    reload(&lab, &CONFIG.replace(CLASSES, turned)).await;
    assert_eq!(counted(&lab).await, both_counted);
    assert_eq!(flows(&lab).await, both_flow);
    let dispatches = samples(&lab, "afr_dispatches_total{").await;
    let of = |class: &str, count| {
        format!("afr_dispatches_total{{class=\"{class}\",instance=\"b\"}} {count}")
    };
    assert_eq!(dispatches, [of("chat", 3), of("code", 5)]);

    // Without the first class: what was its is nobody's, and the second's is still the second's.
    let (rest, _) = CONFIG.split_once("[[instance]]").unwrap();
    let (_, b) = CONFIG.split_once("id = 12").unwrap();
    let code = "[[class]]\nid = 2\nname = \"code\"\n";
    let without = format!(
        "{}[[instance]]\nid = 12{}",
        rest.replace(CLASSES, code),
        b.replace("\"chat\", ", "")
    );
    reload(&lab, &without).await;
    let left = BTreeMap::from([("code".to_owned(), 5)]);
    assert_eq!(counted(&lab).await, left);
    let flowing = BTreeMap::from([("#0".to_owned(), 3), ("code".to_owned(), 5)]);
    assert_eq!(flows(&lab).await, flowing);
    let why = samples(&lab, "afr_class_dispatches_total{").await;
    assert_eq!(
        why,
        ["afr_class_dispatches_total{class=\"code\",reason=\"load\"} 5"]
    );

    // And back.
    reload(&lab, CONFIG).await;
    assert_eq!(counted(&lab).await, both_counted);
    assert_eq!(flows(&lab).await, both_flow);
}

//! Requests that may not be acted on: each is sent by a kernel's socket, and must change nothing but a counter.
//!
//! Instance `i2` alone carries a label; a request for the label that is acted on goes there, always. One that is not
//! goes where a plain one goes: by consistent hashing, which over so many flows never means `i2` alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // a test says what is wrong by failing

use std::time::Duration;

use afr_endpoint::report::Sample;
use afr_endpoint::sender::{KeyEntry, Sender};
use afr_perf::lab::{
    Dial, EchoCluster, Heartbeat, Interrupt, Key, Lab, LabSpec, PeerError, Wish, client_address,
    key, label, sender,
};
use afr_wire::{CatalogueVersion, ClusterId, KeyId, MasterKey};

/// Flows of each kind. All on one of three by chance: once in 10^7.
const FLOWS: usize = 16;
/// How long a client waits whose packets are to be dropped: less than the second after which it would send its SYN
/// again (RFC 6298 §2). So there is one packet to account for, and once it is counted nothing is on its way any more.
const SHORT: Duration = Duration::from_millis(700);
/// Client 0 is inside the trust domain, client 1 beyond.
const TRUSTED: u16 = 0;
const FOREIGN: u16 = 1;

fn cluster() -> EchoCluster {
    let spec = LabSpec {
        classes: vec![0, 1, 2],
        ..LabSpec::default()
    };
    let lab = Lab::build(spec, &Interrupt::by_hand()).unwrap();
    EchoCluster::start(lab, |config| {
        config.trust.trusted_prefixes = vec![format!("{}/128", client_address(TRUSTED))];
        config.catalogue[0].labels = vec!["only:i2".to_owned()];
        config.class(2, "legal");
        for number in [1, 3] {
            let classes = &mut config.instance_mut(number).unwrap().classes;
            classes.push("legal".to_owned());
        }
        config.instance_mut(2).unwrap().labels = vec!["only:i2".to_owned()];
        config.key.push(Key {
            id: 2,
            algorithm: None,
            secret: "22222222222222222222222222222222".to_owned(),
            classes: Some(vec!["chat".to_owned()]),
        });
    })
    .unwrap()
}

/// A request of client `index` for class 1 with the label, at class 1's address.
fn wish(index: u16) -> Wish {
    Wish {
        labels: vec![label("only:i2")],
        ..Wish::of(1, client_address(index), EchoCluster::service(1))
    }
}

/// A key of another ring.
fn other_key(id: u16, secret: [u8; 16]) -> Option<KeyEntry> {
    Some(KeyEntry {
        id: KeyId(id),
        master: MasterKey::new(secret),
        ..key()
    })
}

fn count(cluster: &EchoCluster, family: &str, reason: &str) -> f64 {
    cluster
        .metrics()
        .unwrap()
        .sum(family, &[("reason", reason)])
}

/// Flows whose request was acted on.
fn acted_on(cluster: &EchoCluster) -> f64 {
    let metrics = cluster.metrics().unwrap();
    let by = |reason| metrics.sum("afr_class_dispatches_total", &[("reason", reason)]);
    by("affinity") + by("load") + by("least_bad")
}

/// Sends it on many flows; they must go where plain flows go, and be counted under `note`.
fn expect_fallback(cluster: &EchoCluster, what: &str, wish: &Wish, sender: &Sender, note: &str) {
    let (noted, acted) = (count(cluster, "afr_notes_total", note), acted_on(cluster));
    let header = wish.header(sender).unwrap();
    let dial = Dial::plain(wish.from, wish.to).with(&header);
    let reached = cluster.reached(&dial, FLOWS).unwrap();
    assert!(reached.iter().any(|name| name != "i2"), "{what}: acted on");
    assert_eq!(
        acted_on(cluster),
        acted,
        "{what}: dispatched by what it says"
    );
    let noted = count(cluster, "afr_notes_total", note) - noted;
    assert!(
        noted >= FLOWS as f64,
        "{what}: {noted} times {note} for {FLOWS} flows"
    );
}

/// Sends it once; it must be dropped and counted under `reason`.
fn expect_drop(cluster: &EchoCluster, what: &str, wish: &Wish, sender: &Sender, reason: &str) {
    let header = wish.header(sender).unwrap();
    expect_drop_of(cluster, what, wish, &header, reason);
}

fn expect_drop_of(cluster: &EchoCluster, what: &str, wish: &Wish, header: &[u8], reason: &str) {
    let (dropped, acted) = (
        count(cluster, "afr_dropped_packets_total", reason),
        acted_on(cluster),
    );
    let mut dial = Dial::plain(wish.from, wish.to).with(header);
    dial.patience = SHORT;
    match cluster.dial(&dial) {
        Err(PeerError::Connect(_)) => {}
        other => panic!("{what}: {other:?}"),
    }
    // The client gives up by itself: that it did says nothing of how far its packet has come on a busy machine.
    cluster
        .until(&format!("{what}: counting {reason}"), |metrics| {
            metrics.sum("afr_dropped_packets_total", &[("reason", reason)]) > dropped
        })
        .unwrap();
    assert_eq!(
        acted_on(cluster),
        acted,
        "{what}: dispatched by what it says"
    );
}

#[test]
fn what_is_not_authentic_is_never_acted_on() {
    let cluster = cluster();
    // That a right one is acted on makes the rest worth something.
    let header = wish(TRUSTED).header(&sender()).unwrap();
    let dial = Dial::plain(client_address(TRUSTED), EchoCluster::service(1)).with(&header);
    let reached = cluster.reached(&dial, FLOWS).unwrap();
    assert!(reached.iter().all(|name| name == "i2"), "{reached:?}");
    assert_eq!(acted_on(&cluster), FLOWS as f64);

    let with_key = |key| Sender { key, ..sender() };
    let unauthenticated = with_key(None);
    expect_fallback(
        &cluster,
        "without a MAC",
        &wish(TRUSTED),
        &unauthenticated,
        "unauthenticated",
    );
    let unknown_key = with_key(other_key(77, [7; 16]));
    expect_fallback(
        &cluster,
        "under an unknown key",
        &wish(TRUSTED),
        &unknown_key,
        "unknown_key",
    );
    let foreign_catalogue = Sender {
        catalogue: CatalogueVersion(99),
        ..sender()
    };
    let what = "under another catalogue";
    expect_fallback(
        &cluster,
        what,
        &wish(TRUSTED),
        &foreign_catalogue,
        "unknown_catalogue",
    );
    for (what, shift) in [("expired", -1_000), ("from the future", 1_000)] {
        let mut wish = wish(TRUSTED);
        wish.issued_at = wish.issued_at.wrapping_add_signed(shift);
        expect_fallback(&cluster, what, &wish, &sender(), "stale");
    }

    let wrong_key = with_key(other_key(1, [7; 16]));
    expect_drop(
        &cluster,
        "under the wrong key",
        &wish(TRUSTED),
        &wrong_key,
        "mac_invalid",
    );
    let foreign_domain = with_key(Some(KeyEntry {
        cluster: ClusterId(2),
        ..key()
    }));
    expect_drop(
        &cluster,
        "of another trust domain",
        &wish(TRUSTED),
        &foreign_domain,
        "mac_invalid",
    );
    // What one sender signed for one destination is no good from elsewhere or for another.
    let captured = wish(FOREIGN).header(&sender()).unwrap();
    expect_drop_of(
        &cluster,
        "another sender's",
        &wish(TRUSTED),
        &captured,
        "mac_invalid",
    );
    let mut redirected = wish(TRUSTED);
    redirected.to = EchoCluster::service(2);
    let captured = wish(TRUSTED).header(&sender()).unwrap();
    expect_drop_of(
        &cluster,
        "redirected",
        &redirected,
        &captured,
        "mac_invalid",
    );

    // Right keys, wrong claims.
    let mut foreign_class = Wish::of(2, client_address(TRUSTED), EchoCluster::service(2));
    let limited = with_key(other_key(2, [0x22; 16]));
    expect_drop(
        &cluster,
        "a class the key may not claim",
        &foreign_class,
        &limited,
        "claim_class",
    );
    foreign_class.to = EchoCluster::service(1);
    let what = "a class that contradicts the address";
    expect_drop(
        &cluster,
        what,
        &foreign_class,
        &sender(),
        "class_contradicts",
    );
    cluster.afrd.stop().unwrap();
}

#[test]
fn what_comes_from_beyond_the_trust_domain_is_never_acted_on() {
    let mut cluster = cluster();
    // Authentic in every way, but for where it comes from.
    expect_fallback(&cluster, "strip", &wish(FOREIGN), &sender(), "stripped");
    cluster.config.port[0].boundary = Some("ignore".to_owned());
    cluster.reload().unwrap();
    expect_fallback(&cluster, "ignore", &wish(FOREIGN), &sender(), "ignored");
    cluster.config.port[0].boundary = Some("drop".to_owned());
    cluster.reload().unwrap();
    expect_drop(
        &cluster,
        "drop",
        &wish(FOREIGN),
        &sender(),
        "metadata_outside",
    );
    // Plain flows from there are served all the same.
    let plain = Dial::plain(client_address(FOREIGN), EchoCluster::service(1));
    cluster.reached(&plain, 3).unwrap();

    // A report under the right key from the wrong side.
    let forged = Sample {
        pending_prefill_tokens: 1_000_000,
        ..Sample::default()
    };
    let beyond = client_address(FOREIGN);
    let client = &cluster.lab.client;
    let _forger = Heartbeat::of(1, client, beyond, forged, Duration::from_millis(20));
    cluster
        .until("noticing forged reports", |metrics| {
            metrics.sum("afr_notes_total", &[("reason", "report_outside")]) > 3.0
        })
        .unwrap();
    let pending = cluster
        .metrics()
        .unwrap()
        .sum("afr_instance_pending_tokens", &[]);
    assert_eq!(pending, 0.0, "a report from outside was believed");
    cluster.afrd.stop().unwrap();
}

//! What the test programs share: the vectors, and the sample values they stand for.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a broken sample is a failed test")]

use std::net::Ipv6Addr;

use afr_wire::{
    CatalogueVersion, ClassId, DomainId, Event, EventOp, InstanceId, KeyId, LabelHash, Labels,
    List, PolicyScope, Prefix, Report, Request, Signature,
};
use serde_json::Value;

/// `wire-vectors.json`, made by an implementation that shares no code with this one.
pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../wire-vectors.json")).unwrap()
}

/// The vector of that name.
pub(crate) fn vector(name: &str) -> Value {
    let vectors = vectors();
    let objects = vectors["objects"].as_array().unwrap();
    objects
        .iter()
        .find(|object| object["name"] == name)
        .unwrap()
        .clone()
}

/// The bytes of a string of hexadecimal digits.
pub(crate) fn hex(digits: &Value) -> Vec<u8> {
    let digits = digits.as_str().unwrap();
    assert!(digits.len().is_multiple_of(2));
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The same where the length is known.
pub(crate) fn hex_array<const N: usize>(digits: &Value) -> [u8; N] {
    hex(digits).try_into().unwrap()
}

/// The bytes of an IPv6 address.
pub(crate) fn address(text: &Value) -> [u8; 16] {
    text.as_str().unwrap().parse::<Ipv6Addr>().unwrap().octets()
}

/// The value behind each request vector.
pub(crate) fn requests() -> [(&'static str, Request); 4] {
    let smallest = Request {
        key_id: KeyId(7),
        catalogue: CatalogueVersion(3),
        class_id: ClassId(0x101),
        issued_at: 0x6ae3_de00,
        session: 0x0123_4567_89ab_cdef,
        policy: PolicyScope(1),
        prompt_tokens: 1024,
        ..Request::default()
    };
    let full = Request {
        domain: DomainId(9),
        labels: Labels::Hashes(List::take_from([LabelHash(0x9ad8), LabelHash(0xa703)])),
        prefixes: List::take_from(prefixes()),
        ..smallest
    };
    let filter = hex_array(&vectors()["bloom256_of_first_two_labels"]);
    let bloom = Request {
        key_id: KeyId::NONE,
        session: 1,
        policy: PolicyScope(0),
        prompt_tokens: 0,
        labels: Labels::Bloom(filter),
        ..smallest
    };
    [
        ("request, smallest, authenticated", smallest),
        ("request, two labels, four signatures, authenticated", full),
        ("request, Bloom-256, unauthenticated", bloom),
        ("request, smallest, SipHash-2-4-128", smallest),
    ]
}

/// The value behind each report vector.
pub(crate) fn reports() -> [(&'static str, Report); 2] {
    let idle = Report {
        instance_id: InstanceId(43),
        boot_epoch: 0x6ae3_bd30,
        seq: 1,
        ..Report::default()
    };
    let ops = [EventOp::Stored, EventOp::Stored, EventOp::Evicted];
    let busy = Report {
        key_id: KeyId(7),
        catalogue: CatalogueVersion(3),
        instance_id: InstanceId(42),
        seq: 17,
        sampled_at_ms: 0x8a1b_307b,
        queue_depth: 3,
        running: 12,
        pending_prefill_tokens: 0x5000,
        prefill_rate_tokens_s: 256,
        kv_used: 0xc8,
        load_class: 0x8c,
        domain: DomainId(9),
        events: List::take_from(
            ops.into_iter()
                .zip(prefixes())
                .map(|(op, prefix)| Event { op, prefix }),
        ),
        refusals: List::take_from([ClassId(0x102)]),
        cache_generation: 1,
        ..idle
    };
    [
        ("state report, three events, one refusal", busy),
        ("state report, idle, unauthenticated", idle),
    ]
}

/// The chain of the vectors' token prompt.
fn prefixes() -> impl Iterator<Item = Prefix> {
    let signatures = vectors()["signature_chain_tokens"]["signatures"].clone();
    let signatures = signatures.as_array().unwrap().clone();
    (1..).zip(signatures).map(|(depth, signature)| Prefix {
        depth,
        signature: Signature(hex_array(&signature)),
    })
}

//! Every vector both ways: decode, encode, sign, verify, wrap, unwrap.

#![allow(
    clippy::unwrap_used,
    reason = "a vector that does not parse is a failed test"
)]

mod common;

use afr_wire::*;
use common::{address, hex, hex_array, reports, requests, vector, vectors};
use serde_json::Value;

/// Next header of the vectors' headers.
const TCP: u8 = 6;

fn parse(data: &[u8]) -> Object<'_> {
    let object = Object::parse(data, Place::InBand).unwrap();
    assert_eq!(object.as_bytes(), data);
    object
}

fn master() -> MasterKey {
    MasterKey::new(hex_array(&vectors()["master_key"]))
}

fn cluster() -> ClusterId {
    ClusterId(vectors()["cluster"].as_u64().unwrap() as u32)
}

fn algorithm(vector: &Value) -> MacAlgorithm {
    match vector["mac"].as_str() {
        Some("siphash-2-4-128") => MacAlgorithm::SipHash24,
        other => {
            assert_eq!(other, None, "a MAC the tests do not know");
            MacAlgorithm::AesCmac
        }
    }
}

fn request_key(vector: &Value) -> (RequestContext, SenderKey) {
    let context = RequestContext {
        source: address(&vector["src"]),
        destination: address(&vector["dst"]),
        protocol: vector["proto"].as_u64().unwrap() as u8,
        destination_port: vector["dport"].as_u64().unwrap() as u16,
    };
    let sender = masked_source(context.source, 128);
    (
        context,
        SenderKey::derive(
            algorithm(vector),
            &master(),
            Role::Request,
            cluster(),
            &sender,
        ),
    )
}

#[test]
fn every_vector_has_a_sample() {
    let sampled = requests().map(|sample| sample.0).into_iter();
    let mut sampled: Vec<_> = sampled.chain(reports().map(|sample| sample.0)).collect();
    let vectors = vectors();
    let objects = vectors["objects"].as_array().unwrap();
    let mut named: Vec<_> = objects
        .iter()
        .map(|object| object["name"].as_str().unwrap())
        .collect();
    sampled.sort_unstable();
    named.sort_unstable();
    assert_eq!(sampled, named);
}

#[test]
fn requests_decode_and_encode() {
    for (name, value) in requests() {
        let data = hex(&vector(name)["data"]);
        let Object::Request(view) = parse(&data) else {
            panic!("{name}: a report")
        };
        assert_eq!(Request::from_view(&view), value, "{name}");
        assert_eq!(view.n_prefixes(), value.prefixes.len(), "{name}");
        assert_eq!(view.mac().is_some(), value.key_id.has_mac(), "{name}");

        let mut encoded = vec![0xff; value.buffer_len()];
        assert_eq!(value.emit(&mut encoded), Ok(data.len()), "{name}");
        if value.key_id.has_mac() {
            let unsigned = data.len() - MAC_LEN;
            assert_eq!(encoded[unsigned..], [0; MAC_LEN], "{name}");
            let (context, key) = request_key(&vector(name));
            key.sign_request(&context, &mut encoded).unwrap();
            assert!(key.verify_request(&context, &view), "{name}");
        }
        assert_eq!(encoded, data, "{name}");
    }
}

/// All of them at once, and each as the only one that is wrong.
#[test]
fn requests_are_verified_side_by_side() {
    let Some(mut verifier) = Verifier::new() else {
        return;
    };
    let masters = [verifier.expand(&master())];
    let signers = Signers::new(0, cluster(), masked_source([0xFF; 16], 128));
    let signed: Vec<_> = requests()
        .into_iter()
        .map(|(name, _)| vector(name))
        .filter(|vector| algorithm(vector) == MacAlgorithm::AesCmac)
        .filter(|vector| parse(&hex(&vector["data"])).key_id().has_mac())
        .map(|vector| (request_key(&vector).0, hex(&vector["data"])))
        .collect();
    assert!(signed.len() > 1);
    for wrong in [None, Some(0), Some(signed.len() - 1)] {
        let mut checks = verifier.begin();
        for (at, (context, data)) in signed.iter().enumerate() {
            let mut data = data.clone();
            if wrong == Some(at) {
                data[30] ^= 1;
            }
            let addresses = [context.source, context.destination].concat();
            let addresses = addresses.first_chunk().unwrap();
            let upper = (context.protocol, context.destination_port);
            assert!(checks.add(&signers, addresses, upper, &data));
        }
        let all = (1 << signed.len()) - 1;
        let expected = wrong.map_or(all, |at| all & !(1 << at));
        assert_eq!(checks.finish(&masters), expected);
    }
}

#[test]
fn reports_decode_and_encode() {
    for (name, value) in reports() {
        let data = hex(&vector(name)["data"]);
        let Object::Report(view) = parse(&data) else {
            panic!("{name}: a request")
        };
        assert_eq!(Report::from_view(&view), value, "{name}");
        assert_eq!(view.n_events(), value.events.len(), "{name}");
        assert_eq!(view.n_refusals(), value.refusals.len(), "{name}");

        let mut encoded = vec![0xff; value.buffer_len()];
        assert_eq!(value.emit(&mut encoded), Ok(data.len()), "{name}");
        if value.key_id.has_mac() {
            let sender = value.instance_id.0.to_be_bytes();
            let algorithm = algorithm(&vector(name));
            let key = SenderKey::derive(algorithm, &master(), Role::Report, cluster(), &sender);
            key.sign_report(&mut encoded).unwrap();
            assert!(key.verify_report(&view), "{name}");
        }
        assert_eq!(encoded, data, "{name}");
    }
}

#[test]
fn headers_wrap_and_unwrap() {
    for object in vectors()["objects"].as_array().unwrap() {
        let (data, header) = (
            hex(&object["data"]),
            hex(&object["dest_opt_header_before_tcp"]),
        );
        let mut out = [0xff; 264];
        let length = carrier::emit_options_header(TCP, OPTION_TYPE, &data, &mut out).unwrap();
        assert_eq!(length, carrier::header_len(data.len()));
        assert_eq!(out[..length], header, "{}", object["name"]);

        let mut options = option::Options::new(&header[2..]);
        let found = options.next().unwrap().unwrap();
        assert_eq!(
            (found.offset, found.kind, found.data),
            (0, OPTION_TYPE, &data[..])
        );
        assert_eq!(options.next(), None);
    }
}

#[test]
fn labels_hash_as_the_catalogue_says() {
    let vectors = vectors();
    let salt = CatalogueSalt::new(hex_array(&vectors["catalogue_salt"]));
    for (label, hashes) in vectors["labels"].as_object().unwrap() {
        let hash = salt.label(label);
        assert_eq!(hash.to_string(), hashes["h32"].as_str().unwrap(), "{label}");
        assert_eq!(
            hash.short().to_string(),
            hashes["h16"].as_str().unwrap(),
            "{label}"
        );
    }
}

#[test]
fn the_filter_has_the_bits_of_its_labels() {
    let vectors = vectors();
    let salt = CatalogueSalt::new(hex_array(&vectors["catalogue_salt"]));
    let labels = ["model:llama-3-70b", "tool:legal-search"].map(|label| salt.label(label));
    let filter: Bloom<4> = labels.into_iter().collect();
    let bytes = hex_array(&vectors["bloom256_of_first_two_labels"]);
    assert_eq!(filter.to_bytes(), bytes);
    assert_eq!(Bloom::from_bytes(&bytes), filter);
    assert!(labels.iter().all(|label| filter.contains(*label)));
    assert!(!filter.contains(salt.label("modality:vision")));
}

#[test]
fn signature_chains_match() {
    let vectors = vectors();
    let key = DomainKey::new(hex_array(&vectors["domain_key"]));
    let expected = |chain: &str| -> Vec<Prefix> {
        let signatures = vectors[chain]["signatures"].as_array().unwrap();
        let signature = |(depth, digits)| Prefix {
            depth,
            signature: Signature(hex_array(digits)),
        };
        (1..).zip(signatures).map(signature).collect()
    };
    let tokens: Vec<u32> = (1000..2024).collect();
    let of_tokens: Vec<_> = SignatureChain::over_tokens(&key, &tokens).collect();
    assert_eq!(of_tokens, expected("signature_chain_tokens"));
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(60);
    let of_bytes: Vec<_> = SignatureChain::over_bytes(&key, prompt.as_bytes()).collect();
    assert_eq!(of_bytes, expected("signature_chain_bytes"));
}

/// The derived keys stand in the vectors as bytes and are not readable here, so they are compared
/// by what they do: the same bytes as a SipHash key give the same tag as the derived key.
#[test]
fn keys_derive_as_the_vectors_say() {
    use siphasher::sip128::SipHasher24;

    let vectors = vectors();
    let source = address(&vector("request, smallest, authenticated")["src"]);
    let mut data = [0; REPORT_FIXED_LEN + MAC_LEN];
    Report {
        key_id: KeyId(7),
        ..Report::default()
    }
    .emit(&mut data)
    .unwrap();
    let mut text = b"AFR1\x02".to_vec();
    text.extend_from_slice(&data);
    for (name, role, sender) in [
        ("req 2001:db8:1::10/128", Role::Request, &source[..]),
        ("rpt instance 42", Role::Report, &42_u32.to_be_bytes()),
    ] {
        let derived = hex_array(&vectors["derived_keys"][name]);
        let expected = SipHasher24::new_with_key(&derived).hash(&text).as_bytes();
        let algorithm = MacAlgorithm::SipHash24;
        let key = SenderKey::derive(algorithm, &master(), role, cluster(), sender);
        key.sign_report(&mut data).unwrap();
        assert_eq!(data[REPORT_FIXED_LEN..], expected, "{name}");
    }
}

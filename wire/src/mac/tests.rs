use super::*;
use crate::{KeyId, List, ParseError, Prefix, Report, Request, Signature};

const MASTER: MasterKey = MasterKey::new([7; 16]);
const CONTEXT: RequestContext = RequestContext {
    source: [1; 16],
    destination: [2; 16],
    protocol: 6,
    destination_port: 3,
};

fn key(algorithm: MacAlgorithm, role: Role, cluster: u32, sender: &[u8]) -> SenderKey {
    SenderKey::derive(algorithm, &MASTER, role, ClusterId(cluster), sender)
}

/// The reference implementation's own vectors (`vectors.h` of veorq/SipHash,
/// `vectors_sip128`): key 00…0f, message 00, 01, …
#[test]
fn siphash_reference_vectors() {
    let key = SenderKey(Expanded::SipHash24(SipKey(core::array::from_fn(|i| {
        i as u8
    }))));
    let message: [u8; 15] = core::array::from_fn(|i| i as u8);
    for (len, tag) in [
        (0, 0xa3817f04_ba25a8e6_6df67214_c7550293_u128),
        (1, 0xda87c1d8_6b99af44_34765911_9b22fc45),
        (15, 0x5493e999_33b0a811_7e08ec0f_97cfc3d9),
    ] {
        let text = Text {
            bytes: message,
            len,
        };
        assert_eq!(u128::from_be_bytes(key.tag(&text)), tag, "{len} bytes");
    }
}

#[test]
fn a_key_is_of_one_role_one_cluster_and_one_sender() {
    for algorithm in [MacAlgorithm::AesCmac, MacAlgorithm::SipHash24] {
        let mut data = [0; 52];
        Request {
            key_id: KeyId(1),
            ..Request::default()
        }
        .emit(&mut data)
        .unwrap();
        let signer = key(algorithm, Role::Request, 1, &[1; 16]);
        signer.sign_request(&CONTEXT, &mut data).unwrap();
        let Ok(Object::Request(view)) = Object::parse(&data, Place::InBand) else {
            panic!("a request was written");
        };
        assert!(signer.verify_request(&CONTEXT, &view));
        for other in [
            key(algorithm, Role::Report, 1, &[1; 16]),
            key(algorithm, Role::Request, 2, &[1; 16]),
            key(algorithm, Role::Request, 1, &[2; 16]),
        ] {
            assert!(!other.verify_request(&CONTEXT, &view));
        }
    }
}

#[test]
fn what_has_no_mac_is_neither_signed_nor_verified() {
    let mut data = [0; 36];
    Request::default().emit(&mut data).unwrap();
    let key = key(MacAlgorithm::AesCmac, Role::Request, 1, &[1; 16]);
    assert_eq!(
        key.sign_request(&CONTEXT, &mut data),
        Err(SignError::NoKeyId)
    );
    let Ok(Object::Request(view)) = Object::parse(&data, Place::InBand) else {
        panic!("a request was written");
    };
    assert!(!key.verify_request(&CONTEXT, &view));
}

#[test]
fn only_an_object_of_the_kind_is_signed() {
    let key = key(MacAlgorithm::AesCmac, Role::Report, 1, &[0; 4]);
    let mut data = [0; 60];
    Report {
        key_id: KeyId(1),
        ..Report::default()
    }
    .emit(&mut data)
    .unwrap();
    assert_eq!(
        key.sign_request(&CONTEXT, &mut data),
        Err(SignError::WrongKind)
    );
    assert_eq!(key.sign_report(&mut data), Ok(()));
    let error = ParseError::NotOurs { found: None };
    assert_eq!(key.sign_report(&mut []), Err(SignError::Parse(error)));
}

#[test]
fn masks_at_both_ends_of_the_range() {
    let address = [0xff; 16];
    assert_eq!(masked_source(address, 0), [0; 16]);
    assert_eq!(masked_source(address, 128), address);
    assert_eq!(masked_source(address, 200), address);
    let mut expected = [0; 16];
    expected[..8].fill(0xff);
    expected[8] = 0xe0;
    assert_eq!(masked_source(address, 67), expected);
}

#[test]
fn secrets_are_not_printed() {
    extern crate std;
    let key = key(MacAlgorithm::SipHash24, Role::Report, 1, &[0; 4]);
    assert_eq!(
        std::format!("{MASTER:?} {key:?}"),
        "MasterKey(..) SenderKey(..)"
    );
}

/// As one by one: requests of every length, under keys of both kinds, of which any may be forged, and bytes too short
/// or too long for a request.
#[test]
fn several_at_once_are_checked_as_one_by_one() {
    let mut objects = [[0_u8; MAX_REQUEST_LEN + 1]; MAX_CHECKS];
    let keys: [_; MAX_CHECKS] = core::array::from_fn(|n| {
        let algorithm = [MacAlgorithm::AesCmac, MacAlgorithm::SipHash24][usize::from(n == 5)];
        key(algorithm, Role::Request, 1, &[n as u8; 16])
    });
    for shift in 0..64_usize {
        let mut lens = [0; MAX_CHECKS];
        for (n, (object, len)) in objects.iter_mut().zip(&mut lens).enumerate() {
            let prefixes: [_; crate::MAX_PREFIXES] = core::array::from_fn(|at| Prefix {
                depth: at as u16 + 1,
                signature: Signature([shift as u8; 4]),
            });
            let request = Request {
                key_id: KeyId(1),
                session: (n * 1_000 + shift) as u64,
                prefixes: List::from_slice(&prefixes[..(n + shift) % 9]).unwrap(),
                ..Request::default()
            };
            *len = request.emit(object).unwrap();
            keys[n].sign_request(&CONTEXT, &mut object[..*len]).unwrap();
            match (n + shift) % 8 {
                1 => object[*len - 1 - shift % 16] ^= 1 << (shift % 8),
                2 => object[24 + shift % 12] ^= 0x10,
                3 if n == 3 => *len = shift % 17,
                4 if n == 4 => *len = MAX_REQUEST_LEN + 1,
                _ => {}
            }
        }
        let checks: [_; MAX_CHECKS] =
            core::array::from_fn(|n| (&keys[n], CONTEXT, &objects[n][..lens[n]]));
        let expected = checks
            .iter()
            .enumerate()
            .map(|(n, (key, context, object))| {
                let parsed = Object::parse(object, Place::InBand);
                let right = match parsed {
                    Ok(Object::Request(view)) => key.verify_request(context, &view),
                    _ => verify_requests(&checks[n..=n]) == 1,
                };
                u32::from(right) << n
            });
        let expected = expected.sum::<u32>();
        for count in [MAX_CHECKS, 1 + shift % MAX_CHECKS] {
            let mask = (1_u32 << count) - 1;
            assert_eq!(
                verify_requests(&checks[..count]),
                expected & mask,
                "{shift}"
            );
        }
        assert_ne!(expected, 0);
        assert_ne!(expected, 255);
    }
}

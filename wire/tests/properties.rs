//! Properties of any value and of any bytes.

#![allow(
    clippy::unwrap_used,
    reason = "a value that does not come back is a failed test"
)]

mod invariants;

use afr_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

prop_compose! {
    /// Depths that ascend strictly from 1.
    fn prefixes()(steps in vec((1_u16..5000, any::<[u8; 4]>()), 0..=MAX_PREFIXES))
        -> List<Prefix, MAX_PREFIXES>
    {
        let deepen = |depth: &mut u16, (step, signature)| {
            *depth += step;
            Some(Prefix { depth: *depth, signature: Signature(signature) })
        };
        List::take_from(steps.into_iter().scan(0, deepen))
    }
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![
        3 => vec(any::<u16>(), 0..=MAX_LABELS)
            .prop_map(|hashes| Labels::Hashes(List::take_from(hashes.into_iter().map(LabelHash)))),
        1 => any::<[u8; BLOOM_LEN]>().prop_map(Labels::Bloom),
    ]
}

/// No MAC as often as one.
fn key_id() -> impl Strategy<Value = KeyId> {
    prop_oneof![Just(KeyId::NONE), any::<u16>().prop_map(KeyId)]
}

prop_compose! {
    fn request()(
        flags: u8,
        key_id in key_id(),
        (catalogue, policy, domain) in any::<(u16, u16, u16)>(),
        (class_id, issued_at, prompt_tokens) in any::<(u32, u32, u32)>(),
        session: u64,
        labels in labels(),
        prefixes in prefixes(),
    ) -> Request {
        Request {
            flags: RequestFlags(flags).without(RequestFlags::BLOOM),
            key_id,
            catalogue: CatalogueVersion(catalogue),
            class_id: ClassId(class_id),
            issued_at,
            session,
            policy: PolicyScope(policy),
            prompt_tokens,
            domain: DomainId(domain),
            labels,
            prefixes,
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    (any::<bool>(), 1..=u16::MAX, any::<[u8; 4]>()).prop_map(|(evicted, depth, signature)| Event {
        op: if evicted {
            EventOp::Evicted
        } else {
            EventOp::Stored
        },
        prefix: Prefix {
            depth,
            signature: Signature(signature),
        },
    })
}

prop_compose! {
    fn report(most_events: usize)(
        flags: u8,
        key_id in key_id(),
        (catalogue, domain) in any::<(u16, u16)>(),
        (instance_id, boot_epoch, seq, sampled_at_ms) in any::<(u32, u32, u32, u32)>(),
        (queue_depth, running, pending_prefill_tokens) in any::<(u16, u16, u32)>(),
        rate_steps: u16,
        (kv_used, load_class) in any::<(u8, u8)>(),
        events in vec(event(), 0..=most_events),
        refusals in vec(any::<u32>(), 0..=MAX_REFUSALS),
        cache_generation: u32,
    ) -> Report {
        Report {
            flags: ReportFlags(flags),
            key_id,
            catalogue: CatalogueVersion(catalogue),
            instance_id: InstanceId(instance_id),
            boot_epoch,
            seq,
            sampled_at_ms,
            queue_depth,
            running,
            pending_prefill_tokens,
            prefill_rate_tokens_s: 16 * u32::from(rate_steps),
            kv_used,
            load_class,
            domain: DomainId(domain),
            events: List::take_from(events),
            refusals: List::take_from(refusals.into_iter().map(ClassId)),
            cache_generation,
        }
    }
}

prop_compose! {
    fn context()(source: [u8; 16], destination: [u8; 16], protocol: u8, destination_port: u16)
        -> RequestContext
    {
        RequestContext { source, destination, protocol, destination_port }
    }
}

fn algorithm() -> impl Strategy<Value = MacAlgorithm> {
    prop_oneof![Just(MacAlgorithm::AesCmac), Just(MacAlgorithm::SipHash24)]
}

/// Noise that gets past the head more often than not, and whose counts are often possible.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let heads = prop_oneof![
        Just(vec![]),
        Just(vec![0xaf, 0x52, 0x11]),
        Just(vec![0xaf, 0x52, 0x12]),
        Just(vec![0xaf, 0x52, 0x11, 0, 0, 0]),
        Just(vec![0xaf, 0x52, 0x12, 0, 0, 0]),
    ];
    (
        heads,
        vec(
            prop_oneof![3 => Just(0), 2 => 0..10_u8, 1 => any::<u8>()],
            0..200,
        ),
    )
        .prop_map(|(head, tail)| [head, tail].concat())
}

/// Every copy of `bytes` with one bit turned.
fn one_bit_off(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..8 * bytes.len()).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

fn encoded(length: usize, emit: impl Fn(&mut [u8]) -> Result<usize, EmitError>) -> Vec<u8> {
    for available in 0..length {
        let mut short = vec![0xa5; available];
        assert_eq!(
            emit(&mut short),
            Err(EmitError::NoRoom {
                needed: length,
                available
            })
        );
        assert!(
            short.iter().all(|byte| *byte == 0xa5),
            "a refused write leaves no trace"
        );
    }
    let mut out = vec![0xa5; length + 3];
    assert_eq!(emit(&mut out), Ok(length));
    assert_eq!(
        out[length..],
        [0xa5; 3],
        "nothing is written behind the object"
    );
    out.truncate(length);
    out
}

proptest! {
    #[test]
    fn requests_come_back(value in request()) {
        let data = encoded(value.buffer_len(), |out| value.emit(out));
        prop_assert!(data.len() <= MAX_REQUEST_LEN);
        let view = RequestView::try_from(Object::parse(&data, Place::InBand).unwrap()).unwrap();
        prop_assert_eq!(Request::from_view(&view), value);
        invariants::object(&data);
    }

    #[test]
    fn reports_come_back(value in report(MAX_EVENTS_DATAGRAM)) {
        let data = encoded(value.buffer_len(), |out| value.emit(out));
        prop_assert!(data.len() <= MAX_REPORT_LEN);
        let view = ReportView::try_from(Object::parse(&data, Place::Datagram).unwrap()).unwrap();
        prop_assert_eq!(Report::from_view(&view), value);
        invariants::object(&data);
    }

    #[test]
    fn reports_for_a_header_fit_one(value in report(MAX_EVENTS_IN_BAND)) {
        let data = encoded(value.buffer_len(), |out| value.emit(out));
        prop_assert!(data.len() <= MAX_REPORT_LEN_IN_BAND);
        prop_assert!(Object::parse(&data, Place::InBand).is_ok());
        let mut header = [0; carrier::header_len(MAX_REPORT_LEN_IN_BAND)];
        prop_assert!(carrier::emit_options_header(6, OPTION_TYPE, &data, &mut header).is_ok());
    }

    #[test]
    fn longer_than_the_counts_is_malformed(value in request(), extra in 1..20_usize) {
        let mut data = encoded(value.buffer_len(), |out| value.emit(out));
        let expected = data.len();
        data.resize(expected + extra, 0);
        let what = Malformation::Length { expected, found: data.len() };
        let error = Object::parse(&data, Place::InBand).unwrap_err();
        prop_assert_eq!(error, ParseError::Malformed { offset: expected, what });
    }

    #[test]
    fn noise_is_judged_and_never_panics(bytes in noise()) {
        invariants::object(&bytes);
        invariants::options(&bytes);
        invariants::srh_tlvs(&bytes);
    }
}

proptest! {
    // Each case turns every bit there is.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bit_of_a_request_breaks_its_mac(
        value in request(),
        key_id in 1..=u16::MAX,
        context in context(),
        algorithm in algorithm(),
        master: [u8; 16],
    ) {
        let value = Request { key_id: KeyId(key_id), ..value };
        let sender = masked_source(context.source, 128);
        let master = MasterKey::new(master);
        let key = SenderKey::derive(algorithm, &master, Role::Request, ClusterId(1), &sender);
        let mut data = encoded(value.buffer_len(), |out| value.emit(out));
        key.sign_request(&context, &mut data).unwrap();

        let verified = |context: &RequestContext, data: &[u8]| {
            match Object::parse(data, Place::InBand) {
                Ok(Object::Request(view)) => key.verify_request(context, &view),
                _ => false,
            }
        };
        prop_assert!(verified(&context, &data));
        for changed in one_bit_off(&data) {
            prop_assert!(!verified(&context, &changed));
        }
        for source in one_bit_off(&context.source) {
            let source = source.try_into().unwrap();
            let moved = RequestContext { source, ..context };
            prop_assert!(!verified(&moved, &data));
        }
        for destination in one_bit_off(&context.destination) {
            let destination = destination.try_into().unwrap();
            let moved = RequestContext { destination, ..context };
            prop_assert!(!verified(&moved, &data));
        }
        for bit in 0..8 {
            let protocol = context.protocol ^ 1 << bit;
            let moved = RequestContext { protocol, ..context };
            prop_assert!(!verified(&moved, &data));
        }
        for bit in 0..16 {
            let destination_port = context.destination_port ^ 1 << bit;
            let moved = RequestContext { destination_port, ..context };
            prop_assert!(!verified(&moved, &data));
        }
    }

    #[test]
    fn any_bit_of_a_report_breaks_its_mac(
        value in report(40),
        key_id in 1..=u16::MAX,
        algorithm in algorithm(),
        master: [u8; 16],
    ) {
        let value = Report { key_id: KeyId(key_id), ..value };
        let sender = value.instance_id.0.to_be_bytes();
        let master = MasterKey::new(master);
        let key = SenderKey::derive(algorithm, &master, Role::Report, ClusterId(1), &sender);
        let mut data = encoded(value.buffer_len(), |out| value.emit(out));
        key.sign_report(&mut data).unwrap();

        let verified = |data: &[u8]| match Object::parse(data, Place::Datagram) {
            Ok(Object::Report(view)) => key.verify_report(&view),
            _ => false,
        };
        prop_assert!(verified(&data));
        for changed in one_bit_off(&data) {
            prop_assert!(!verified(&changed));
        }
    }
}

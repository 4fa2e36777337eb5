//! Whether requests and reports are their senders', many at a time, on the processor's AES instructions.
//!
//! The senders' keys are derived with each check and not kept: side by side that takes less time than fetching them from a table,
//! and a flood of made-up senders displaces nobody's.

use aes_lanes::{Batch, Engine, LANES};

use crate::mac::{
    REPORT_KIND_AND_LABEL, REPORT_PREFIX_LEN, REQUEST_KIND_AND_LABEL, REQUEST_PREFIX_LEN, same,
};
use crate::{
    ClusterId, InstanceId, MAC_LEN, MAX_REPORT_LEN_IN_BAND, MAX_REQUEST_LEN, MasterKey,
    REPORT_FIXED_LEN, REQUEST_FIXED_LEN, RequestContext,
};

pub use aes_lanes::Master as ExpandedMaster;

/// Objects that a [`Verifier`] takes at once.
pub const MAX_LANES: usize = LANES;
/// Blocks of the longest text.
const BLOCKS: usize = (REQUEST_PREFIX_LEN + MAX_REQUEST_LEN).div_ceil(16);
const _: () = assert!(REPORT_PREFIX_LEN + MAX_REPORT_LEN_IN_BAND <= 16 * BLOCKS);
/// What a request key is derived from begins with: label and role.
const DERIVATION: u128 = u128::from_le_bytes(*b"AFR1req\0\0\0\0\0\0\0\0\0");
/// The same of a report key, and the one bit behind its one block.
const REPORT_DERIVATION: u128 = u128::from_le_bytes(*b"AFR1rpt\0\0\0\0\0\0\0\0\x80");

/// Checks the MACs of up to [`MAX_LANES`] requests and reports under
/// [`MacAlgorithm::AesCmac`](crate::MacAlgorithm::AesCmac), each under the key of its own sender: as
/// [`SenderKey::derive`](crate::SenderKey::derive), [`SenderKey::verify_request`](crate::SenderKey::verify_request) and
/// [`SenderKey::verify_report`](crate::SenderKey::verify_report) do, without keeping the keys.
#[derive(Debug)]
pub struct Verifier {
    engine: Engine,
    batch: Batch<BLOCKS>,
    macs: [[u8; MAC_LEN]; LANES],
    count: usize,
}

impl Verifier {
    /// One, if the processor has AES instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self::on(Engine::detect()?))
    }

    fn on(engine: Engine) -> Self {
        Self {
            engine,
            batch: Batch::default(),
            macs: [[0; MAC_LEN]; LANES],
            count: 0,
        }
    }

    /// A master key in the form that [`Self::finish`] takes.
    #[must_use]
    pub fn expand(&self, key: &MasterKey) -> ExpandedMaster {
        self.engine.master(key.as_bytes())
    }

    /// Takes one more request, given as its bytes, of which the last are taken to be the MAC. Whether they are a well-formed
    /// request at all is for [`Object::parse`](crate::Object::parse) to say. `master` is its place among the masters to come;
    /// `sender` is the packet's source through [`masked_source`](crate::masked_source).
    ///
    /// `false`, and not taken, if the bytes are too short or too long for a request with a MAC, or no more are taken.
    #[inline]
    pub fn add(
        &mut self,
        master: u8,
        cluster: ClusterId,
        sender: [u8; 16],
        context: &RequestContext,
        object: &[u8],
    ) -> bool {
        let lane = self.count;
        let Some((signed, mac)) = object.split_last_chunk::<MAC_LEN>() else {
            return false;
        };
        let fits = signed.len() >= REQUEST_FIXED_LEN && object.len() <= MAX_REQUEST_LEN;
        let (true, Some(place), Some(head)) =
            (fits, self.macs.get_mut(lane), signed.first_chunk::<8>())
        else {
            return false;
        };
        *place = *mac;
        self.count += 1;

        // Words instead of bytes put together: what is stored in pieces cannot be loaded as a whole at once.
        let sender = u128::from_le_bytes(sender);
        let cluster = u128::from(cluster.0.swap_bytes());
        let first = DERIVATION | cluster << 56 | sender << 88;
        let second = sender >> 40 | 0x80 << 88;
        let derivation = [first, second].map(u128::to_le_bytes);
        self.batch.derive(lane, master, derivation);

        let source = u128::from_le_bytes(context.source);
        let destination = u128::from_le_bytes(context.destination);
        let port = u128::from(context.destination_port.swap_bytes());
        let behind = u128::from(context.protocol) << 40 | port << 48;
        let head = u128::from(u64::from_le_bytes(*head)) << 64;
        for (at, block) in [
            REQUEST_KIND_AND_LABEL | source << 40,
            source >> 88 | destination << 40,
            destination >> 88 | behind | head,
        ]
        .into_iter()
        .enumerate()
        {
            self.batch.put(lane, at, block.to_le_bytes());
        }

        self.text(lane, 3, &object[8..], REQUEST_PREFIX_LEN + object.len());
        true
    }

    /// The same for a report, from this instance. `false`, and not taken, if the bytes are too short for a report with a MAC or
    /// too long for one in band, or no more are taken.
    #[inline]
    pub fn add_report(
        &mut self,
        master: u8,
        cluster: ClusterId,
        instance: InstanceId,
        object: &[u8],
    ) -> bool {
        let lane = self.count;
        let Some((signed, mac)) = object.split_last_chunk::<MAC_LEN>() else {
            return false;
        };
        let fits = signed.len() >= REPORT_FIXED_LEN && object.len() <= MAX_REPORT_LEN_IN_BAND;
        let (true, Some(place), Some(head)) =
            (fits, self.macs.get_mut(lane), signed.first_chunk::<16>())
        else {
            return false;
        };
        *place = *mac;
        self.count += 1;
        let cluster = u128::from(cluster.0.swap_bytes());
        let instance = u128::from(instance.0.swap_bytes());
        let only = REPORT_DERIVATION | cluster << 56 | instance << 88;
        self.batch.derive_short(lane, master, only.to_le_bytes());
        let first = REPORT_KIND_AND_LABEL | u128::from_le_bytes(*head) << (8 * REPORT_PREFIX_LEN);
        self.batch.put(lane, 0, first.to_le_bytes());
        let rest = &object[16 - REPORT_PREFIX_LEN..];
        self.text(lane, 1, rest, REPORT_PREFIX_LEN + object.len());
        true
    }

    /// The lane's text from block `at` on: `rest`, whose last bytes are the tag, which is taken as zeros. All of it is
    /// `len` bytes long.
    #[inline(always)]
    fn text(&mut self, lane: usize, mut at: usize, mut rest: &[u8], len: usize) {
        // A block that the tag begins in is cut, and one more is behind it.
        while let Some((block, after)) = rest.split_first_chunk()
            && after.len() >= MAC_LEN
        {
            self.batch.put(lane, at, *block);
            (at, rest) = (at + 1, after);
        }
        let filled = rest.len() % MAC_LEN * 8; // bits
        if filled != 0 {
            let cut = rest.first_chunk().copied().map_or(0, u128::from_le_bytes);
            let cut = cut & !(u128::MAX << filled);
            self.batch.put(lane, at, cut.to_le_bytes());
            self.batch
                .put(lane, at + 1, (0x80_u128 << filled).to_le_bytes());
        } else {
            self.batch.put(lane, at, [0; 16]);
        }
        self.batch.end(lane, len);
    }

    /// Whether no more are taken before the next [`Self::finish`].
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == LANES
    }

    /// Checks those that were taken. Bit *i* of the answer says whether object *i* is its sender's. Takes the same time wherever
    /// a tag differs.
    #[inline]
    pub fn finish(&mut self, masters: &[ExpandedMaster]) -> u32 {
        let count = core::mem::take(&mut self.count);
        let Some(tags) = self.engine.tags(masters, &mut self.batch, count) else {
            return 0;
        };
        let pairs = tags.iter().zip(&self.macs).enumerate();
        pairs.fold(0, |right, (lane, (tag, mac))| {
            right | u32::from(same(mac, tag)) << lane
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{MacAlgorithm, Role, SenderKey, masked_source, verify_requests};

    const LENS: std::ops::RangeInclusive<usize> = REQUEST_FIXED_LEN + MAC_LEN..=MAX_REQUEST_LEN;

    fn verifiers() -> impl Iterator<Item = Verifier> {
        Engine::all().map(Verifier::on)
    }

    /// A request's bytes, what surrounds them, whose master, and which bit of object or MAC is turned over.
    type Sent = (Vec<u8>, [u8; 16], [u8; 16], u8, u16, usize, Option<usize>);

    fn sent() -> impl Strategy<Value = Sent> {
        (
            prop::collection::vec(any::<u8>(), LENS),
            any::<[u8; 16]>(),
            any::<[u8; 16]>(),
            any::<u8>(),
            any::<u16>(),
            0..3_usize,
            prop::option::of(0..LENS.end() * 8),
        )
    }

    proptest! {
        /// As one by one under keys that are kept.
        #[test]
        fn the_same_are_right_as_one_by_one(
            masters: [[u8; 16]; 3],
            cluster: u32,
            mut requests in prop::collection::vec(sent(), 1..=MAX_LANES),
        ) {
            let cluster = ClusterId(cluster);
            let masters = masters.map(MasterKey::new);
            for mut verifier in verifiers() {
                let expanded = masters.each_ref().map(|master| verifier.expand(master));
                let mut expected = 0;
                for (at, request) in requests.iter_mut().enumerate() {
                    let (object, source, destination, protocol, destination_port, master, turned) = request;
                    let context = RequestContext {
                        source: *source,
                        destination: *destination,
                        protocol: *protocol,
                        destination_port: *destination_port,
                    };
                    let sender = masked_source(*source, 64);
                    let role = Role::Request;
                    let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[*master], role, cluster, &sender);
                    let tag = key.request_tag(&context, object);
                    *object.last_chunk_mut().unwrap() = tag;
                    if let Some(bit) = turned {
                        let bit = *bit % (object.len() * 8);
                        object[bit / 8] ^= 1 << (bit % 8);
                    }
                    let right = verify_requests(&[(&key, context, &object[..])]);
                    prop_assert_eq!(right, u32::from(turned.is_none()));
                    expected |= right << at;
                    prop_assert!(verifier.add(*master as u8, cluster, sender, &context, object));
                }
                prop_assert_eq!(verifier.is_full(), requests.len() == MAX_LANES);
                prop_assert_eq!(verifier.finish(&expanded), expected);
            }
        }
    }

    proptest! {
        /// Reports, in lanes beside requests.
        #[test]
        fn reports_are_right_as_one_by_one(
            masters: [[u8; 16]; 2],
            cluster: u32,
            sent in prop::collection::vec((any::<bool>(), any::<u32>(), 0..=12_usize, 0..=4_usize, any::<[u8; 64]>(),
                prop::option::of(any::<u16>())), 1..=MAX_LANES),
        ) {
            let cluster = ClusterId(cluster);
            let masters = masters.map(MasterKey::new);
            for mut verifier in verifiers() {
                let expanded = masters.each_ref().map(|master| verifier.expand(master));
                let mut expected = 0;
                for (at, (request, instance, events, refusals, noise, turned)) in sent.iter().enumerate() {
                    let of = at % 2;
                    if *request {
                        let context = RequestContext { source: [1; 16], destination: [2; 16], protocol: 6, destination_port: 3 };
                        prop_assert!(verifier.add(of as u8, cluster, [0; 16], &context, noise));
                        continue;
                    }
                    let report = crate::Report {
                        key_id: crate::KeyId(7),
                        instance_id: InstanceId(*instance),
                        pending_prefill_tokens: u32::from(noise[0]),
                        cache_generation: u32::from(noise[1]),
                        events: crate::List::take_from((0..*events).map(|n| crate::Event {
                            prefix: crate::Prefix { depth: n as u16 + 1, signature: crate::Signature([noise[n]; 4]) },
                            ..crate::Event::default()
                        })),
                        refusals: crate::List::take_from((0..*refusals as u32).map(crate::ClassId)),
                        ..crate::Report::default()
                    };
                    let mut object = [0; crate::MAX_REPORT_LEN];
                    let len = report.emit(&mut object).unwrap();
                    let object = &mut object[..len];
                    let sender = instance.to_be_bytes();
                    let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[of], Role::Report, cluster, &sender);
                    key.sign_report(object).unwrap();
                    if let Some(bit) = turned {
                        let bit = usize::from(*bit) % (len * 8);
                        object[bit / 8] ^= 1 << (bit % 8);
                    }
                    expected |= u32::from(turned.is_none()) << at;
                    prop_assert!(verifier.add_report(of as u8, cluster, InstanceId(*instance), object));
                }
                prop_assert_eq!(verifier.finish(&expanded), expected);
            }
        }
    }

    #[test]
    fn what_cannot_be_a_report_is_not_taken() {
        for mut verifier in verifiers() {
            let mut add =
                |len| verifier.add_report(0, ClusterId(1), InstanceId(2), &[0; 400][..len]);
            assert!(!add(0));
            assert!(!add(REPORT_FIXED_LEN + MAC_LEN - 1));
            assert!(!add(MAX_REPORT_LEN_IN_BAND + 1));
            assert!((0..MAX_LANES).all(|_| add(MAX_REPORT_LEN_IN_BAND)));
            assert!(!add(MAX_REPORT_LEN_IN_BAND), "no room");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_not_taken() {
        const CONTEXT: RequestContext = RequestContext {
            source: [1; 16],
            destination: [2; 16],
            protocol: 6,
            destination_port: 3,
        };
        for mut verifier in verifiers() {
            let mut add = |len| verifier.add(0, ClusterId(1), [1; 16], &CONTEXT, &[0; 200][..len]);
            assert!(!add(0));
            assert!(!add(LENS.start() - 1));
            assert!(!add(LENS.end() + 1));
            assert!((0..MAX_LANES).all(|_| add(*LENS.start())));
            assert!(!add(*LENS.start()), "no room");
            assert_eq!(verifier.finish(&[]), 0, "no master, nobody's");
            let master = verifier.expand(&MasterKey::new([7; 16]));
            assert_eq!(verifier.finish(&[master]), 0, "none was taken since");
        }
    }
}

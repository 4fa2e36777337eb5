//! Whether requests and reports are their senders', many at a time, on the processor's AES instructions.
//!
//! The senders' keys are derived with each check and not kept: side by side that takes less time than fetching them from a table,
//! and a flood of made-up senders displaces nobody's. Where all that are checked together are of one sender, its key is derived
//! once, and kept for as long as that goes on.

use aes_lanes::{Batch, Engine, LANES};

use crate::mac::{
    REPORT_KIND_AND_LABEL, REPORT_PREFIX_LEN, REQUEST_KIND_AND_LABEL, REQUEST_PREFIX_LEN,
};
use crate::{
    ClusterId, MAC_LEN, MAX_REPORT_LEN_IN_BAND, MAX_REQUEST_LEN, MasterKey, REPORT_FIXED_LEN,
    REQUEST_FIXED_LEN,
};

pub use aes_lanes::Master as ExpandedMaster;

/// Objects that a [`Verifier`] takes at once.
pub const MAX_LANES: usize = LANES;
/// Blocks of the longest text, and of what is written behind it whether it counts or not.
const BLOCKS: usize = (REQUEST_PREFIX_LEN + MAX_REQUEST_LEN + 16).div_ceil(16);
const _: () = assert!(REPORT_PREFIX_LEN + MAX_REPORT_LEN_IN_BAND + 16 <= 16 * BLOCKS);
/// What a request key is derived from begins with: label and role.
const DERIVATION: u128 = u128::from_le_bytes(*b"AFR1req\0\0\0\0\0\0\0\0\0");
/// The same of a report key, and the one bit behind its one block.
const REPORT_DERIVATION: u128 = u128::from_le_bytes(*b"AFR1rpt\0\0\0\0\0\0\0\0\x80");

/// Under which master senders sign, and as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signers {
    /// The place of the master among those to come.
    pub master: u8,
    /// The cluster that is signed for.
    pub cluster: ClusterId,
    /// What of a source a sender's key depends on, as a mask ([`masked_source`](crate::masked_source) of all ones).
    pub mask: [u8; 16],
}

/// Checks the MACs of up to [`MAX_LANES`] requests and reports under
/// [`MacAlgorithm::AesCmac`](crate::MacAlgorithm::AesCmac), each under the key of its own sender: as
/// [`SenderKey::derive`](crate::SenderKey::derive), [`SenderKey::verify_request`](crate::SenderKey::verify_request) and
/// [`SenderKey::verify_report`](crate::SenderKey::verify_report) do, without keeping the keys.
#[derive(Debug)]
pub struct Verifier {
    engine: Engine,
    batch: Batch<BLOCKS>,
    senders: [Sender; LANES],
    /// Whether all are as the first.
    one_sender: bool,
    count: usize,
}

/// Whose key is to be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    /// A masked source as it is in a packet, or the number of an instance.
    name: u128,
    cluster: ClusterId,
    master: u8,
    reports: bool,
}

impl Sender {
    const NOBODY: Self = Self {
        name: 0,
        cluster: ClusterId(0),
        master: 0,
        reports: false,
    };

    fn enter(&self, lane: usize, batch: &mut Batch<BLOCKS>) {
        let cluster = u128::from(self.cluster.0.swap_bytes());
        if self.reports {
            let only = REPORT_DERIVATION | cluster << 56 | self.name << 88;
            batch.derive_short(lane, self.master, only.to_le_bytes());
        } else {
            let first = DERIVATION | cluster << 56 | self.name << 88;
            let second = self.name >> 40 | 0x80 << 88;
            batch.derive(lane, self.master, [first, second].map(u128::to_le_bytes));
        }
    }
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
            senders: [Sender::NOBODY; LANES],
            one_sender: true,
            count: 0,
        }
    }

    /// A master key in the form that [`Self::finish`] takes.
    #[must_use]
    pub fn expand(&self, key: &MasterKey) -> ExpandedMaster {
        self.engine.master(key.as_bytes())
    }

    /// Takes one more request, given as its bytes, of which the last are taken to be the MAC. Whether they are a well-formed
    /// request at all is for [`Object::parse`](crate::Object::parse) to say. `addresses` are the packet's source and final
    /// destination; `protocol` and `destination_port` as in [`RequestContext`](crate::RequestContext).
    ///
    /// `false`, and not taken, if the bytes are too short or too long for a request with a MAC, or no more are taken.
    // Part of the caller's loop: it is short, and may be compiled for wider registers there.
    #[inline(always)]
    pub fn add(
        &mut self,
        signers: &Signers,
        addresses: &[u8; 32],
        (protocol, destination_port): (u8, u16),
        object: &[u8],
    ) -> bool {
        let lane = self.count;
        let Some((_, mac)) = object.split_last_chunk::<MAC_LEN>() else {
            return false;
        };
        let fits = object.len() >= REQUEST_FIXED_LEN + MAC_LEN && object.len() <= MAX_REQUEST_LEN;
        if !fits || lane >= LANES {
            return false;
        }
        self.batch.expect(lane, *mac);
        let source = addresses
            .first_chunk()
            .copied()
            .map_or(0, u128::from_le_bytes);
        self.taken(Sender {
            name: source & u128::from_le_bytes(signers.mask),
            cluster: signers.cluster,
            master: signers.master,
            reports: false,
        });

        let text = self.batch.text(lane);
        put(text, 0, REQUEST_KIND_AND_LABEL.to_le_bytes());
        put(text, 5, *addresses);
        let port = u32::from(destination_port.swap_bytes());
        put(text, 37, (u32::from(protocol) | port << 8).to_le_bytes());
        self.object(lane, REQUEST_PREFIX_LEN, object);
        true
    }

    /// The same for a report, in the name of the instance that it says it is of. `false`, and not taken, if the bytes are too
    /// short for a report with a MAC or too long for one in band, or no more are taken.
    #[inline(never)]
    pub fn add_report(&mut self, signers: &Signers, object: &[u8]) -> bool {
        let lane = self.count;
        let Some((signed, mac)) = object.split_last_chunk::<MAC_LEN>() else {
            return false;
        };
        let fits = signed.len() >= REPORT_FIXED_LEN && object.len() <= MAX_REPORT_LEN_IN_BAND;
        let (true, Some(instance)) = (fits, signed.get(8..).and_then(<[u8]>::first_chunk)) else {
            return false;
        };
        if lane >= LANES {
            return false;
        }
        self.batch.expect(lane, *mac);
        self.taken(Sender {
            name: u128::from(u32::from_le_bytes(*instance)),
            cluster: signers.cluster,
            master: signers.master,
            reports: true,
        });
        let text = self.batch.text(lane);
        put(text, 0, REPORT_KIND_AND_LABEL.to_le_bytes());
        self.object(lane, REPORT_PREFIX_LEN, object);
        true
    }

    /// The next lane is of this sender.
    #[inline(always)]
    fn taken(&mut self, sender: Sender) {
        let lane = self.count % LANES;
        self.senders[lane] = sender;
        self.one_sender = (lane == 0 || self.one_sender) & (sender == self.senders[0]);
        self.count = lane + 1;
    }

    /// Puts the object into the lane's text, behind `prefix_len` bytes: its last bytes, the tag, as zeros.
    #[inline(always)]
    fn object(&mut self, lane: usize, prefix_len: usize, object: &[u8]) {
        let text = self.batch.text(lane);
        let signed = object.len() - MAC_LEN;
        // Whole blocks, the last into the tag, which is as long as one.
        let blocks = object.as_chunks().0.iter().take(signed.div_ceil(MAC_LEN));
        for (to, block) in text[prefix_len..]
            .as_chunks_mut::<MAC_LEN>()
            .0
            .iter_mut()
            .zip(blocks)
        {
            *to = *block;
        }
        // And what ends a text whose last block is not whole; otherwise it is behind the last.
        put(text, prefix_len + signed, [0; MAC_LEN]);
        put(text, prefix_len + object.len(), 0x80_u128.to_le_bytes());
        self.batch.end(lane, prefix_len + object.len());
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
        let senders = if self.one_sender { 1 } else { count };
        for (lane, sender) in self.senders[..senders].iter().enumerate() {
            sender.enter(lane, &mut self.batch);
        }
        if self.one_sender {
            self.batch.all_as_first();
        }
        let right = self.engine.right(masters, &mut self.batch, count);
        right.unwrap_or(0)
    }
}

/// Writes `bytes` at an offset of the text.
#[inline(always)]
fn put<const N: usize>(text: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        InstanceId, MacAlgorithm, RequestContext, Role, SenderKey, masked_source, verify_requests,
    };

    const LENS: std::ops::RangeInclusive<usize> = REQUEST_FIXED_LEN + MAC_LEN..=MAX_REQUEST_LEN;

    fn signers(master: u8, cluster: ClusterId) -> Signers {
        let mask = masked_source([0xFF; 16], 64);
        Signers {
            master,
            cluster,
            mask,
        }
    }

    fn addresses(source: [u8; 16], destination: [u8; 16]) -> [u8; 32] {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&source);
        both[16..].copy_from_slice(&destination);
        both
    }

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
            one_source: bool,
            one_master: bool,
        ) {
            if one_source {
                let (_, source, _, _, _, master, _) = requests[0];
                for request in &mut requests {
                    request.1[..8].copy_from_slice(&source[..8]);
                    if one_master {
                        request.5 = master;
                    }
                }
            }
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
                    let addresses = addresses(*source, *destination);
                    let upper = (*protocol, *destination_port);
                    prop_assert!(verifier.add(&signers(*master as u8, cluster), &addresses, upper, object));
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
            one_master: bool,
            one_instance: bool,
        ) {
            let cluster = ClusterId(cluster);
            let masters = masters.map(MasterKey::new);
            for mut verifier in verifiers() {
                let expanded = masters.each_ref().map(|master| verifier.expand(master));
                let mut expected = 0;
                for (at, (request, instance, events, refusals, noise, turned)) in sent.iter().enumerate() {
                    let of = if one_master { 0 } else { at % 2 };
                    let instance = if one_instance { &sent[0].1 } else { instance };
                    if *request {
                        // A source that reads as an instance of the others.
                        let mut source = [0; 16];
                        source[..4].copy_from_slice(&sent[0].1.to_be_bytes());
                        let context = RequestContext { source, destination: [2; 16], protocol: 6, destination_port: 3 };
                        let key = SenderKey::derive(MacAlgorithm::AesCmac, &masters[of], Role::Request, cluster, &source);
                        let mut object = *noise;
                        *object.last_chunk_mut().unwrap() = key.request_tag(&context, noise);
                        expected |= 1 << at;
                        let addresses = addresses(source, context.destination);
                        prop_assert!(verifier.add(&signers(of as u8, cluster), &addresses, (6, 3), &object));
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
                    prop_assert!(verifier.add_report(&signers(of as u8, cluster), object));
                }
                prop_assert_eq!(verifier.finish(&expanded), expected);
            }
        }
    }

    #[test]
    fn what_cannot_be_a_report_is_not_taken() {
        for mut verifier in verifiers() {
            let mut add = |len| verifier.add_report(&signers(0, ClusterId(1)), &[0; 400][..len]);
            assert!(!add(0));
            assert!(!add(REPORT_FIXED_LEN + MAC_LEN - 1));
            assert!(!add(MAX_REPORT_LEN_IN_BAND + 1));
            assert!((0..MAX_LANES).all(|_| add(MAX_REPORT_LEN_IN_BAND)));
            assert!(!add(MAX_REPORT_LEN_IN_BAND), "no room");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_not_taken() {
        for mut verifier in verifiers() {
            let signers = signers(0, ClusterId(1));
            let mut add = |len| verifier.add(&signers, &[1; 32], (6, 3), &[0; 200][..len]);
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

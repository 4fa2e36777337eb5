//! Whether requests are their senders', many at a time, on the processor's AES instructions.
//!
//! The senders' keys are derived with each check and not kept: side by side that takes less time than fetching them from a table,
//! and a flood of made-up senders displaces nobody's.

use aes_lanes::{Batch, Engine, LANES};

use crate::mac::{KIND_AND_LABEL, REQUEST_PREFIX_LEN, same};
use crate::{ClusterId, MAC_LEN, MAX_REQUEST_LEN, MasterKey, REQUEST_FIXED_LEN, RequestContext};

pub use aes_lanes::Master as ExpandedMaster;

/// Requests that a [`Verifier`] takes at once.
pub const MAX_LANES: usize = LANES;
/// Blocks of the longest text.
const BLOCKS: usize = (REQUEST_PREFIX_LEN + MAX_REQUEST_LEN).div_ceil(16);
/// What a request key is derived from begins with: label and role.
const DERIVATION: u128 = u128::from_le_bytes(*b"AFR1req\0\0\0\0\0\0\0\0\0");

/// Checks the MACs of up to [`MAX_LANES`] requests under [`MacAlgorithm::AesCmac`](crate::MacAlgorithm::AesCmac), each under the
/// key of its own sender: as [`SenderKey::derive`](crate::SenderKey::derive) and
/// [`SenderKey::verify_request`](crate::SenderKey::verify_request) do, without keeping the keys.
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
            KIND_AND_LABEL | source << 40,
            source >> 88 | destination << 40,
            destination >> 88 | behind | head,
        ]
        .into_iter()
        .enumerate()
        {
            self.batch.put(lane, at, block.to_le_bytes());
        }

        // The signed part, then the tag taken as zeros: a block more, cut as the one before.
        let mut at = 3;
        let mut rest = &object[8..];
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
        self.batch.end(lane, REQUEST_PREFIX_LEN + object.len());
        true
    }

    /// Whether no more are taken before the next [`Self::finish`].
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == LANES
    }

    /// Checks those that were taken. Bit *i* of the answer says whether request *i* is its sender's. Takes the same time wherever
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

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
    /// What of a source a sender's key depends on.
    mask: u128,
    whose: Whose,
}

/// Cluster, master, and whether it signs reports: in one word, for it is compared with each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whose(u64);

impl Whose {
    const NOBODY: Self = Self(0);
    const REPORTS: u64 = 1 << 8;

    const fn new(master: u8, cluster: ClusterId) -> Self {
        Self((cluster.0 as u64) << 32 | master as u64)
    }

    const fn reports(self) -> Self {
        Self(self.0 | Self::REPORTS)
    }

    const fn master(self) -> u8 {
        self.0 as u8
    }

    const fn cluster(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn signs_reports(self) -> bool {
        self.0 & Self::REPORTS != 0
    }
}

impl Signers {
    /// Those who sign under the master at this place among those to come, for this cluster. `mask`: what of a source a sender's
    /// key depends on ([`masked_source`](crate::masked_source) of all ones).
    #[must_use]
    pub const fn new(master: u8, cluster: ClusterId, mask: [u8; 16]) -> Self {
        Self {
            mask: u128::from_le_bytes(mask),
            whose: Whose::new(master, cluster),
        }
    }
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
}

/// Requests and reports that a [`Verifier`] is given to be checked together.
#[derive(Debug)]
pub struct Checks<'v> {
    verifier: &'v mut Verifier,
    count: usize,
    /// Nothing, if all senders are as the first.
    various: u64,
}

/// Whose key is to be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    /// A masked source as it is in a packet, or the number of an instance.
    name: u128,
    whose: Whose,
}

impl Sender {
    const NOBODY: Self = Self {
        name: 0,
        whose: Whose::NOBODY,
    };

    /// Bits in which they differ, folded.
    #[inline(always)]
    const fn differs(&self, other: &Self) -> u64 {
        let name = self.name ^ other.name;
        name as u64 | (name >> 64) as u64 | (self.whose.0 ^ other.whose.0)
    }

    fn enter(&self, lane: usize, batch: &mut Batch<BLOCKS>) {
        let (whose, name) = (self.whose, self.name);
        let cluster = u128::from(whose.cluster().swap_bytes());
        if whose.signs_reports() {
            let only = REPORT_DERIVATION | cluster << 56 | name << 88;
            batch.derive_short(lane, whose.master(), only.to_le_bytes());
        } else {
            let first = DERIVATION | cluster << 56 | name << 88;
            let second = name >> 40 | 0x80 << 88;
            batch.derive(lane, whose.master(), [first, second].map(u128::to_le_bytes));
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
        }
    }

    /// A master key in the form that [`Checks::finish`] takes.
    #[must_use]
    pub fn expand(&self, key: &MasterKey) -> ExpandedMaster {
        self.engine.master(key.as_bytes())
    }

    /// Begins to take requests and reports, to be checked together.
    #[inline(always)]
    #[must_use = "nothing is checked before `Checks::finish`"]
    pub fn begin(&mut self) -> Checks<'_> {
        Checks {
            verifier: self,
            count: 0,
            various: 0,
        }
    }
}

impl Checks<'_> {
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
        let lens = REQUEST_FIXED_LEN + MAC_LEN..=MAX_REQUEST_LEN;
        if !lens.contains(&object.len()) || lane >= LANES {
            return false;
        }
        self.verifier.batch.expect(lane, *mac);
        let source = addresses
            .first_chunk()
            .copied()
            .map_or(0, u128::from_le_bytes);
        let sender = Sender {
            name: source & signers.mask,
            whose: signers.whose,
        };
        self.taken(lane, sender);

        let text = self.verifier.batch.text(lane);
        put(text, 0, REQUEST_KIND_AND_LABEL.to_le_bytes());
        put(text, 5, *addresses);
        let port = u32::from(destination_port.swap_bytes());
        put(text, 37, (u32::from(protocol) | port << 8).to_le_bytes());
        self.object::<REQUEST_PREFIX_LEN, { whole_blocks(REQUEST_FIXED_LEN + MAC_LEN) }>(
            lane, object,
        );
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
        self.verifier.batch.expect(lane, *mac);
        let sender = Sender {
            name: u128::from(u32::from_le_bytes(*instance)),
            whose: signers.whose.reports(),
        };
        self.taken(lane, sender);
        let text = self.verifier.batch.text(lane);
        put(text, 0, REPORT_KIND_AND_LABEL.to_le_bytes());
        self.object::<REPORT_PREFIX_LEN, { whole_blocks(REPORT_FIXED_LEN + MAC_LEN) }>(
            lane, object,
        );
        true
    }

    /// The lane, the next, is of this sender.
    #[inline(always)]
    fn taken(&mut self, lane: usize, sender: Sender) {
        let senders = &mut self.verifier.senders;
        senders[lane % LANES] = sender;
        self.various |= sender.differs(&senders[0]);
        self.count = lane + 1;
    }

    /// Puts the object into the lane's text, behind `PREFIX` bytes: its last bytes, the tag, as zeros. It has `LEAST` bytes at
    /// least, which are whole blocks.
    #[inline(always)]
    fn object<const PREFIX: usize, const LEAST: usize>(&mut self, lane: usize, object: &[u8]) {
        let text = self.verifier.batch.text(lane);
        let signed = object.len() - MAC_LEN;
        // Whole blocks, the last into the tag, which is as long as one. Those of every object at once.
        if let (Some(first), Some(place)) = (
            object.first_chunk::<LEAST>(),
            text[PREFIX..].first_chunk_mut::<LEAST>(),
        ) {
            *place = *first;
        }
        if signed > LEAST {
            let blocks = object.as_chunks().0.iter().take(signed.div_ceil(MAC_LEN));
            let places = text[PREFIX..].as_chunks_mut::<MAC_LEN>().0;
            for (to, block) in places.iter_mut().zip(blocks).skip(LEAST / MAC_LEN) {
                *to = *block;
            }
        }
        // Zeros for the tag, and what ends a text whose last block is not whole; otherwise it is behind the last.
        put(text, PREFIX + signed, [0; MAC_LEN]);
        put(text, PREFIX + object.len(), 0x80_u128.to_le_bytes());
        self.verifier.batch.end(lane, PREFIX + object.len());
    }

    /// How many were taken; no more are than [`MAX_LANES`].
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Checks those that were taken. Bit *i* of the answer says whether object *i* is its sender's. Takes the same time wherever
    /// a tag differs.
    #[inline]
    pub fn finish(self, masters: &[ExpandedMaster]) -> u32 {
        let Self {
            verifier,
            count,
            various,
        } = self;
        let one_sender = various == 0;
        let senders = if one_sender { 1 } else { count };
        for (lane, sender) in verifier.senders.iter().take(senders).enumerate() {
            sender.enter(lane, &mut verifier.batch);
        }
        if one_sender {
            verifier.batch.all_as_first();
        }
        let right = verifier.engine.right(masters, &mut verifier.batch, count);
        right.unwrap_or(0)
    }
}

/// Bytes of the whole blocks in so many.
const fn whole_blocks(bytes: usize) -> usize {
    bytes / MAC_LEN * MAC_LEN
}

/// Writes `bytes` at an offset of the text.
#[inline(always)]
fn put<const N: usize>(text: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

#[cfg(test)]
mod tests;

//! Who sent it: keys per sender, and the MAC over an object and its surroundings.

use core::fmt;

use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cmac::{AesCmac, Lane};
use crate::object::Kind;
use crate::{
    ClusterId, MAC_LEN, MAX_REPORT_LEN, MAX_REQUEST_LEN, Object, Place, ReportView, RequestView,
    SignError,
};

/// What every text that a key of ours is used on begins with.
const LABEL: &[u8; 4] = b"AFR1";
/// Label (4), kind (1).
pub(crate) const REPORT_PREFIX_LEN: usize = 5;
/// Label (4), kind (1), source (16), destination (16), protocol (1), destination port (2).
pub(crate) const REQUEST_PREFIX_LEN: usize = 40;
/// What they begin with, as a number whose lowest byte is the first.
pub(crate) const REQUEST_KIND_AND_LABEL: u64 = kind_and_label(Kind::Request);
/// The same of reports.
pub(crate) const REPORT_KIND_AND_LABEL: u64 = kind_and_label(Kind::Report);

const fn kind_and_label(kind: Kind) -> u64 {
    let [a, b, c, d] = *LABEL;
    (u32::from_le_bytes([a, b, c, d]) as u64) | (kind as u64) << 32
}

/// How tags are made; a key ring entry names it, the object does not.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum MacAlgorithm {
    /// AES-CMAC-128, RFC 4493.
    #[default]
    AesCmac,
    /// SipHash-2-4 with 128-bit output, key and tag bytes in the order of its reference
    /// implementation.
    SipHash24,
}

/// What a sender may speak as.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A client that makes requests.
    Request,
    /// An instance that reports its state.
    Report,
}

impl Role {
    const fn label(self) -> &'static [u8; 3] {
        match self {
            Self::Request => b"req",
            Self::Report => b"rpt",
        }
    }
}

/// Master key of a key ring entry. Wiped when dropped; never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct MasterKey([u8; 16]);

impl MasterKey {
    /// Takes the key. The caller's copy is the caller's to wipe.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for MasterKey {
    fn from(key: [u8; 16]) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The key of one sender, derived and expanded: a tag costs only the blocks of its text.
///
/// One sender cannot speak for another, nor in the other role, nor in another cluster, because
/// each has a key of its own. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct SenderKey(Expanded);

// The small variant is rare, and a box would need an allocator and cost a cache miss.
#[allow(clippy::large_enum_variant)]
#[derive(Clone)]
enum Expanded {
    AesCmac(AesCmac),
    SipHash24(SipKey),
}

#[derive(Clone, ZeroizeOnDrop)]
struct SipKey([u8; 16]);

impl SenderKey {
    /// `AES-CMAC(master, "AFR1" ‖ role ‖ cluster ‖ sender)`, expanded for `algorithm`.
    ///
    /// `sender` is the source address of a request through [`masked_source`] (16 bytes), or the
    /// instance id of a report (4 bytes, big-endian).
    pub fn derive(
        algorithm: MacAlgorithm,
        master: &MasterKey,
        role: Role,
        cluster: ClusterId,
        sender: &[u8],
    ) -> Self {
        let text = [
            LABEL.as_slice(),
            role.label(),
            &cluster.0.to_be_bytes(),
            sender,
        ];
        let mut key = AesCmac::new(&master.0).tag(&text);
        let expanded = match algorithm {
            MacAlgorithm::AesCmac => Expanded::AesCmac(AesCmac::new(&key)),
            MacAlgorithm::SipHash24 => Expanded::SipHash24(SipKey(key)),
        };
        key.zeroize();
        Self(expanded)
    }

    /// Whether this sender made this request, for this destination. Takes the same time wherever
    /// a tag differs. False for a request without a MAC.
    #[inline]
    pub fn verify_request(&self, context: &RequestContext, view: &RequestView<'_>) -> bool {
        view.mac()
            .is_some_and(|mac| same(mac, &self.tag(&request_text(context, view.as_bytes()))))
    }

    /// Whether this instance made this report. Takes the same time wherever a tag differs. False
    /// for a report without a MAC.
    #[inline]
    pub fn verify_report(&self, view: &ReportView<'_>) -> bool {
        view.mac()
            .is_some_and(|mac| same(mac, &self.tag(&report_text(view.as_bytes()))))
    }

    /// Puts the tag of a request into its last 16 bytes, whatever they were.
    ///
    /// # Errors
    ///
    /// [`SignError`] if `object` is not exactly one request with a key id.
    pub fn sign_request(
        &self,
        context: &RequestContext,
        object: &mut [u8],
    ) -> Result<(), SignError> {
        let Object::Request(view) = Object::parse(object, Place::InBand)? else {
            return Err(SignError::WrongKind);
        };
        let tag = self.tag(&request_text(context, view.as_bytes()));
        put_tag(view.mac().is_some(), object, tag)
    }

    /// Puts the tag of a report into its last 16 bytes, whatever they were.
    ///
    /// # Errors
    ///
    /// [`SignError`] if `object` is not exactly one report with a key id.
    pub fn sign_report(&self, object: &mut [u8]) -> Result<(), SignError> {
        let Object::Report(view) = Object::parse(object, Place::Datagram)? else {
            return Err(SignError::WrongKind);
        };
        let tag = self.tag(&report_text(view.as_bytes()));
        put_tag(view.mac().is_some(), object, tag)
    }

    #[cfg(test)]
    pub(crate) fn request_tag(&self, context: &RequestContext, object: &[u8]) -> [u8; MAC_LEN] {
        self.tag(&request_text(context, object))
    }

    #[inline]
    fn tag<const N: usize>(&self, text: &Text<N>) -> [u8; MAC_LEN] {
        match &self.0 {
            Expanded::AesCmac(key) => key.tag(&[text.as_bytes()]),
            Expanded::SipHash24(key) => SipHasher24::new_with_key(&key.0)
                .hash(text.as_bytes())
                .as_bytes(),
        }
    }
}

impl fmt::Debug for SenderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SenderKey(..)")
    }
}

/// The surroundings of a request that its MAC covers, so that it cannot be moved elsewhere. The
/// source port is not among them: a client does not know it before `connect()`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestContext {
    /// Source address of the packet, unmasked.
    pub source: [u8; 16],
    /// Final destination address; with an SRH that is Segment List\[0\].
    pub destination: [u8; 16],
    /// Upper-layer protocol, for example 6 for TCP.
    pub protocol: u8,
    /// Destination port; 0 where the protocol has none.
    pub destination_port: u16,
}

/// Requests that [`verify_requests`] takes at once.
pub const MAX_CHECKS: usize = 8;

/// Checks the MACs of up to [`MAX_CHECKS`] requests at once, each under the key of its own sender, and in much less time than
/// one after the other. Bit *i* of the answer says whether request *i* is its sender's.
///
/// Each is given as its bytes, which are taken to end in the MAC; whether they are a well-formed request at all is for
/// [`Object::parse`] to say. Too short or too long for one, the answer is no.
#[must_use]
pub fn verify_requests(checks: &[(&SenderKey, RequestContext, &[u8])]) -> u32 {
    const BLOCKS: usize = (REQUEST_PREFIX_LEN + MAX_REQUEST_LEN).div_ceil(MAC_LEN);
    let mut texts = [[[0; MAC_LEN]; BLOCKS]; MAX_CHECKS];
    let mut lanes: [Option<Lane<'_>>; MAX_CHECKS] = [const { None }; MAX_CHECKS];
    let mut right = 0;
    let mut len = 0;
    let mut of = [0; MAX_CHECKS];
    for (at, ((key, context, object), text)) in checks.iter().zip(&mut texts).enumerate() {
        if !(MAC_LEN..=MAX_REQUEST_LEN).contains(&object.len()) {
            continue;
        }
        let Expanded::AesCmac(cmac) = &key.0 else {
            right |= u32::from(verify_one(key, context, object)) << at;
            continue;
        };
        let bytes = text.as_flattened_mut();
        let signed = object.len() - MAC_LEN;
        bytes[..REQUEST_PREFIX_LEN].copy_from_slice(&request_prefix(context));
        bytes[REQUEST_PREFIX_LEN..REQUEST_PREFIX_LEN + signed].copy_from_slice(&object[..signed]);
        let text_len = REQUEST_PREFIX_LEN + object.len();
        lanes[len] = Some(Lane::new(cmac, text, text_len));
        of[len] = at;
        len += 1;
    }
    crate::cmac::chain(&mut lanes[..len]);
    for (lane, at) in lanes.iter().flatten().zip(of) {
        let mac = checks[at].2.last_chunk();
        right |= u32::from(mac.is_some_and(|mac| same(mac, lane.tag()))) << at;
    }
    right
}

fn verify_one(key: &SenderKey, context: &RequestContext, object: &[u8]) -> bool {
    let mac = object.last_chunk();
    mac.is_some_and(|mac| same(mac, &key.tag(&request_text(context, object))))
}

/// The first `prefix_len` bits of an address, the others zero: the sender a request key is
/// derived for. A `prefix_len` over 128 counts as 128.
#[inline]
pub fn masked_source(address: [u8; 16], prefix_len: u8) -> [u8; 16] {
    let host_bits = 128_u32.saturating_sub(u32::from(prefix_len));
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    (u128::from_be_bytes(address) & mask).to_be_bytes()
}

/// What a tag is computed over, in one piece because both MACs are fastest on one.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// `prefix ‖ object`, the tag in the object's last bytes taken as zero. `N` is the length of
    /// the longest: an object out of a view cannot exceed it.
    #[inline(always)]
    fn new<const P: usize>(prefix: [u8; P], object: &[u8]) -> Self {
        let mut bytes = [0; N];
        let signed = object.len() - MAC_LEN;
        bytes[..P].copy_from_slice(&prefix);
        bytes[P..P + signed].copy_from_slice(&object[..signed]);
        Self {
            bytes,
            len: P + object.len(),
        }
    }

    #[inline(always)]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn request_text(
    context: &RequestContext,
    object: &[u8],
) -> Text<{ REQUEST_PREFIX_LEN + MAX_REQUEST_LEN }> {
    Text::new(request_prefix(context), object)
}

#[inline(always)]
fn request_prefix(context: &RequestContext) -> [u8; REQUEST_PREFIX_LEN] {
    let mut prefix = [0; REQUEST_PREFIX_LEN];
    prefix[..4].copy_from_slice(LABEL);
    prefix[4] = Kind::Request as u8;
    prefix[5..21].copy_from_slice(&context.source);
    prefix[21..37].copy_from_slice(&context.destination);
    prefix[37] = context.protocol;
    prefix[38..].copy_from_slice(&context.destination_port.to_be_bytes());
    prefix
}

#[inline]
fn report_text(object: &[u8]) -> Text<{ REPORT_PREFIX_LEN + MAX_REPORT_LEN }> {
    let [a, f, r, one] = *LABEL;
    Text::new([a, f, r, one, Kind::Report as u8], object)
}

/// Whether two tags are equal, in a time that does not depend on where they differ. They are folded
/// into one word first: `subtle` hides each step from the optimiser, which is dear byte by byte.
#[inline]
fn same(one: &[u8; MAC_LEN], other: &[u8; MAC_LEN]) -> bool {
    let difference = u128::from_ne_bytes(*one) ^ u128::from_ne_bytes(*other);
    let folded = difference as u64 | (difference >> 64) as u64;
    folded.ct_eq(&0).into()
}

fn put_tag(has_mac: bool, object: &mut [u8], tag: [u8; MAC_LEN]) -> Result<(), SignError> {
    match object.split_last_chunk_mut() {
        Some((_, mac)) if has_mac => {
            *mac = tag;
            Ok(())
        }
        _ => Err(SignError::NoKeyId),
    }
}

#[cfg(test)]
mod tests;

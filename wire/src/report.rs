//! Kind 2: how an instance is.
//!
//! 44 fixed bytes, KV events, one bit an event for what happened, refused classes, MAC.

mod value;

use crate::error::{Malformation, ParseError, Section};
use crate::object::{
    Kind, Object, Place, be16, be32, head, kind, mac_len, padded, truncated, wrong_length,
};
use crate::{
    CatalogueVersion, ClassId, DomainId, InstanceId, KeyId, MAC_LEN, MAX_REFUSALS, Prefix,
    REPORT_FIXED_LEN, ReportFlags,
};

pub use value::Report;

/// Offsets in the fixed part, after the common head.
mod at {
    pub(super) const INSTANCE_ID: usize = 8;
    pub(super) const BOOT_EPOCH: usize = 12;
    pub(super) const SEQ: usize = 16;
    pub(super) const SAMPLED_AT: usize = 20;
    pub(super) const QUEUE_DEPTH: usize = 24;
    pub(super) const RUNNING: usize = 26;
    pub(super) const PENDING_PREFILL_TOKENS: usize = 28;
    pub(super) const PREFILL_RATE: usize = 32;
    pub(super) const KV_USED: usize = 34;
    pub(super) const LOAD_CLASS: usize = 35;
    pub(super) const DOMAIN: usize = 36;
    pub(super) const N_EVENTS: usize = 38;
    pub(super) const N_REFUSALS: usize = 39;
    pub(super) const CACHE_GENERATION: usize = 40;
}

/// Tokens per second that one step of the prefill rate stands for.
const RATE_UNIT_TOKENS_S: u32 = 16;
/// Events whose operations one word holds.
const OPS_PER_WORD: usize = 32;

/// A state report checked in place. The accessors read; they cannot fail.
#[derive(Copy, Clone, Debug)]
pub struct ReportView<'a> {
    bytes: &'a [u8],
    fixed: &'a [u8; REPORT_FIXED_LEN],
    events: &'a [[u8; Prefix::LEN]],
    ops: &'a [[u8; 4]],
    refusals: &'a [[u8; 4]],
    mac: Option<&'a [u8; MAC_LEN]>,
}

impl<'a> ReportView<'a> {
    /// The report that `data` are, if they are a well-formed one: as [`Object::parse`], for who does not ask why not. Inlined, for
    /// what is not used of the answer is not computed then.
    #[inline(always)]
    pub fn of(data: &'a [u8], place: Place) -> Option<Self> {
        match kind(data) {
            Ok(Kind::Report) => Self::parse(data, place).ok(),
            _ => None,
        }
    }

    /// Splits `bytes`, whose exid, version and kind are known to be ours, into its sections.
    #[inline(always)]
    pub(crate) fn parse(bytes: &'a [u8], place: Place) -> Result<Self, ParseError> {
        let Some((fixed, rest)) = bytes.split_first_chunk() else {
            return Err(truncated(bytes, REPORT_FIXED_LEN));
        };
        let n_events = usize::from(fixed[at::N_EVENTS]);
        let n_refusals = usize::from(fixed[at::N_REFUSALS]);
        if n_events > place.max_events() {
            let (found, limit) = (fixed[at::N_EVENTS], place.max_events() as u8);
            let what = Malformation::TooMany {
                section: Section::Events,
                found,
                limit,
            };
            return Err(ParseError::Malformed {
                offset: at::N_EVENTS,
                what,
            });
        }
        if n_refusals > MAX_REFUSALS {
            let (found, limit) = (fixed[at::N_REFUSALS], MAX_REFUSALS as u8);
            let what = Malformation::TooMany {
                section: Section::Refusals,
                found,
                limit,
            };
            return Err(ParseError::Malformed {
                offset: at::N_REFUSALS,
                what,
            });
        }

        let sections = Sections::of(n_events, n_refusals);
        let mac_len = mac_len(KeyId(be16(fixed, head::KEY_ID)));
        if rest.len() != sections.end + mac_len {
            return Err(wrong_length(
                bytes,
                REPORT_FIXED_LEN + sections.end + mac_len,
            ));
        }

        // The length is the sum of the sections, so none of these splits can fall short.
        let (events, _) = rest[..Prefix::LEN * n_events].as_chunks();
        let (ops, _) = rest[sections.ops_at..sections.refusals_at].as_chunks();
        let (refusals, _) = rest[sections.refusals_at..sections.end].as_chunks();
        if let Some(index) = events
            .iter()
            .position(|event| Prefix::from_wire(*event).depth == 0)
        {
            let offset = REPORT_FIXED_LEN + Prefix::LEN * index;
            return Err(ParseError::Malformed {
                offset,
                what: Malformation::DepthZero,
            });
        }
        let mac = rest[sections.end..].first_chunk();
        Ok(Self {
            bytes,
            fixed,
            events,
            ops,
            refusals,
            mac,
        })
    }

    /// Flags, unknown ones included.
    #[inline]
    pub const fn flags(&self) -> ReportFlags {
        ReportFlags(self.fixed[head::FLAGS])
    }

    /// Entry of the key ring; [`KeyId::NONE`] if the report is unauthenticated.
    #[inline]
    pub const fn key_id(&self) -> KeyId {
        KeyId(be16(self.fixed, head::KEY_ID))
    }

    /// Version of the label catalogue, part of the key of the events' prefixes.
    #[inline]
    pub const fn catalogue(&self) -> CatalogueVersion {
        CatalogueVersion(be16(self.fixed, head::CATALOGUE))
    }

    /// Who reports.
    #[inline]
    pub const fn instance_id(&self) -> InstanceId {
        InstanceId(be32(self.fixed, at::INSTANCE_ID))
    }

    /// Start of the reporting agent: orders its starts.
    #[inline]
    pub const fn boot_epoch(&self) -> u32 {
        be32(self.fixed, at::BOOT_EPOCH)
    }

    /// Orders the reports of one boot epoch; one sequence number, one content.
    #[inline]
    pub const fn seq(&self) -> u32 {
        be32(self.fixed, at::SEQ)
    }

    /// When the engine was sampled: low 32 bits of Unix milliseconds.
    #[inline]
    pub const fn sampled_at_ms(&self) -> u32 {
        be32(self.fixed, at::SAMPLED_AT)
    }

    /// Requests waiting.
    #[inline]
    pub const fn queue_depth(&self) -> u16 {
        be16(self.fixed, at::QUEUE_DEPTH)
    }

    /// Requests running.
    #[inline]
    pub const fn running(&self) -> u16 {
        be16(self.fixed, at::RUNNING)
    }

    /// Uncached tokens still to prefill, partial chunks included.
    #[inline]
    pub const fn pending_prefill_tokens(&self) -> u32 {
        be32(self.fixed, at::PENDING_PREFILL_TOKENS)
    }

    /// Prefill rate in tokens per second, in steps of 16; 0 if unknown.
    #[inline]
    pub const fn prefill_rate_tokens_s(&self) -> u32 {
        be16(self.fixed, at::PREFILL_RATE) as u32 * RATE_UNIT_TOKENS_S
    }

    /// Use of the KV capacity, 0–255.
    #[inline]
    pub const fn kv_used(&self) -> u8 {
        self.fixed[at::KV_USED]
    }

    /// One normalised load score, 0–255 (CATS L2).
    #[inline]
    pub const fn load_class(&self) -> u8 {
        self.fixed[at::LOAD_CLASS]
    }

    /// Signature domain of the events.
    #[inline]
    pub const fn domain(&self) -> DomainId {
        DomainId(be16(self.fixed, at::DOMAIN))
    }

    /// A change means that the cache was cleared: forget this instance's signatures.
    #[inline]
    pub const fn cache_generation(&self) -> u32 {
        be32(self.fixed, at::CACHE_GENERATION)
    }

    /// How many events there are.
    #[inline]
    pub const fn n_events(&self) -> usize {
        self.events.len()
    }

    /// What entered and left the KV store, in the sender's order; every depth is at least 1.
    #[inline]
    pub fn events(&self) -> impl Iterator<Item = Event> + Clone + use<'a> {
        self.events
            .chunks(OPS_PER_WORD)
            .zip(self.ops)
            .flat_map(|(events, &word)| {
                let word = u32::from_be_bytes(word);
                events.iter().enumerate().map(move |(bit, &prefix)| Event {
                    op: if word >> bit & 1 == 0 {
                        EventOp::Stored
                    } else {
                        EventOp::Evicted
                    },
                    prefix: Prefix::from_wire(prefix),
                })
            })
    }

    /// How many refused classes there are, 0–4.
    #[inline]
    pub const fn n_refusals(&self) -> usize {
        self.refusals.len()
    }

    /// Classes the instance refuses.
    #[inline]
    pub fn refusals(&self) -> impl ExactSizeIterator<Item = ClassId> + Clone + use<'a> {
        self.refusals
            .iter()
            .map(|&id| ClassId(u32::from_be_bytes(id)))
    }

    /// The MAC, present exactly when the key id is not 0.
    #[inline]
    pub const fn mac(&self) -> Option<&'a [u8; MAC_LEN]> {
        self.mac
    }

    /// The whole object.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What happened to a prefix in the KV store of an instance.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventOp {
    /// It is there now.
    #[default]
    Stored,
    /// It is gone.
    Evicted,
}

/// One KV event.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Event {
    /// What happened.
    pub op: EventOp,
    /// To which prefix.
    pub prefix: Prefix,
}

impl<'a> TryFrom<Object<'a>> for ReportView<'a> {
    type Error = Object<'a>;

    fn try_from(object: Object<'a>) -> Result<Self, Object<'a>> {
        match object {
            Object::Report(view) => Ok(view),
            Object::Request(_) => Err(object),
        }
    }
}

/// Where the sections lie, from the end of the fixed part.
struct Sections {
    ops_at: usize,
    refusals_at: usize,
    end: usize,
}

impl Sections {
    #[inline]
    const fn of(n_events: usize, n_refusals: usize) -> Self {
        let ops_at = padded(Prefix::LEN * n_events);
        let refusals_at = ops_at + 4 * n_events.div_ceil(OPS_PER_WORD);
        Self {
            ops_at,
            refusals_at,
            end: refusals_at + 4 * n_refusals,
        }
    }
}

/// Length of the longest report with so many events.
pub(crate) const fn longest(n_events: usize) -> usize {
    REPORT_FIXED_LEN + Sections::of(n_events, MAX_REFUSALS).end + MAC_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        EmitError, List, MAX_EVENTS_DATAGRAM, MAX_EVENTS_IN_BAND, MAX_REPORT_LEN, Signature,
    };

    fn with_events(count: u16) -> Report {
        let event = |n: u16| Event {
            op: if n.is_multiple_of(3) {
                EventOp::Evicted
            } else {
                EventOp::Stored
            },
            prefix: Prefix {
                depth: n,
                signature: Signature([n as u8; 4]),
            },
        };
        Report {
            events: List::take_from((1..=count).map(event)),
            ..Report::default()
        }
    }

    #[test]
    fn the_place_decides_how_many_events_may_be() {
        let mut data = [0; MAX_REPORT_LEN];
        let limit = MAX_EVENTS_IN_BAND as u16;
        let length = with_events(limit).emit(&mut data).unwrap();
        assert!(Object::parse(&data[..length], Place::InBand).is_ok());
        let length = with_events(limit + 1).emit(&mut data).unwrap();
        let error = Object::parse(&data[..length], Place::InBand).unwrap_err();
        let what = Malformation::TooMany {
            section: Section::Events,
            found: 13,
            limit: 12,
        };
        assert_eq!(error, ParseError::Malformed { offset: 38, what });
        assert!(Object::parse(&data[..length], Place::Datagram).is_ok());
    }

    #[test]
    fn operations_keep_their_event_over_word_boundaries() {
        let report = with_events(MAX_EVENTS_DATAGRAM as u16);
        let mut data = [0; MAX_REPORT_LEN];
        let length = report.emit(&mut data).unwrap();
        let Ok(Object::Report(view)) = Object::parse(&data[..length], Place::Datagram) else {
            panic!("a report was written");
        };
        assert_eq!(view.n_events(), MAX_EVENTS_DATAGRAM);
        assert!(view.events().eq(report.events.iter().copied()));
    }

    #[test]
    fn an_event_of_depth_zero_is_malformed() {
        let mut report = with_events(3);
        let mut data = [0; 128];
        let length = report.emit(&mut data).unwrap();
        data[REPORT_FIXED_LEN + 6..REPORT_FIXED_LEN + 8].fill(0);
        let error = Object::parse(&data[..length], Place::InBand).unwrap_err();
        assert_eq!(
            error,
            ParseError::Malformed {
                offset: 50,
                what: Malformation::DepthZero
            }
        );
        report.events.push(Event::default()).unwrap();
        assert_eq!(report.emit(&mut data), Err(EmitError::DepthZero));
    }

    #[test]
    fn refusals_are_bounded() {
        let mut data = [0; 128];
        let length = Report::default().emit(&mut data).unwrap();
        data[at::N_REFUSALS] = 5;
        let error = Object::parse(&data[..length + 20], Place::Datagram).unwrap_err();
        let what = Malformation::TooMany {
            section: Section::Refusals,
            found: 5,
            limit: 4,
        };
        assert_eq!(error, ParseError::Malformed { offset: 39, what });
    }
}

//! Kind 2: how an instance is.
//!
//! 44 fixed bytes, KV events, one bit an event for what happened, refused classes, MAC.

use crate::error::{EmitError, Malformation, ParseError, Section};
use crate::object::{
    Kind, Object, Place, be16, be32, emit_head, head, mac_len, padded, truncated, wrong_length,
};
use crate::{
    CatalogueVersion, ClassId, DomainId, InstanceId, KeyId, List, MAC_LEN, MAX_EVENTS_DATAGRAM,
    MAX_REFUSALS, Prefix, REPORT_FIXED_LEN, ReportFlags,
};

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
    /// Splits `bytes`, whose exid, version and kind are known to be ours, into its sections.
    #[inline]
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

/// A state report as a value (about 2 kB: it has room for a datagram's events).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Flags.
    pub flags: ReportFlags,
    /// Entry of the key ring to sign with; [`KeyId::NONE`] for an unauthenticated report.
    pub key_id: KeyId,
    /// Version of the label catalogue.
    pub catalogue: CatalogueVersion,
    /// Who reports.
    pub instance_id: InstanceId,
    /// Start of the reporting agent, in Unix seconds and never below the last one used.
    pub boot_epoch: u32,
    /// Orders the reports of one boot epoch.
    pub seq: u32,
    /// When the engine was sampled: low 32 bits of Unix milliseconds.
    pub sampled_at_ms: u32,
    /// Requests waiting.
    pub queue_depth: u16,
    /// Requests running.
    pub running: u16,
    /// Uncached tokens still to prefill.
    pub pending_prefill_tokens: u32,
    /// Prefill rate in tokens per second; 0 if unknown. Written in steps of 16, rounded to the
    /// nearest but never to 0, at most 1,048,560.
    pub prefill_rate_tokens_s: u32,
    /// Use of the KV capacity, 0–255.
    pub kv_used: u8,
    /// One normalised load score, 0–255.
    pub load_class: u8,
    /// Signature domain of the events.
    pub domain: DomainId,
    /// KV events. More than [`crate::MAX_EVENTS_IN_BAND`] are for a datagram only.
    pub events: List<Event, MAX_EVENTS_DATAGRAM>,
    /// Classes the instance refuses.
    pub refusals: List<ClassId, MAX_REFUSALS>,
    /// Changes when the cache is cleared.
    pub cache_generation: u32,
}

impl Report {
    /// The value of a view, without its MAC.
    pub fn from_view(view: &ReportView<'_>) -> Self {
        Self {
            flags: view.flags(),
            key_id: view.key_id(),
            catalogue: view.catalogue(),
            instance_id: view.instance_id(),
            boot_epoch: view.boot_epoch(),
            seq: view.seq(),
            sampled_at_ms: view.sampled_at_ms(),
            queue_depth: view.queue_depth(),
            running: view.running(),
            pending_prefill_tokens: view.pending_prefill_tokens(),
            prefill_rate_tokens_s: view.prefill_rate_tokens_s(),
            kv_used: view.kv_used(),
            load_class: view.load_class(),
            domain: view.domain(),
            events: List::take_from(view.events()),
            refusals: List::take_from(view.refusals()),
            cache_generation: view.cache_generation(),
        }
    }

    /// Bytes [`Report::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        let sections = Sections::of(self.events.len(), self.refusals.len());
        REPORT_FIXED_LEN + sections.end + mac_len(self.key_id)
    }

    /// Writes the object to the front of `out` and says how long it is. The MAC, where there is
    /// one, is zero until [`crate::SenderKey::sign_report`].
    ///
    /// # Errors
    ///
    /// [`EmitError::NoRoom`], or [`EmitError::DepthZero`] for an event that no receiver would
    /// accept. Nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EmitError> {
        if self.events.iter().any(|event| event.prefix.depth == 0) {
            return Err(EmitError::DepthZero);
        }
        let needed = self.buffer_len();
        let available = out.len();
        let no_room = EmitError::NoRoom { needed, available };
        let object = out.get_mut(..needed).ok_or(no_room)?;
        object.fill(0);
        let (fixed, rest) = object.split_first_chunk_mut().ok_or(no_room)?;
        *fixed = self.emit_fixed();

        let sections = Sections::of(self.events.len(), self.refusals.len());
        let (events, rest) = rest.split_at_mut(sections.ops_at);
        let (ops, rest) = rest.split_at_mut(sections.refusals_at - sections.ops_at);
        for (slot, event) in events.as_chunks_mut().0.iter_mut().zip(&self.events) {
            *slot = event.prefix.to_wire();
        }
        for (slot, events) in ops
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(self.events.chunks(OPS_PER_WORD))
        {
            let bit =
                |(bit, event): (usize, &Event)| u32::from(event.op == EventOp::Evicted) << bit;
            *slot = events
                .iter()
                .enumerate()
                .map(bit)
                .sum::<u32>()
                .to_be_bytes();
        }
        for (slot, class) in rest.as_chunks_mut().0.iter_mut().zip(&self.refusals) {
            *slot = class.0.to_be_bytes();
        }
        Ok(needed)
    }

    fn emit_fixed(&self) -> [u8; REPORT_FIXED_LEN] {
        let mut fixed = [0; REPORT_FIXED_LEN];
        fixed[..at::INSTANCE_ID].copy_from_slice(&emit_head(
            Kind::Report,
            self.flags.0,
            self.key_id,
            self.catalogue,
        ));
        fixed[at::INSTANCE_ID..at::BOOT_EPOCH].copy_from_slice(&self.instance_id.0.to_be_bytes());
        fixed[at::BOOT_EPOCH..at::SEQ].copy_from_slice(&self.boot_epoch.to_be_bytes());
        fixed[at::SEQ..at::SAMPLED_AT].copy_from_slice(&self.seq.to_be_bytes());
        fixed[at::SAMPLED_AT..at::QUEUE_DEPTH].copy_from_slice(&self.sampled_at_ms.to_be_bytes());
        fixed[at::QUEUE_DEPTH..at::RUNNING].copy_from_slice(&self.queue_depth.to_be_bytes());
        fixed[at::RUNNING..at::PENDING_PREFILL_TOKENS].copy_from_slice(&self.running.to_be_bytes());
        fixed[at::PENDING_PREFILL_TOKENS..at::PREFILL_RATE]
            .copy_from_slice(&self.pending_prefill_tokens.to_be_bytes());
        fixed[at::PREFILL_RATE..at::KV_USED]
            .copy_from_slice(&rate_field(self.prefill_rate_tokens_s).to_be_bytes());
        fixed[at::KV_USED] = self.kv_used;
        fixed[at::LOAD_CLASS] = self.load_class;
        fixed[at::DOMAIN..at::N_EVENTS].copy_from_slice(&self.domain.0.to_be_bytes());
        fixed[at::N_EVENTS] = self.events.len() as u8;
        fixed[at::N_REFUSALS] = self.refusals.len() as u8;
        fixed[at::CACHE_GENERATION..].copy_from_slice(&self.cache_generation.to_be_bytes());
        fixed
    }
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

/// The prefill rate in steps of 16 tokens/s. A rate below half a step is written as one step,
/// because 0 would say that it is unknown.
fn rate_field(tokens_s: u32) -> u16 {
    let steps = tokens_s.saturating_add(RATE_UNIT_TOKENS_S / 2) / RATE_UNIT_TOKENS_S;
    steps.clamp(u32::from(tokens_s > 0), u32::from(u16::MAX)) as u16
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
    use crate::{MAX_EVENTS_IN_BAND, MAX_REPORT_LEN, Signature};

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

    #[test]
    fn a_known_rate_is_never_written_as_unknown() {
        assert_eq!(rate_field(0), 0);
        assert_eq!(rate_field(1), 1);
        assert_eq!(rate_field(23), 1);
        assert_eq!(rate_field(24), 2);
        assert_eq!(rate_field(u32::MAX), u16::MAX);
    }
}

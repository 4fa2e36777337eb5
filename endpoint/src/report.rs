//! Making state reports: numbered, signed, as a datagram or as the header of a reply.

use std::ops::Deref;

use afr_wire::{
    CatalogueVersion, ClassId, ClusterId, DomainId, EmitError, Event, InstanceId, KeyId, List,
    MAX_EVENTS_DATAGRAM, MAX_EVENTS_IN_BAND, MAX_REFUSALS, MAX_REPORT_LEN, MAX_REPORT_LEN_IN_BAND,
    MacAlgorithm, MasterKey, OPTION_TYPE, Report, ReportFlags, Role, SenderKey, SignError, carrier,
};

use crate::events::{Cursor, EventFeed, NOTHING_EVICTED};

/// The longest header a report needs, in bytes.
pub const MAX_REPORT_HEADER_LEN: usize = carrier::header_len(MAX_REPORT_LEN_IN_BAND);

/// The first number of an agent's start.
///
/// The wire orders starts by whole seconds. A second start within one second takes higher sequence numbers from the
/// milliseconds, so that it is not taken for old news.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootPoint {
    /// Unix seconds.
    pub boot_epoch: u32,
    /// Sequence number of the first report.
    pub seq: u32,
}

impl BootPoint {
    /// For a start at so many Unix milliseconds; not before `floor`, the epoch that registration returned or the
    /// last one used (0 if unknown).
    #[must_use]
    pub const fn at(unix_ms: u64, floor: u32) -> Self {
        let seconds = (unix_ms / 1000) as u32;
        if seconds < floor {
            return Self {
                boot_epoch: floor.saturating_add(1),
                seq: 0,
            };
        }
        Self {
            boot_epoch: seconds,
            seq: ((unix_ms % 1000) as u32) << 20,
        }
    }
}

/// Who reports, and under what.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The instance.
    pub instance: InstanceId,
    /// Key entry and the instance's own key under it; `None` for unauthenticated reports.
    pub key: Option<(KeyId, SenderKey)>,
    /// Version of the label catalogue.
    pub catalogue: CatalogueVersion,
    /// Signature domain of the events.
    pub domain: DomainId,
    /// Option type of the header in replies.
    pub option_type: u8,
}

impl Identity {
    /// An instance without a key and with the default option type.
    #[must_use]
    pub const fn new(instance: InstanceId, catalogue: CatalogueVersion, domain: DomainId) -> Self {
        Self {
            instance,
            key: None,
            catalogue,
            domain,
            option_type: OPTION_TYPE,
        }
    }

    /// The same with a key of the ring.
    #[must_use]
    pub fn with_key(
        self,
        id: KeyId,
        algorithm: MacAlgorithm,
        master: &MasterKey,
        cluster: ClusterId,
    ) -> Self {
        let sender = self.instance.0.to_be_bytes();
        let key = SenderKey::derive(algorithm, master, Role::Report, cluster, &sender);
        Self {
            key: Some((id, key)),
            ..self
        }
    }
}

/// The engine at one moment.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Low 32 bits of the Unix milliseconds of that moment.
    pub sampled_at_ms: u32,
    /// Flags.
    pub flags: ReportFlags,
    /// Requests waiting.
    pub queue_depth: u16,
    /// Requests running.
    pub running: u16,
    /// Uncached tokens still to prefill.
    pub pending_prefill_tokens: u32,
    /// Prefill rate in tokens per second of real time; 0 if unknown.
    pub prefill_rate_tokens_s: u32,
    /// Use of the KV capacity, 0–255.
    pub kv_used: u8,
    /// One normalised load score, 0–255.
    pub load_class: u8,
    /// Classes refused.
    pub refusals: List<ClassId, MAX_REFUSALS>,
    /// Changes when the cache is cleared.
    pub cache_generation: u32,
}

impl Sample {
    /// Whether the two say the same but for their date.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let undated = |sample: &Self| Self {
            sampled_at_ms: 0,
            ..*sample
        };
        undated(self) == undated(other)
    }
}

/// Why a report could not be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The object could not be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The object could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A report, or a header around one, as bytes to send.
#[derive(Copy, Clone)]
pub struct Wire<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Deref for Wire<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Numbers and signs the reports of one instance, whatever they travel in.
#[derive(Clone, Debug)]
pub struct Reporter {
    identity: Identity,
    next: BootPoint,
    datagrams: Cursor,
    replies: Cursor,
}

impl Reporter {
    /// A reporter that begins at `boot`.
    #[must_use]
    pub const fn new(identity: Identity, boot: BootPoint) -> Self {
        Self {
            identity,
            next: boot,
            datagrams: Cursor::START,
            replies: Cursor::START,
        }
    }

    /// Whether `feed` has something that no datagram has told yet.
    #[must_use]
    pub fn has_news(&self, feed: &EventFeed) -> bool {
        feed.has_news(&self.datagrams)
    }

    /// The next report as a datagram's payload.
    ///
    /// # Errors
    ///
    /// [`ReportError::Emit`] if `feed` holds a prefix of depth 0.
    pub fn datagram(
        &mut self,
        sample: &Sample,
        feed: &EventFeed,
    ) -> Result<Wire<MAX_REPORT_LEN>, ReportError> {
        let events = feed.fill(&mut self.datagrams, MAX_EVENTS_DATAGRAM);
        self.object(sample, events)
    }

    /// The next report as a Destination Options header for replies, always [`Reporter::header_len`] bytes long: a
    /// socket's header must not grow after the handshake, and an update of the same length never does.
    ///
    /// Where there are too few events, the last is repeated, or one is told that changes nothing.
    ///
    /// # Errors
    ///
    /// [`ReportError::Emit`] if `feed` holds a prefix of depth 0.
    pub fn header(
        &mut self,
        sample: &Sample,
        feed: &EventFeed,
    ) -> Result<Wire<MAX_REPORT_HEADER_LEN>, ReportError> {
        let room = self.in_band_events(sample.refusals.len());
        let mut events = feed.fill(&mut self.replies, room);
        let filler = events.last().copied().unwrap_or(NOTHING_EVICTED);
        while events.len() < room {
            // Within the capacity: `room` is at most MAX_EVENTS_IN_BAND.
            let _ = events.push(filler);
        }
        let object: Wire<MAX_REPORT_LEN_IN_BAND> = self.object(sample, events)?;
        let mut bytes = [0; MAX_REPORT_HEADER_LEN];
        // The kernel fills in the next header.
        let len = carrier::emit_options_header(0, self.identity.option_type, &object, &mut bytes)?;
        Ok(Wire { bytes, len })
    }

    /// Length of every header from [`Reporter::header`], in bytes: that of a report full of events and without refusals.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header_len_with(MAX_EVENTS_IN_BAND, 0)
    }

    /// Events beside so many refusals that make a header of [`Reporter::header_len`]; what is missing to it in bytes,
    /// at most 7, is padding.
    fn in_band_events(&self, refusals: usize) -> usize {
        (0..=MAX_EVENTS_IN_BAND)
            .rev()
            .find(|events| self.header_len_with(*events, refusals) == self.header_len())
            .unwrap_or(0)
    }

    fn header_len_with(&self, events: usize, refusals: usize) -> usize {
        let shape = Report {
            key_id: self.key_id(),
            events: List::take_from(std::iter::repeat_n(NOTHING_EVICTED, events)),
            refusals: List::take_from(std::iter::repeat_n(ClassId(0), refusals)),
            ..Report::default()
        };
        carrier::header_len(shape.buffer_len())
    }

    fn key_id(&self) -> KeyId {
        self.identity
            .key
            .as_ref()
            .map_or(KeyId::NONE, |(id, _)| *id)
    }

    fn object<const N: usize>(
        &mut self,
        sample: &Sample,
        events: List<Event, MAX_EVENTS_DATAGRAM>,
    ) -> Result<Wire<N>, ReportError> {
        let BootPoint { boot_epoch, seq } = self.take_number();
        let report = Report {
            flags: sample.flags,
            key_id: self.key_id(),
            catalogue: self.identity.catalogue,
            instance_id: self.identity.instance,
            boot_epoch,
            seq,
            sampled_at_ms: sample.sampled_at_ms,
            queue_depth: sample.queue_depth,
            running: sample.running,
            pending_prefill_tokens: sample.pending_prefill_tokens,
            prefill_rate_tokens_s: sample.prefill_rate_tokens_s,
            kv_used: sample.kv_used,
            load_class: sample.load_class,
            domain: self.identity.domain,
            events,
            refusals: sample.refusals,
            cache_generation: sample.cache_generation,
        };
        let mut bytes = [0; N];
        let len = report.emit(&mut bytes)?;
        if let Some((_, key)) = &self.identity.key {
            key.sign_report(bytes.get_mut(..len).unwrap_or_default())?;
        }
        Ok(Wire { bytes, len })
    }

    /// One number, one content: every report takes a new one. After the last there comes a new boot epoch.
    fn take_number(&mut self) -> BootPoint {
        let number = self.next;
        self.next = match number.seq.checked_add(1) {
            Some(seq) => BootPoint { seq, ..number },
            None => BootPoint {
                boot_epoch: number.boot_epoch.saturating_add(1),
                seq: 0,
            },
        };
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afr_wire::{EventOp, Object, Place, Prefix, ReportView, Signature, option::Options};
    use proptest::prelude::*;

    const MASTER: MasterKey = MasterKey::new([3; 16]);

    fn reporter() -> Reporter {
        let identity = Identity::new(InstanceId(11), CatalogueVersion(1), DomainId(4)).with_key(
            KeyId(2),
            MacAlgorithm::AesCmac,
            &MASTER,
            ClusterId(1),
        );
        Reporter::new(identity, BootPoint::at(1_793_318_400_005, 0))
    }

    fn feed(count: u16) -> EventFeed {
        let mut feed = EventFeed::new();
        for n in 1..=count {
            let prefix = Prefix {
                depth: n,
                signature: Signature([1; 4]),
            };
            feed.push(Event {
                op: EventOp::Stored,
                prefix,
            });
        }
        feed
    }

    fn parse(bytes: &[u8], place: Place) -> ReportView<'_> {
        match Object::parse(bytes, place) {
            Ok(Object::Report(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    fn in_header(header: &[u8]) -> ReportView<'_> {
        let mut options = Options::new(&header[2..]);
        let found = options.next().unwrap().unwrap();
        assert!(options.next().is_none());
        parse(found.data, Place::InBand)
    }

    #[test]
    fn reports_are_numbered_across_carriers_and_signed() {
        let mut reporter = reporter();
        let sample = Sample {
            sampled_at_ms: 77,
            queue_depth: 1,
            running: 2,
            pending_prefill_tokens: 3,
            prefill_rate_tokens_s: 48_000,
            kv_used: 5,
            load_class: 6,
            ..Sample::default()
        };
        let feed = feed(200);
        let datagram = reporter.datagram(&sample, &feed).unwrap();
        let header = reporter.header(&sample, &feed).unwrap();
        let key = SenderKey::derive(
            MacAlgorithm::AesCmac,
            &MASTER,
            Role::Report,
            ClusterId(1),
            &11_u32.to_be_bytes(),
        );
        let first = parse(&datagram, Place::Datagram);
        let second = in_header(&header);
        for (view, seq, events) in [(first, 5 << 20, 176), (second, (5 << 20) + 1, 12)] {
            assert!(key.verify_report(&view));
            assert_eq!((view.boot_epoch(), view.seq()), (1_793_318_400, seq));
            assert_eq!(view.instance_id(), InstanceId(11));
            assert_eq!(view.pending_prefill_tokens(), 3);
            assert_eq!(view.prefill_rate_tokens_s(), 48_000);
            assert_eq!(view.n_events(), events);
        }
        // Each outlet tells the news from the first on.
        assert!(first.events().zip(second.events()).all(|(a, b)| a == b));
        assert!(reporter.has_news(&feed));
        reporter.datagram(&sample, &feed).unwrap();
        assert!(!reporter.has_news(&feed));
    }

    #[test]
    fn a_restart_within_a_second_is_later() {
        let [first, second, next] =
            [999, 1_000, 1_999].map(|ms| BootPoint::at(1_793_318_400_000 + ms, 0));
        assert!(first < second && second < next);
        let raised = BootPoint::at(1_793_318_400_000, 1_793_318_500);
        assert_eq!(raised.boot_epoch, 1_793_318_501);
    }

    #[test]
    fn numbers_go_on_after_the_last() {
        let last = BootPoint {
            boot_epoch: 7,
            seq: u32::MAX,
        };
        let identity = Identity::new(InstanceId(1), CatalogueVersion(0), DomainId(0));
        let mut reporter = Reporter::new(identity, last);
        assert_eq!(reporter.take_number(), last);
        assert!(reporter.take_number() > last);
    }

    proptest! {
        /// The length of the header depends on nothing that changes while the instance runs.
        #[test]
        fn every_header_is_as_long_as_the_placeholder(
            held in 0_u16..40,
            refusals in 0_usize..=MAX_REFUSALS,
            authenticated: bool,
        ) {
            let mut reporter = reporter();
            if !authenticated {
                reporter.identity.key = None;
            }
            let placeholder = reporter.header(&Sample::default(), &EventFeed::new()).unwrap();
            let sample = Sample {
                refusals: List::take_from((1..=refusals as u32).map(ClassId)),
                ..Sample::default()
            };
            let feed = feed(held);
            for _ in 0..4 {
                let header = reporter.header(&sample, &feed).unwrap();
                prop_assert_eq!(header.len(), placeholder.len());
                prop_assert_eq!(header.len(), reporter.header_len());
                let view = in_header(&header);
                prop_assert_eq!(view.n_refusals(), refusals);
                let invented = view.events().any(|event| {
                    event != NOTHING_EVICTED && !(1..=held).contains(&event.prefix.depth)
                });
                prop_assert!(!invented);
            }
        }
    }
}

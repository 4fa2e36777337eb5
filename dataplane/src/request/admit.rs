//! Admission of new dispatches: a token bucket per source prefix, one per class.
//!
//! Exits: [`Admission::Admitted`] goes on to match; [`Admission::SourceLimited`] and [`Admission::ClassLimited`] are
//! drops. Established flows do not come by here.
//!
//! Buckets count in millionths of a token, so that a rate in tokens a second times microseconds is exact: nothing is
//! lost to rounding however often a bucket is looked at.

use super::assoc::{Assoc, Stamped};
use crate::config;
use crate::id::ClassIx;

/// What one dispatch costs, in millionths.
const TOKEN: u64 = 1_000_000;

/// Smallest burst of an [`ErrorBudget`], as in the example of RFC 4443 §2.4(f).
const MIN_ERROR_BURST: u32 = 10;

/// What becomes of a packet that wants a new dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It goes on, and both buckets are a token poorer.
    Admitted,
    /// Its source prefix has none left.
    SourceLimited,
    /// Its class has none left. The source keeps its own: it is not to blame.
    ClassLimited,
}

/// Admission control of one worker.
#[derive(Debug)]
pub struct Admit {
    sources: Assoc<u128, TokenBucket>,
    source_mask: u128,
    per_source_per_s: u32,
    per_source_burst: u32,
    classes: Box<[TokenBucket]>,
}

impl Admit {
    /// Full buckets for [`config::Admit::sources`] source prefixes at least, and for `classes` classes
    /// ([`config::Limits::classes`]). All memory is taken here. `seed` is random per process.
    #[must_use]
    pub fn new(admit: &config::Admit, classes: u16, seed: u64) -> Self {
        let mut this = Self {
            sources: Assoc::new(admit.sources, seed),
            source_mask: 0,
            per_source_per_s: 0,
            per_source_burst: 0,
            classes: vec![TokenBucket::default(); usize::from(classes)].into_boxed_slice(),
        };
        this.configure(admit);
        this
    }

    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.sources.memory_bytes() + size_of_val(&*self.classes)
    }

    /// Takes rates and prefix length from a reloaded configuration. The number of sources stays.
    pub const fn configure(&mut self, admit: &config::Admit) {
        self.source_mask = match admit.source_prefix_len {
            0 => 0,
            bits @ 1..=127 => u128::MAX << (128 - bits),
            _ => u128::MAX,
        };
        self.per_source_per_s = admit.per_source_per_s;
        self.per_source_burst = admit.per_source_burst;
    }

    /// Asks for one new dispatch of `class`, which has `class_rate` tokens a second (0: no limit) and room for
    /// `class_burst` (0 counts as 1), on behalf of `source`. `now_us` is of a monotonic clock.
    ///
    /// A class beyond those that were announced to [`Self::new`] admits nothing.
    pub fn admit(
        &mut self,
        now_us: u64,
        source: u128,
        class: ClassIx,
        class_rate: u32,
        class_burst: u32,
    ) -> Admission {
        let mut source_bucket = None;
        if self.per_source_per_s != 0 {
            let bucket = self.sources.entry(source & self.source_mask);
            bucket.refill(now_us, self.per_source_per_s, self.per_source_burst);
            if !bucket.has_token() {
                return Admission::SourceLimited;
            }
            source_bucket = Some(bucket);
        }
        if class_rate != 0 {
            let Some(bucket) = self.classes.get_mut(usize::from(class.0)) else {
                return Admission::ClassLimited;
            };
            bucket.refill(now_us, class_rate, class_burst);
            if !bucket.has_token() {
                return Admission::ClassLimited;
            }
            bucket.take();
        }
        if let Some(bucket) = source_bucket {
            bucket.take();
        }
        Admission::Admitted
    }

    /// Source prefixes that can be told apart at once.
    #[must_use]
    pub fn source_capacity(&self) -> usize {
        self.sources.capacity()
    }
}

/// How many ICMPv6 errors and RST one worker may still originate (RFC 4443 §2.4(f)).
#[derive(Debug, Clone)]
pub struct ErrorBudget {
    bucket: TokenBucket,
    per_s: u32,
}

impl ErrorBudget {
    /// A full budget of `per_s` packets a second ([`config::Admit::errors_per_s`]; 0: none at all), of which a tenth of
    /// a second's may come at once, and ten at least.
    #[must_use]
    pub const fn new(per_s: u32) -> Self {
        Self {
            bucket: TokenBucket::FULL,
            per_s,
        }
    }

    /// Takes another rate from a reloaded configuration.
    pub const fn configure(&mut self, per_s: u32) {
        self.per_s = per_s;
    }

    /// Whether one more may be sent; if so it is paid for.
    pub fn take(&mut self, now_us: u64) -> bool {
        if self.per_s == 0 {
            return false;
        }
        self.bucket
            .refill(now_us, self.per_s, Self::burst(self.per_s));
        let allowed = self.bucket.has_token();
        if allowed {
            self.bucket.take();
        }
        allowed
    }

    fn burst(per_s: u32) -> u32 {
        (per_s / 10).max(MIN_ERROR_BURST)
    }
}

#[derive(Debug, Clone, Copy)]
struct TokenBucket {
    level: u64,
    refilled_us: u64,
}

impl TokenBucket {
    /// Full, whatever the burst: the first refill cuts the level.
    const FULL: Self = Self {
        level: u64::MAX,
        refilled_us: 0,
    };

    fn refill(&mut self, now_us: u64, per_s: u32, burst: u32) {
        let elapsed_us = now_us.saturating_sub(self.refilled_us);
        self.refilled_us += elapsed_us;
        self.level = elapsed_us
            .saturating_mul(u64::from(per_s))
            .saturating_add(self.level)
            .min(u64::from(burst.max(1)) * TOKEN);
    }

    const fn has_token(&self) -> bool {
        self.level >= TOKEN
    }

    const fn take(&mut self) {
        self.level -= TOKEN;
    }
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self::FULL
    }
}

impl Stamped for TokenBucket {
    fn stamp(&self) -> u64 {
        self.refilled_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASS: ClassIx = ClassIx(0);

    fn admit(per_source_per_s: u32, per_source_burst: u32, sources: u32) -> Admit {
        let config = config::Admit {
            per_source_per_s,
            per_source_burst,
            sources,
            ..config::Admit::default()
        };
        Admit::new(&config, 2, 7)
    }

    /// A source in the `n`th /64.
    fn source(n: u32) -> u128 {
        u128::from(n) << 64 | 1
    }

    /// No interval between two admissions holds more of them than the rate allows beyond the burst.
    fn assert_within(admitted_us: &[u64], per_s: u32, burst: u32) {
        for (first, from_us) in admitted_us.iter().enumerate() {
            for (count, to_us) in (1_u64..).zip(&admitted_us[first..]) {
                let earned = (to_us - from_us) * u64::from(per_s) / TOKEN;
                assert!(count <= u64::from(burst.max(1)) + earned);
            }
        }
    }

    #[test]
    fn what_a_source_has_used_up_is_not_forgotten_for_others() {
        let mut admit = admit(1, 1, 4_096);
        let mut ask = |n| admit.admit(1_000_000, source(n), CLASS, 0, 0);
        let sources = 1..500;
        assert!(sources.clone().all(|n| ask(n) == Admission::Admitted));
        assert!(sources.clone().all(|n| ask(n) == Admission::SourceLimited));
    }

    proptest! {
        #[test]
        fn no_interval_exceeds_rate_and_burst(
            per_s in 1..20_000_u32,
            burst in 0..8_u32,
            by_class: bool,
            gaps_us in proptest::collection::vec(prop_oneof![0..50_u64, 0..20_000_u64], 1..200),
        ) {
            let mut admit = admit(if by_class { 0 } else { per_s }, burst, 8);
            let class_rate = if by_class { per_s } else { 0 };
            let mut admitted_us = Vec::new();
            // What the bucket holds, kept exactly: refusals while it holds a token are wrong as well.
            let mut level = u64::from(burst.max(1)) * TOKEN;
            let mut now_us = 1 << 40;
            for gap_us in gaps_us {
                now_us += gap_us;
                level = (level + gap_us * u64::from(per_s)).min(u64::from(burst.max(1)) * TOKEN);
                let admission = admit.admit(now_us, source(1), CLASS, class_rate, burst);
                assert_eq!(admission == Admission::Admitted, level >= TOKEN);
                if admission == Admission::Admitted {
                    level -= TOKEN;
                    admitted_us.push(now_us);
                }
            }
            assert_within(&admitted_us, per_s, burst);
        }

        #[test]
        fn sources_do_not_pay_for_each_other(
            packets in proptest::collection::vec((0..4_u32, 0..5_000_u64), 1..300),
        ) {
            // Four sources in one set of four ways: all are remembered.
            let mut admit = admit(100, 2, 4);
            let mut admitted_us = vec![Vec::new(); 4];
            let mut now_us = 0;
            for (n, gap_us) in packets {
                now_us += gap_us;
                if admit.admit(now_us, source(n), CLASS, 0, 0) == Admission::Admitted {
                    admitted_us[n as usize].push(now_us);
                }
            }
            for admitted_us in &admitted_us {
                assert_within(admitted_us, 100, 2);
            }
        }
    }

    #[test]
    fn a_bucket_refills_to_the_microsecond() {
        // A token takes 1/3 s, which no whole number of microseconds is.
        let mut admit = admit(3, 1, 4);
        let mut at = |now_us| admit.admit(now_us, source(1), CLASS, 0, 0);
        assert_eq!(at(0), Admission::Admitted);
        for now_us in (0..333_333).step_by(7) {
            assert_eq!(at(now_us), Admission::SourceLimited);
        }
        assert_eq!(at(333_333), Admission::SourceLimited);
        assert_eq!(at(333_334), Admission::Admitted);
    }

    #[test]
    fn addresses_of_a_prefix_share_a_bucket() {
        let mut admit = admit(1, 1, 64);
        assert_eq!(admit.admit(0, source(1), CLASS, 0, 0), Admission::Admitted);
        let sibling = source(1) | 0xffff;
        assert_eq!(
            admit.admit(0, sibling, CLASS, 0, 0),
            Admission::SourceLimited
        );
        assert_eq!(admit.admit(0, source(2), CLASS, 0, 0), Admission::Admitted);
        for (bits, shared) in [(0, true), (63, true), (128, false), (200, false)] {
            let mut config = config::Admit {
                source_prefix_len: bits,
                per_source_per_s: 1,
                per_source_burst: 1,
                ..config::Admit::default()
            };
            let mut admit = Admit::new(&config, 1, 7);
            assert_eq!(admit.admit(0, source(2), CLASS, 0, 0), Admission::Admitted);
            let sibling = admit.admit(0, source(3), CLASS, 0, 0);
            assert_eq!(sibling == Admission::SourceLimited, shared, "/{bits}");
            config.per_source_per_s = 0;
            admit.configure(&config);
            assert_eq!(admit.admit(0, source(3), CLASS, 0, 0), Admission::Admitted);
        }
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let mut admit = admit(1, 2, 4);
        let mut ask = |class, class_burst| admit.admit(0, source(1), class, 1, class_burst);
        assert_eq!(ask(CLASS, 1), Admission::Admitted);
        for _ in 0..10 {
            assert_eq!(ask(CLASS, 1), Admission::ClassLimited);
        }
        // The source's second token is still there; once it is spent, the class's second stays.
        assert_eq!(ask(ClassIx(1), 2), Admission::Admitted);
        assert_eq!(ask(ClassIx(1), 2), Admission::SourceLimited);
        let other = admit.admit(0, source(2), ClassIx(1), 1, 2);
        assert_eq!(other, Admission::Admitted);
        let unknown = admit.admit(0, source(3), ClassIx(2), 1, 1);
        assert_eq!(unknown, Admission::ClassLimited);
    }

    #[test]
    fn the_source_unheard_for_longest_is_forgotten() {
        // One set.
        let mut admit = admit(1, 1, 4);
        assert_eq!(admit.source_capacity(), 4);
        for n in 0..4 {
            // A time of 0 is nobody's.
            let admission = admit.admit(u64::from(n) + 1, source(n), CLASS, 0, 0);
            assert_eq!(admission, Admission::Admitted);
        }
        // The first is heard again, so the second is the one that makes room.
        let mut at = |now_us, n| admit.admit(now_us, source(n), CLASS, 0, 0);
        assert_eq!(at(10, 0), Admission::SourceLimited);
        assert_eq!(at(11, 4), Admission::Admitted);
        for n in [0, 2, 3, 4] {
            assert_eq!(at(12, n), Admission::SourceLimited, "{n} is remembered");
        }
        assert_eq!(at(13, 1), Admission::Admitted);
    }

    #[test]
    fn errors_are_budgeted() {
        let mut budget = ErrorBudget::new(1_000);
        let mut sent_us = Vec::new();
        for now_us in (0..2_000_000).step_by(100) {
            if budget.take(now_us) {
                sent_us.push(now_us);
            }
        }
        assert_within(&sent_us, 1_000, 100);
        assert_eq!(sent_us.len(), 100 + 1_999);
        budget.configure(0);
        assert!(!budget.take(u64::MAX));
        let mut slow = ErrorBudget::new(1);
        assert_eq!((0..20).filter(|_| slow.take(5)).count(), 10);
    }
}

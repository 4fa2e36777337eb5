//! Which instances could serve a request by what they are: class, policy scope and label filter. Kept for the needs met
//! last, for requests need the same few things over and over while instances come and go rarely.

use super::matching::Need;
use crate::aft::Aft;
use crate::id::ClassIx;
use crate::memory::room;

/// Needs that are remembered; a power of two.
const KEPT: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    class: ClassIx,
    policy: u16,
    bloom: [u64; 4],
    capabilities: u64,
}

impl Key {
    /// No need: there is no such revision.
    const NONE: Self = Self {
        class: ClassIx(0),
        policy: 0,
        bloom: [0; 4],
        capabilities: u64::MAX,
    };

    #[inline]
    fn place(&self) -> usize {
        let [a, b, c, d] = self.bloom;
        let mixed = a ^ b.rotate_left(16) ^ c.rotate_left(32) ^ d.rotate_left(48);
        let mixed = mixed ^ u64::from(self.class.0) << 32 ^ u64::from(self.policy);
        mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 32 & (KEPT - 1)
    }
}

/// The sets; see the module's description.
#[derive(Debug)]
pub struct Capable {
    keys: [Key; KEPT],
    words: Vec<u64>,
    each: usize,
    /// How many words of each set matter: behind them there is nobody.
    used: [usize; KEPT],
}

impl Capable {
    /// Memory held, in bytes; the same from [`Self::new`] on.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        room(&self.words)
    }

    /// Sets over so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let each = slots.div_ceil(64);
        Self {
            keys: [Key::NONE; KEPT],
            words: vec![0; KEPT * each],
            each,
            used: [0; KEPT],
        }
    }

    /// The set for `need`, a bit a slot, up to the last word that has one: exact in class and scope; in labels as their
    /// filter is.
    #[inline]
    pub fn of(&mut self, aft: &Aft, need: &Need<'_>) -> &[u64] {
        let key = Key {
            class: need.class,
            policy: need.policy.0,
            bloom: *need.bloom,
            capabilities: aft.capabilities,
        };
        let place = key.place();
        let first = place * self.each;
        if self.keys[place] != key {
            self.keys[place] = key;
            let words = &mut self.words[first..first + self.each];
            compute(aft, need, words);
            self.used[place] = words
                .iter()
                .rposition(|word| *word != 0)
                .map_or(0, |at| at + 1);
        }
        &self.words[first..first + self.used[place]]
    }
}

#[inline(never)]
fn compute(aft: &Aft, need: &Need<'_>, words: &mut [u64]) {
    words.fill(0);
    let Some(class) = aft.class(need.class) else {
        return;
    };
    let policy = aft.policy_mask(need.policy);
    for (at, (word, member)) in words.iter_mut().zip(class.members.words()).enumerate() {
        *word = *member;
        if let Some(policy) = policy {
            *word &= policy.words().get(at).copied().unwrap_or(0);
        }
        for (filter, need) in aft.bloom.iter().zip(need.bloom) {
            if *word != 0 && *need != 0 {
                *word &= covering(filter, at, *need);
            }
        }
    }
}

/// Bit i: whether the filter word of slot `at`·64 + i covers `need`. One pass without branches.
#[inline]
fn covering(filter: &[u64], at: usize, need: u64) -> u64 {
    let mut word = 0;
    for (bit, has) in filter.iter().skip(at * 64).take(64).enumerate() {
        word |= u64::from(has & need == need) << bit;
    }
    word
}

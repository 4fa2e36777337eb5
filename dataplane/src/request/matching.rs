//! Candidates: exact class ∧ policy scope ∧ available, narrowed by the capability Bloom filter.
//!
//! Exits: a set of slots in [`Scratch::candidates`], possibly empty. Whether the winner really has the labels is
//! checked exactly afterwards ([`crate::request::dispatch`]), so a false positive never reaches an instance.

use afr_wire::PolicyScope;

use super::score::Scratch;
use crate::aft::Aft;
use crate::aft::live::Live;
use crate::id::{ClassIx, Slot};
use crate::reply::overlay::LoadOverlay;

/// What candidates must have.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// The class.
    pub class: ClassIx,
    /// The policy scope; 0 is any.
    pub policy: PolicyScope,
    /// The filter of the labels, four words; zero asks for nothing.
    pub bloom: &'a [u64; 4],
}

/// Writes the candidates into `scratch` and returns how many there are.
pub fn candidates(
    aft: &Aft,
    live: &Live,
    loads: &LoadOverlay,
    need: &Need<'_>,
    now_us: u64,
    scratch: &mut Scratch,
) -> usize {
    scratch.clear_candidates();
    let Some(class) = aft.classes.get(usize::from(need.class.0)) else {
        return 0;
    };
    let policy = aft.policy_mask(need.policy);
    let words = class.members.words().len().min(scratch.candidates.len());
    let mut count = 0;
    for at in 0..words {
        let mut word = class.members.words()[at] & loads.available(aft, at);
        if let Some(policy) = policy {
            word &= policy.words().get(at).copied().unwrap_or(0);
        }
        if word == 0 {
            continue;
        }
        for (filter, need) in aft.bloom.iter().zip(need.bloom) {
            if *need != 0 {
                word &= covering(filter, at, *need);
            }
        }
        let mut left = word;
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let slot = Slot((at * 64) as u16 + bit as u16);
            if !live.accepts_new(slot, aft.incarnation(slot)) {
                word &= !(1 << bit);
            }
        }
        scratch.candidates[at] = word;
        count += word.count_ones() as usize;
    }
    for (slot, until_us) in class.refused.iter() {
        let bit = 1_u64 << (slot.0 % 64);
        if let Some(word) = scratch.candidates.get_mut(slot.index() / 64)
            && *until_us > now_us
            && *word & bit != 0
        {
            *word &= !bit;
            count -= 1;
        }
    }
    count
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

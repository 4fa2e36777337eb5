//! Candidates: exact class ∧ policy scope ∧ available, narrowed by the capability Bloom filter.
//!
//! Exits: a set of slots in [`Scratch::candidates`], possibly empty. Whether the winner really has the labels is
//! checked exactly afterwards ([`crate::request::dispatch`]), so a false positive never reaches an instance.

use afr_wire::PolicyScope;

use super::score::Scratch;
use crate::aft::Aft;
use crate::aft::live::Live;
use crate::id::ClassIx;
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

/// Writes the candidates into `scratch` and returns how many there are. A slot may have a tenant by now that the
/// generation does not know yet: [`Live::accepts_new`] is asked again about the winner.
pub fn candidates(
    aft: &Aft,
    live: &Live,
    loads: &LoadOverlay,
    need: &Need<'_>,
    now_us: u64,
    scratch: &mut Scratch,
) -> usize {
    let Scratch {
        candidates,
        capable,
        ..
    } = scratch;
    let mut count = 0;
    candidates.clear();
    candidates.extend(
        capable
            .of(aft, need)
            .iter()
            .enumerate()
            .map(|(at, capable)| {
                let word = capable & loads.available(aft, at) & live.accepting(at);
                count += word.count_ones() as usize;
                word
            }),
    );
    let Some(class) = aft.class(need.class) else {
        return 0;
    };
    for (slot, until_us) in class.refused.iter() {
        let bit = 1_u64 << (slot.0 % 64);
        if let Some(word) = candidates.get_mut(slot.index() / 64)
            && *until_us > now_us
            && *word & bit != 0
        {
            *word &= !bit;
            count -= 1;
        }
    }
    count
}

//! Consistent hashing: Maglev (Eisenbud et al., NSDI '16, §3.4), with weights.
//!
//! The table depends on the seed, the members' ids and their weights, not on slots or on the order in which members
//! were registered: every AFR that has the same configuration makes the same choices. An unhealthy member keeps its
//! entries, so that the table does not depend on what each AFR believes about health; a flow that lands on one
//! goes on along its own permutation of the table.

use std::hash::Hasher;

use afr_wire::InstanceId;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

use crate::id::Slot;

/// Largest table: the greatest prime below 2²⁴.
pub const MAX_SIZE: u32 = 16_777_213;

/// Entries of its permutation that a flow tries before the members are gone through one by one.
const MAX_PROBES: u32 = 32;

/// One class's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    /// The slot of each entry; empty if there is no member.
    table: Vec<Slot>,
    /// Every member once, by ascending id.
    members: Vec<Slot>,
}

/// A member while the table is filled.
struct Filling {
    slot: Slot,
    weight: u64,
    /// Turns this member has earned so far times the largest weight; see [`Maglev::build`].
    next_turn: u64,
    offset: u64,
    skip: u64,
    /// Position in its permutation.
    position: u64,
}

impl Maglev {
    /// The table of `members` over `size` entries.
    ///
    /// A `size` that is not a prime is rounded up to the next, at most [`MAX_SIZE`]; take it at least a hundred
    /// times the number of members, for balance. A weight of 0 counts as 1; of members with equal ids the first by
    /// slot counts.
    #[must_use]
    pub fn build(seed: &[u8; 16], size: u32, members: &[(InstanceId, Slot, u16)]) -> Self {
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        sorted.dedup_by_key(|member| member.0);
        let size = u64::from(prime_from(size));
        let heaviest = sorted.iter().map(|m| u64::from(m.2.max(1))).max();
        let Some(heaviest) = heaviest else {
            return Self::default();
        };
        let mut filling: Vec<Filling> = sorted
            .iter()
            .map(|&(id, slot, weight)| {
                let hash = permutation_hash(seed, id);
                Filling {
                    slot,
                    weight: u64::from(weight.max(1)),
                    next_turn: heaviest,
                    offset: hash.0 % size,
                    skip: hash.1 % (size - 1) + 1,
                    position: 0,
                }
            })
            .collect();

        let mut table = vec![None; size as usize];
        let mut left = size;
        // In each round the heaviest member takes one entry, one of half its weight takes one in every other round.
        let mut round = 0;
        'rounds: loop {
            round += 1;
            for member in &mut filling {
                if round * member.weight < member.next_turn {
                    continue;
                }
                member.next_turn += heaviest;
                // `skip` and the prime `size` share no factor: the permutation visits every entry, a free one too.
                loop {
                    let entry = (member.offset + member.position * member.skip) % size;
                    member.position += 1;
                    let place = &mut table[entry as usize];
                    if place.is_none() {
                        *place = Some(member.slot);
                        break;
                    }
                }
                left -= 1;
                if left == 0 {
                    break 'rounds;
                }
            }
        }
        Self {
            table: table.into_iter().flatten().collect(),
            members: sorted.iter().map(|member| member.1).collect(),
        }
    }

    /// The hash of a flow that [`Self::pick`] takes, the same on every AFR that has the seed.
    #[inline]
    #[must_use]
    pub fn flow_hash(
        seed: &[u8; 16],
        source: &[u8; 16],
        destination: &[u8; 16],
        protocol: u8,
        source_port: u16,
        destination_port: u16,
    ) -> u64 {
        let mut bytes = [0; 37];
        bytes[..16].copy_from_slice(source);
        bytes[16..32].copy_from_slice(destination);
        bytes[32] = protocol;
        bytes[33..35].copy_from_slice(&source_port.to_be_bytes());
        bytes[35..].copy_from_slice(&destination_port.to_be_bytes());
        SipHasher24::new_with_key(seed).hash(&bytes)
    }

    /// The flow's member: its table entry, or, that one not being `alive`, the next in the flow's own permutation
    /// that is. `None` if no member is alive.
    ///
    /// `alive` also says whether the slot is still a member: the table may be older than the generation around it.
    #[inline]
    #[must_use]
    pub fn pick(&self, flow_hash: u64, alive: impl Fn(Slot) -> bool) -> Option<Slot> {
        let size = self.table.len() as u64;
        let mut entry = scale(flow_hash as u32, size);
        let first = *self.table.get(entry as usize)?;
        if alive(first) {
            return Some(first);
        }
        let skip = scale((flow_hash >> 32) as u32, size - 1) + 1;
        for _ in 1..MAX_PROBES {
            entry += skip;
            if entry >= size {
                entry -= size;
            }
            let slot = self.table[entry as usize];
            if alive(slot) {
                return Some(slot);
            }
        }
        // So few are alive that it is cheaper to ask each. Each flow starts elsewhere, to spread them.
        let start = scale((flow_hash >> 16) as u32, self.members.len() as u64) as usize;
        let (before, from) = self.members.split_at(start);
        from.iter().chain(before).copied().find(|&slot| alive(slot))
    }

    /// The members' slots, by ascending instance id.
    #[must_use]
    pub fn members(&self) -> &[Slot] {
        &self.members
    }

    /// The table's entries; empty if there is no member.
    #[must_use]
    pub fn table(&self) -> &[Slot] {
        &self.table
    }
}

impl Default for Maglev {
    /// The table of no members.
    fn default() -> Self {
        Self {
            table: Vec::new(),
            members: Vec::new(),
        }
    }
}

/// `hash` as a fraction of 2³² of `range`.
#[inline]
const fn scale(hash: u32, range: u64) -> u64 {
    (hash as u64 * range) >> 32
}

fn permutation_hash(seed: &[u8; 16], id: InstanceId) -> (u64, u64) {
    let mut hasher = SipHasher128::new_with_key(seed);
    hasher.write(&id.0.to_be_bytes());
    let hash = hasher.finish128();
    (hash.h1, hash.h2)
}

/// The smallest prime that is at least `size`, within 3 and [`MAX_SIZE`].
fn prime_from(size: u32) -> u32 {
    let mut candidate = size.clamp(3, MAX_SIZE) | 1;
    while (3..)
        .step_by(2)
        .take_while(|d| d * d <= candidate)
        .any(|d| candidate.is_multiple_of(d))
    {
        candidate += 2;
    }
    candidate
}

#[cfg(test)]
mod tests;

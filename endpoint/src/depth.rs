//! Which prefixes of a prompt a request carries.
//!
//! A request has room for eight; a prompt of 100,000 tokens has four hundred. A prefix is worth its bytes if another
//! request carried the same one or the engine reports it, so depths are taken from places that recur.

use afr_wire::{List, MAX_PREFIXES};

/// Depths in units of [`afr_wire::UNIT_TOKENS`], ascending.
pub type Depths = List<u16, MAX_PREFIXES>;

/// Chooses the depths to carry of a prompt of `units` whole units.
///
/// The deepest always; of `boundaries` (end of the system prompt, of the tool definitions, of the previous turn) as many
/// as there is room for, in the order given; the rest are octaves, the deep ones first, because they stand for more
/// tokens. Octaves are powers of two and not fractions of the length, so that prompts of different lengths share them.
///
/// Every depth is rounded down to a multiple of `grid_units`, which is the engine's block where it is larger than a unit:
/// an engine never reports what lies between, and an AFR that looks for a prefix wants the shallower ones carried
/// with it present too. A grid of 0 counts as 1.
#[must_use]
pub fn choose(units: u16, boundaries: &[u16], grid_units: u16) -> Depths {
    let grid = grid_units.max(1);
    let on_grid = |depth: u16| depth - depth % grid;
    let deepest = on_grid(units);
    let octaves = (0..u16::BITS).rev().map(|power| 1_u16 << power);
    let candidates = boundaries.iter().copied().chain(octaves).map(on_grid);

    let mut depths = Depths::new();
    for depth in std::iter::once(deepest).chain(candidates) {
        let is_new = !depths.contains(&depth);
        if depth >= 1 && depth <= deepest && is_new && depths.push(depth).is_err() {
            break;
        }
    }
    let mut sorted = [0; MAX_PREFIXES];
    let sorted = &mut sorted[..depths.len()];
    sorted.copy_from_slice(&depths);
    sorted.sort_unstable();
    Depths::take_from(sorted.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octaves_fill_what_boundaries_leave() {
        assert_eq!(*choose(100, &[7, 33], 1), [4, 7, 8, 16, 32, 33, 64, 100]);
        assert_eq!(*choose(5, &[], 1), [1, 2, 4, 5]);
        assert_eq!(*choose(0, &[3], 1), []);
    }

    #[test]
    fn the_grid_rounds_down() {
        assert_eq!(*choose(101, &[7, 33], 2), [2, 4, 6, 8, 16, 32, 64, 100]);
        assert_eq!(*choose(1, &[1], 2), []);
        assert_eq!(*choose(3, &[], 0), [1, 2, 3]);
    }

    #[test]
    fn boundaries_come_in_the_order_given() {
        let boundaries: Vec<u16> = (1..=20).rev().collect();
        assert_eq!(
            *choose(30, &boundaries, 1),
            [14, 15, 16, 17, 18, 19, 20, 30]
        );
    }

    proptest! {
        #[test]
        fn depths_are_acceptable_and_end_with_the_deepest(
            units: u16,
            boundaries in prop::collection::vec(any::<u16>(), 0..12),
            grid in 0_u16..5,
        ) {
            let depths = choose(units, &boundaries, grid);
            let grid = grid.max(1);
            prop_assert!(depths.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(depths.iter().all(|depth| *depth >= 1 && depth % grid == 0));
            let deepest = units - units % grid;
            prop_assert_eq!(depths.last().copied().unwrap_or(0), deepest);
        }
    }
}

use super::*;

#[test]
fn figures_within_a_limit_are_told_as_one_by_one() {
    let mut z = 1_u64;
    for round in 0..200 {
        let figures: [u32; 64] = std::array::from_fn(|_| {
            z = z.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            // Ties and extremes as well as any.
            match z >> 60 {
                0..4 => round,
                4 => i32::MAX as u32,
                5 => 0,
                _ => (z >> 33) as u32,
            }
        });
        for limit in [0, round, round + 1, 1 << 30, i32::MAX as u32, figures[7]] {
            assert_eq!(at_most(&figures, limit), each_at_most(&figures, limit));
        }
    }
}

#[test]
fn what_is_done_in_vectors_is_what_is_done_one_by_one() {
    let mut z = 1_u64;
    let mut next = || {
        z = z.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        z >> 16
    };
    let limit = i32::MAX as u32;
    for round in 0..400 {
        // The greatest now and then.
        let mut figures = |most: u32| -> [u32; 64] {
            std::array::from_fn(|_| match next() {
                z if z & 7 == 0 => most,
                z => (z >> 8) as u32 % (most >> (z & 31)).max(1),
            })
        };
        let base = figures((1 << 30) - 1);
        let (factors, more, by) = if round % 2 == 0 {
            let more = round << 20;
            (figures(u32::MAX - more), more, figures((1 << 14) - 1))
        } else {
            (figures((1 << 13) - 1), round % 4_096, figures(u32::MAX))
        };
        let (mut sums, mut each) = ([0; 64], [1; 64]);
        add_products(&mut sums, &base, (&factors, more), &by);
        each_sum(&mut each, &base, (&factors, more), &by);
        assert_eq!(sums, each);
        // Also where nothing fits.
        let (factors, by) = (figures(u32::MAX), figures(u32::MAX));
        for cap in [0, 1, (1 << 30) - 1, u32::MAX >> 1] {
            let more = cap << (round % 3);
            add_capped_products(&mut sums, &base, (&factors, more), &by, cap);
            each_capped_sum(&mut each, &base, (&factors, more), &by, cap);
            assert_eq!(sums, each);
            assert!(sums.iter().zip(&base).all(|(sum, base)| sum - base <= cap));
        }
        for which in [
            0,
            1,
            1 << 63,
            u64::MAX,
            next() << 16 ^ next(),
            1 << (round % 64),
        ] {
            let value = next() as u32;
            replace(&mut sums, which, value);
            each_replaced(&mut each, which, value);
            assert_eq!(sums, each);
            for (bit, sum) in sums.iter().enumerate() {
                assert!(which >> bit & 1 == 0 || *sum == value);
            }
            let least_base = least(&base, which, limit);
            assert_eq!(least_base, each_least(&base, which, limit));
            let those = (0..64).filter(|bit| which >> bit & 1 != 0);
            assert_eq!(
                least_base,
                those.map(|bit| base[bit]).min().unwrap_or(limit)
            );
        }
    }
}

#[test]
fn equal_figures_are_told_as_one_by_one() {
    let mut z = 1_u64;
    for _ in 0..2_000 {
        let figures: [u16; 12] = std::array::from_fn(|_| {
            z = z.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            [
                0,
                1,
                0x7FFF,
                0x8000,
                u16::MAX,
                0xFF,
                0xFF00,
                (z >> 33) as u16,
            ][(z >> 61) as usize]
        });
        for wanted in [0, 1, 0x7FFF, 0x8000, u16::MAX, 0xFF, 0xFF00, figures[11]] {
            assert_eq!(equal(&figures, wanted), each_equal(&figures, wanted));
        }
    }
}

#[test]
fn texts_match_in_the_bits_of_their_masks_and_only_there() {
    let texts: [[u8; 32]; 2] =
        std::array::from_fn(|part| std::array::from_fn(|at| ((part * 32 + at) * 7) as u8));
    let masks: [[u8; 32]; 2] = std::array::from_fn(|part| {
        std::array::from_fn(|at| [0xFF, 0xF0, 0, 0x55, 0x01][(at + part) % 5])
    });
    let wanted = std::array::from_fn(|at| Masked::new(texts[at], masks[at]));
    assert!(all_match(Level::here(), &wanted, texts.each_ref()));
    for bit in 0..512 {
        let mut other = texts;
        other[bit / 256][bit / 8 % 32] ^= 1 << (bit % 8);
        let counts = masks[bit / 256][bit / 8 % 32] >> (bit % 8) & 1 != 0;
        assert_eq!(
            all_match(Level::here(), &wanted, other.each_ref()),
            !counts,
            "bit {bit}"
        );
        assert_eq!(each_matches(&wanted, other.each_ref()), !counts);
    }
    let nothing = [Masked::NOTHING; 2];
    for text in [[0; 32], [0xFF; 32], texts[1]] {
        assert!(!all_match(Level::here(), &nothing, [&text; 2]));
    }
}

#[test]
fn each_bit_is_a_lane() {
    for byte in 0..=u8::MAX {
        let lanes = lanes(byte);
        for (at, lane) in lanes.iter().enumerate() {
            let bit = u32::from(byte) >> at & 1;
            assert_eq!(*lane, if bit == 1 { u32::MAX } else { 0 });
        }
    }
}

#[test]
fn the_work_is_done_once_and_its_result_returned() {
    let (mut runs, lanes) = (0, [3_u32; 100]);
    let sum = wide(|_| {
        runs += 1;
        lanes
            .iter()
            .zip(1_u32..)
            .map(|(lane, n)| lane * n)
            .sum::<u32>()
    });
    assert_eq!((runs, sum), (1, 3 * 5_050));
}

//! The computation, the same for every width: a loop over registers inside each step, so that none waits for the one before.

/// Instructions under a name that does not tell their width.
macro_rules! operations {
    ($features:literal $(fn $name:ident($($argument:ident: $type:ty),*) = $what:expr;)*) => {
        $(
            #[inline]
            #[target_feature(enable = $features)]
            fn $name($($argument: $type),*) -> V {
                $what
            }
        )*
    };
}

/// A block of each lane under its key: a macro, for what is not inlined has its state stored and loaded again.
macro_rules! encrypt {
    ($registers:expr, $state:ident, |$n:pat_param, $key:ident| $load:expr) => {
        for n in 0..$registers {
            let ($n, $key) = (n, 0);
            $state[n] = xor($state[n], $load);
        }
        for $key in 1..KEYS - 1 {
            for n in 0..$registers {
                let $n = n;
                $state[n] = round($state[n], $load);
            }
        }
        for n in 0..$registers {
            let ($n, $key) = (n, KEYS - 1);
            $state[n] = last_round($state[n], $load);
        }
    };
}

/// The chains of `$n` registers' lanes from `$first` on to the end of the longest: their tags. Each under its round keys `$load` and its
/// subkey.
macro_rules! chain {
    ($n:expr, $first:expr, $batch:ident, |$at:pat_param, $key:ident| $load:expr, |$lane:ident| $subkey:expr) => {
        let mut state = [zero(); $n];
        for at in 0..$batch.longest {
            let end = at + 1;
            // A lane that has ended goes on without a meaning until the longest has.
            let ends = end >= $batch.shortest;
            for n in 0..$n {
                state[n] = xor(state[n], text(&$batch.texts, $first + n * PER, at));
            }
            if ends {
                for n in 0..$n {
                    let $lane = $first + n * PER;
                    let last = same_words(load_mask(&$batch.ends, $lane), words(end as i32));
                    state[n] = xor(state[n], and(last, $subkey));
                }
            }
            encrypt!($n, state, |$at, $key| $load);
            if ends {
                for n in 0..$n {
                    let lane = $first + n * PER;
                    let last = same_words(load_mask(&$batch.ends, lane), words(end as i32));
                    let tag = choose(load(&$batch.tags, lane), state[n], last);
                    store(&mut $batch.tags, lane, tag);
                }
            }
        }
    };
}

/// The functions over `N` registers that hold the lanes from `FIRST` on.
macro_rules! kernel {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        fn run<const N: usize, const FIRST: usize, const BLOCKS: usize>(
            masters: &[&Master; LANES],
            batch: &mut Batch<BLOCKS>,
        ) {
            let keys = derive::<N, FIRST, BLOCKS>(masters, batch);
            tag::<N, FIRST, BLOCKS>(keys, batch);
        }

        /// The tags of eight lanes under one key.
        #[cfg(test)]
        #[target_feature(enable = $features)]
        pub(crate) fn under<const BLOCKS: usize>(key: &Block, batch: &mut Batch<BLOCKS>) {
            let row = [*key; LANES];
            tag::<{ 8 / PER }, 0, BLOCKS>([load(&row, 0); 8 / PER], batch);
        }

        /// The keys of the lanes: CMAC of one or two blocks under the masters.
        #[inline]
        #[target_feature(enable = $features)]
        fn derive<const N: usize, const FIRST: usize, const BLOCKS: usize>(
            masters: &[&Master; LANES],
            batch: &mut Batch<BLOCKS>,
        ) -> [V; N] {
            let mut state = [zero(); N];
            let lanes = &masters[FIRST..FIRST + N * PER];
            let one = masters[FIRST];
            let various = lanes.iter().any(|master| !core::ptr::eq(*master, one));
            if various {
                gather::<N, FIRST>(masters, &mut batch.keys);
            }
            for at in 0..2 {
                for n in 0..N {
                    let lane = FIRST + n * PER;
                    if at == 1 {
                        // Of a message of one block the chain begins here.
                        state[n] = and(state[n], load_mask(&batch.both, lane));
                        state[n] = xor(state[n], master_padded(masters, lane));
                    }
                    state[n] = xor(state[n], load(&batch.derivations[at], lane));
                }
                if various {
                    encrypt!(N, state, |n, key| load(&batch.keys[key], FIRST + n * PER));
                } else {
                    encrypt!(N, state, |_, key| same_in_all(&one.rounds[key]));
                }
            }
            state
        }

        /// The masters' round keys, in rows.
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn gather<const N: usize, const FIRST: usize>(
            masters: &[&Master; LANES],
            rows: &mut [Row; KEYS],
        ) {
            for n in 0..N {
                for key in 0..KEYS {
                    let lane = FIRST + n * PER;
                    store(&mut rows[key], lane, master_key(masters, lane, key));
                }
            }
        }

        /// Expands the keys into rows.
        ///
        /// The last word of a key, rotated and in all four columns, is a state whose rows are constant: the last round
        /// substitutes its bytes and shifts nothing. That is what a key schedule needs, in two instructions that do not
        /// wait in microcode as the one made for it does.
        #[inline]
        #[target_feature(enable = $features)]
        fn expand<const N: usize, const FIRST: usize>(mut keys: [V; N], rows: &mut [Row; KEYS]) {
            const CONSTANTS: [i32; KEYS - 1] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1B, 0x36];
            for n in 0..N {
                store(&mut rows[0], FIRST + n * PER, keys[n]);
            }
            for (row, constant) in rows[1..].iter_mut().zip(CONSTANTS) {
                for n in 0..N {
                    let key = keys[n];
                    let substituted = last_round(rotated_last(key), words(constant));
                    let two = xor(key, left_word(key));
                    let four = xor(two, left_half(two));
                    keys[n] = xor(four, substituted);
                    store(row, FIRST + n * PER, keys[n]);
                }
            }
        }

        /// The tags of the texts under these keys.
        #[inline]
        #[target_feature(enable = $features)]
        fn tag<const N: usize, const FIRST: usize, const BLOCKS: usize>(
            keys: [V; N],
            batch: &mut Batch<BLOCKS>,
        ) {
            expand::<N, FIRST>(keys, &mut batch.keys);
            let mut state = [zero(); N];
            encrypt!(N, state, |n, key| load(&batch.keys[key], FIRST + n * PER));
            for n in 0..N {
                let lane = FIRST + n * PER;
                let whole = double(state[n]);
                let subkey = choose(double(whole), whole, load_mask(&batch.whole, lane));
                store(&mut batch.subkeys, lane, subkey);
            }
            chain!(
                N,
                FIRST,
                batch,
                |n, key| load(&batch.keys[key], FIRST + n * PER),
                |lane| load(&batch.subkeys, lane)
            );
        }

        /// The tags of the first lanes, which all have the key of the first, from this master.
        #[target_feature(enable = $features)]
        fn run_one<const N: usize, const FIRST: usize, const BLOCKS: usize>(
            batch: &mut Batch<BLOCKS>,
        ) {
            let Some(len) = batch.one_len else {
                chain!(
                    N,
                    FIRST,
                    batch,
                    |_, key| same_in_all(&batch.sender.rounds[key]),
                    |lane| choose(
                        same_in_all(&batch.sender.padded),
                        same_in_all(&batch.sender.whole),
                        load_mask(&batch.whole, lane)
                    )
                );
                return;
            };
            let mut state = [zero(); N];
            for at in 0..batch.longest {
                for n in 0..N {
                    state[n] = xor(state[n], text(&batch.texts, FIRST + n * PER, at));
                }
                if at + 1 == batch.longest {
                    let sender = &batch.sender;
                    let whole = len as usize == batch.longest * 16;
                    let subkey = if whole { &sender.whole } else { &sender.padded };
                    for n in 0..N {
                        state[n] = xor(state[n], same_in_all(subkey));
                    }
                }
                encrypt!(N, state, |_, key| same_in_all(&batch.sender.rounds[key]));
            }
            for n in 0..N {
                store(&mut batch.tags, FIRST + n * PER, state[n]);
            }
        }

        /// Derives the key of the first lane from this master, unless it is the last one that was derived so.
        #[inline]
        #[target_feature(enable = $features)]
        fn settle<const BLOCKS: usize>(master: &Master, batch: &mut Batch<BLOCKS>) {
            let from = batch.from(master);
            if from != batch.sender.from {
                derive_one(master, batch);
                batch.sender.from = from;
            }
        }

        #[inline(never)]
        #[target_feature(enable = $features)]
        fn derive_one<const BLOCKS: usize>(master: &Master, batch: &mut Batch<BLOCKS>) {
            let keys = derive::<1, 0, BLOCKS>(&[master; LANES], batch);
            expand::<1, 0>(keys, &mut batch.keys);
            let mut state = [zero()];
            encrypt!(1, state, |_, key| load(&batch.keys[key], 0));
            let whole = double(state[0]);
            store(&mut batch.subkeys, 0, whole);
            batch.sender.whole = batch.subkeys[0];
            store(&mut batch.subkeys, 0, double(whole));
            batch.sender.padded = batch.subkeys[0];
            for (round, row) in batch.sender.rounds.iter_mut().zip(&batch.keys) {
                *round = row[0];
            }
        }

        /// Doubling in GF(2^128) of RFC 4493, whose first byte is the highest.
        #[inline]
        #[target_feature(enable = $features)]
        fn double(value: V) -> V {
            let value = reversed(value);
            let carries = carries(value);
            let shifted = or(shifted_halves(value), left_half(carries));
            reversed(xor(shifted, and(minus(high_half(carries)), field())))
        }
    };
}

//! Nanoseconds a packet of each stage and each whole way: `cargo bench -p afr-stages --bench nanoseconds [-- NAME]`.
//!
//! Criterion's iteration is one packet, so its figures are times a packet.

#![allow(
    unexpected_cfgs,
    reason = "the tests' support has parts for features that are not here"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};

mod stages;
#[path = "../tests/support/mod.rs"]
mod support;

use stages::{Case, ROUND};

fn time(criterion: &mut Criterion, name: &str, make: fn() -> Case) {
    // Made when it is its turn, and not at all where it is filtered out.
    let mut case = None;
    criterion.bench_function(name, |bencher| {
        let case = case.get_or_insert_with(|| Case::warm(make));
        bencher.iter_custom(|packets| {
            let rounds = packets.div_ceil(ROUND as u64);
            let mut elapsed = Duration::ZERO;
            for _ in 0..rounds {
                case.refill();
                let start = Instant::now();
                case.run();
                elapsed += start.elapsed();
            }
            elapsed.mul_f64(packets as f64 / (rounds * ROUND as u64) as f64)
        });
    });
}

macro_rules! time_all {
    ($($name:ident = $make:path,)*) => {
        fn all(criterion: &mut Criterion) {
            $(time(criterion, stringify!($name), $make);)*
        }
    };
}
stages::all_stages!(time_all);

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);

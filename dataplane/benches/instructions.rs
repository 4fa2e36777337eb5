//! Instructions of each stage and each whole way under callgrind. `scripts/stages` runs this and compares with
//! `instructions.toml`.

#![allow(
    unexpected_cfgs,
    reason = "the tests' support has parts for features that are not here"
)]
#![allow(missing_docs, reason = "of what gungraun's macros make")]

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

mod stages;
#[path = "../tests/support/mod.rs"]
mod support;

use stages::Case;

fn ready(make: fn() -> Case) -> Case {
    let mut case = Case::warm(make);
    case.refill();
    case
}

macro_rules! count_all {
    ($($name:ident = $make:path,)*) => {
        #[library_benchmark]
        $(#[bench::$name(ready($make))])*
        fn round(mut case: Case) -> Case {
            case.run();
            case
        }
    };
}
stages::all_stages!(count_all);

library_benchmark_group!(name = stages_of_the_path, benchmarks = round);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = stages_of_the_path
);

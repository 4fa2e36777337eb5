//! What a worker's own tables take.

use afr_dataplane::config::{Admit, Flows, Limits};
use afr_dataplane::counters::Figure;
use afr_dataplane::memory::Table;

use crate::support::setup::Setup;
use crate::support::world::World;

fn bytes(world: &World) -> Vec<u64> {
    let counters = world.workers[0].counters();
    let tables = Table::ALL.iter();
    tables
        .map(|table| counters.figure(Figure::TableBytes(*table)))
        .collect()
}

/// The target that the throughput harness has for it too.
#[test]
fn a_worker_with_a_million_flows_has_136_megabytes_of_tables_at_the_most() {
    let world = World::new(Setup::new(4).config(|config| {
        config.flows = Flows {
            capacity: 1 << 20,
            ..Flows::default()
        };
        (config.limits, config.admit) = (Limits::default(), Admit::default());
    }));
    let tables = bytes(&world);
    assert!(tables.iter().all(|bytes| *bytes > 0), "{tables:?}");
    let total: u64 = tables.iter().sum();
    assert!(total <= 136_000_000, "{total}: {tables:?}");
    // A flow's entry alone is a cache line.
    assert!(tables[Table::Flows as usize] >= 64 << 20, "{tables:?}");
}

#[test]
fn it_grows_with_what_is_configured_and_with_nothing_else() {
    let with = |change: fn(&mut Limits)| {
        World::new(Setup::new(4).config(|config| change(&mut config.limits)))
    };
    let (few, many) = (with(|l| l.sessions = 1_024), with(|l| l.sessions = 1 << 16));
    let (few, many) = (bytes(&few), bytes(&many));
    for (table, (few, many)) in Table::ALL.iter().zip(few.into_iter().zip(many)) {
        assert_eq!(few < many, *table == Table::Sessions, "{}", table.name());
    }
}

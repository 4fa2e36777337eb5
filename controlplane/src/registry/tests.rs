use super::*;
use crate::testing;

fn config() -> Arc<Config> {
    testing::loaded(4).plane
}

fn instances(count: u32) -> Vec<Instance> {
    let loaded = testing::loaded(count);
    loaded.instances.into_iter().map(|i| i.instance).collect()
}

/// Classes whose table was rebuilt.
fn rebuilt(changes: &Changes) -> Vec<u32> {
    let ops = changes.ops.iter();
    ops.filter_map(|op| match op {
        Op::Maglev { class, .. } => Some(class.0),
        _ => None,
    })
    .collect()
}

#[test]
fn a_first_configuration_seats_everyone_under_incarnation_one() {
    let mut registry = Registry::new(8);
    let changes = registry.reconcile(&config(), &instances(4));
    assert_eq!(changes.seated, [Slot(0), Slot(1), Slot(2), Slot(3)]);
    assert!(matches!(changes.ops[0], Op::Config(_)));
    assert_eq!(rebuilt(&changes), [1, 2]);
    assert!(
        registry
            .tenants()
            .all(|(_, tenant)| tenant.incarnation == Incarnation(1))
    );
}

#[test]
fn the_same_again_changes_nothing_but_the_configuration() {
    let mut registry = Registry::new(8);
    registry.reconcile(&config(), &instances(4));
    let changes = registry.reconcile(&config(), &instances(4));
    assert_eq!(changes.ops.len(), 1);
    assert!(changes.seated.is_empty() && changes.changed.is_empty() && changes.removed.is_empty());
}

#[test]
fn a_change_keeps_slot_and_incarnation_and_rebuilds_only_its_classes() {
    let mut registry = Registry::new(8);
    let mut wanted = instances(4);
    registry.reconcile(&config(), &wanted);
    // Instances serve class 1 (chat); those of even number class 2 (code) too.
    assert_eq!(wanted[0].classes, [ClassId(1)]);
    wanted[0].weight = 3;
    let changes = registry.reconcile(&config(), &wanted);
    assert_eq!(changes.changed, [Slot(0)]);
    assert_eq!(rebuilt(&changes), [1]);
    let tenant = registry.tenant(Slot(0)).unwrap();
    assert_eq!((tenant.incarnation, tenant.weight), (Incarnation(1), 3));

    // What Maglev does not depend on rebuilds nothing.
    wanted[1].mtu = 1_400;
    let changes = registry.reconcile(&config(), &wanted);
    assert_eq!(
        (changes.changed.as_slice(), rebuilt(&changes).len()),
        (&[Slot(1)][..], 0)
    );
}

#[test]
fn removals_come_before_the_configuration_and_additions_after() {
    let mut registry = Registry::new(8);
    let all = instances(4);
    registry.reconcile(&config(), &all[..3]);
    let changes = registry.reconcile(&config(), &all[1..]);
    let kinds: Vec<_> = changes.ops.iter().map(std::mem::discriminant).collect();
    let [remove, config_op, add] = [&changes.ops[0], &changes.ops[1], &changes.ops[2]];
    assert!(matches!(remove, Op::Remove { slot: Slot(0) }));
    assert!(matches!(config_op, Op::Config(_)));
    assert!(
        matches!(add, Op::Instance { slot: Slot(3), .. }),
        "{kinds:?}"
    );
}

#[test]
fn a_vacated_slot_is_not_given_away_before_it_settles() {
    let mut registry = Registry::new(2);
    let all = instances(3);
    registry.reconcile(&config(), &all[..2]);
    // Both slots are taken: the third can only have the first's.
    let changes = registry.reconcile(&config(), &all[1..]);
    assert!(changes.seated.is_empty());
    assert!(registry.is_unsettled());
    assert_eq!(registry.waiting(), 1);

    let changes = registry.settle(&config());
    assert_eq!(changes.seated, [Slot(0)]);
    assert_eq!(rebuilt(&changes), [1]);
    let tenant = registry.tenant(Slot(0)).unwrap();
    assert_eq!((tenant.id, tenant.incarnation), (all[2].id, Incarnation(2)));
    assert!(!registry.is_unsettled());
}

#[test]
fn an_instance_that_waits_and_is_no_longer_wanted_is_forgotten() {
    let mut registry = Registry::new(1);
    let all = instances(2);
    registry.reconcile(&config(), &all[..1]);
    registry.reconcile(&config(), &all[1..]);
    registry.reconcile(&config(), &[]);
    assert!(registry.settle(&config()).seated.is_empty());
    assert_eq!(registry.tenants().count(), 0);
}

#[test]
fn incarnations_skip_nobodys() {
    let mut registry = Registry::new(1);
    registry.seats[0].incarnation = u16::MAX;
    registry.reconcile(&config(), &instances(1));
    assert_eq!(
        registry.tenant(Slot(0)).unwrap().incarnation,
        Incarnation(1)
    );
}

#[test]
fn the_slot_that_rested_longest_is_taken_first() {
    let mut registry = Registry::new(3);
    let all = instances(4);
    registry.reconcile(&config(), &all[..1]);
    registry.reconcile(&config(), &[]);
    registry.settle(&config());
    let changes = registry.reconcile(&config(), &all[1..2]);
    assert_eq!(changes.seated, [Slot(1)]);
}

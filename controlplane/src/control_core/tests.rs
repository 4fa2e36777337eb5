mod lab;

use afr_dataplane::aft::Load;
use afr_dataplane::id::{ClassIx, Slot};
use afr_dataplane::message::KvEvent;
use afr_dataplane::verdict::DispatchReason;
use afr_wire::ClassId;
use arrayvec::ArrayVec;

use lab::*;

use super::*;
use crate::api::core::{CoreControl as _, CoreState as _, Operation, Refusal};
use crate::testing;

#[test]
fn the_first_generation_has_every_instance_and_its_tables() {
    let lab = Lab::new(testing::loaded(4));
    let aft = lab.aft();
    assert_eq!(aft.registered.count(), 4);
    assert_eq!(aft.class(ClassIx(0)).unwrap().maglev.members().len(), 4);
    assert_eq!(aft.class(ClassIx(1)).unwrap().maglev.members().len(), 2);
    assert_eq!(
        (lab.state(3), lab.state(4)),
        (LiveState::Up, LiveState::Absent)
    );
    assert_eq!(lab.core.publishing().epoch, 1);
}

#[test]
fn what_workers_dispatched_is_held_by_the_next_generation_and_consumed() {
    let mut lab = Lab::new(testing::loaded(2));
    lab.tell(1, dispatched(0, &[1, 4]));
    let step = lab.step(1_000);
    assert_eq!(step.taken, 1);
    assert!(matches!(step.publish, Publish::Swapped { epoch: 2 }));
    assert!(holds(lab.aft(), 0, 1) && holds(lab.aft(), 0, 4) && !holds(lab.aft(), 1, 1));
    assert_eq!(lab.aft().consumed, [0, 1]);
}

#[test]
fn nothing_is_published_before_its_time_or_without_news() {
    let mut lab = Lab::new(testing::loaded(2));
    assert_eq!(lab.step(500_000).publish, Publish::Idle, "nothing to say");
    lab.tell(0, dispatched(0, &[1]));
    assert!(matches!(lab.step(1_000).publish, Publish::Swapped { .. }));
    lab.tell(0, dispatched(0, &[2]));
    assert_eq!(lab.step(999).publish, Publish::Idle, "too early");
    assert!(matches!(lab.step(1).publish, Publish::Swapped { .. }));
    // The second that begins is news.
    assert!(matches!(lab.step(500_000).publish, Publish::Swapped { .. }));
    assert_eq!(lab.aft().now_s, 1);
}

#[test]
fn reports_bring_load_events_and_refusals() {
    let mut lab = Lab::new(testing::loaded(2));
    let mut events = ArrayVec::new();
    for (depth, stored) in [(1, true), (2, true), (1, false)] {
        let prefix = prefix(depth);
        events.push(KvEvent { prefix, stored });
    }
    lab.tell(
        0,
        WorkerMsg::Load {
            slot: Slot(1),
            load: load(1, 10),
            cache_generation: 1,
            refusals: [ClassId(2)].into_iter().collect(),
        },
    );
    lab.tell(
        0,
        WorkerMsg::Events {
            slot: Slot(1),
            catalogue: CATALOGUE,
            domain: DOMAIN,
            events,
        },
    );
    lab.step(1_000);
    let aft = lab.aft();
    assert_eq!((aft.pending_tokens[1], aft.kv_used[1]), (500, 100));
    assert!(holds(aft, 1, 2) && !holds(aft, 1, 1));
    let class = aft.class(ClassIx(1)).unwrap();
    assert!(class.is_refused(Slot(1), lab.now_us + 999_000));
    assert!(
        !class.is_refused(Slot(1), lab.now_us + 1_000_000),
        "a refusal ages"
    );
}

#[test]
fn another_cache_generation_forgets_what_the_instance_held() {
    let mut lab = Lab::new(testing::loaded(2));
    lab.tell(0, report(0, load(1, 1), 7));
    lab.tell(0, dispatched(0, &[1]));
    lab.tell(0, dispatched(1, &[1]));
    lab.step(1_000);
    assert!(holds(lab.aft(), 0, 1));
    lab.tell(0, report(0, load(2, 2), 8));
    let notices = lab.step(1_000).notices;
    let name = "inst-1".to_owned();
    assert_eq!(notices, [Notice::Cleared { name }]);
    assert!(!holds(lab.aft(), 0, 1) && holds(lab.aft(), 1, 1));
    // An older report that another worker heard does not clear it again.
    lab.tell(1, report(0, load(1, 1), 7));
    lab.tell(0, dispatched(0, &[1]));
    lab.step(1_000);
    assert!(holds(lab.aft(), 0, 1));
}

#[test]
fn a_silent_instance_is_reckoned_to_work_at_its_rate() {
    let mut lab = Lab::new(testing::loaded(2));
    // Never heard of: 1,000 tokens/s by configuration, 100 tokens committed.
    lab.shared.inflight.commit_direct(Slot(0), 100);
    lab.step(50_000);
    lab.step(1_000);
    let base = lab.aft().base_tokens[0];
    assert_eq!(lab.shared.inflight.in_flight(Slot(0), base), 50);
    lab.step(60_000);
    lab.step(1_000);
    let base = lab.aft().base_tokens[0];
    assert_eq!(lab.shared.inflight.in_flight(Slot(0), base), 0);

    // Heard of: what it said holds until it is stale; then it has worked all the time.
    lab.tell(0, report(1, load(1, lab.now_us), 1));
    lab.step(250_000);
    assert_eq!(lab.aft().pending_tokens[1], 500);
    lab.step(100_000);
    lab.step(1_000);
    assert_eq!(lab.aft().pending_tokens[1], 150);
    lab.step(150_000);
    lab.step(1_000);
    assert_eq!(lab.aft().pending_tokens[1], 0);
}

#[test]
fn an_instance_that_falls_silent_is_dead_until_it_reports() {
    let loaded = testing::loaded_with(2, "[dispatch]\ndead_after_ms = 2000\n");
    let mut lab = Lab::new(loaded);
    lab.tell(0, report(0, load(1, 0), 1));
    lab.step(2_000_000);
    assert_eq!(lab.state(0), LiveState::Up);
    let notices = lab.step(10_000).notices;
    let name = || "inst-1".to_owned();
    let silent_ms = 2_010;
    assert_eq!(
        notices,
        [Notice::Silent {
            name: name(),
            silent_ms
        }]
    );
    // One that has never reported may be one that does not.
    assert_eq!(
        (lab.state(0), lab.state(1)),
        (LiveState::Down, LiveState::Up)
    );
    lab.tell(0, report(0, load(2, lab.now_us), 1));
    assert_eq!(lab.step(1_000).notices, [Notice::Heard { name: name() }]);
    assert_eq!(lab.state(0), LiveState::Up);
}

#[test]
fn an_operator_excuses_a_silent_instance_for_a_while_and_a_reload_for_good() {
    let dead_after = "[dispatch]\ndead_after_ms = 2000\n";
    let mut lab = Lab::new(testing::loaded_with(1, dead_after));
    lab.tell(0, report(0, load(1, 0), 1));
    lab.step(2_010_000);
    assert_eq!(lab.state(0), LiveState::Down);
    lab.core.operate(InstanceId(1), Operation::Up).unwrap();
    lab.step(2_000_000);
    assert_eq!(lab.state(0), LiveState::Up);
    assert_eq!(lab.step(10_000).notices.len(), 1);
    assert_eq!(lab.state(0), LiveState::Down);
    // With another limit it is not dead.
    lab.core.apply(testing::loaded(1)).unwrap();
    lab.step(10_000);
    assert_eq!(lab.state(0), LiveState::Up);
}

#[test]
fn operators_and_agents_drain_and_kill_at_once() {
    let mut lab = Lab::new(testing::loaded(2));
    let [one, two] = [InstanceId(1), InstanceId(2)];
    lab.core.operate(one, Operation::Drain).unwrap();
    lab.core.operate(two, Operation::Down).unwrap();
    assert_eq!(
        (lab.state(0), lab.state(1)),
        (LiveState::Draining, LiveState::Down)
    );
    lab.core.operate(one, Operation::Undrain).unwrap();
    lab.core.operate(two, Operation::Up).unwrap();
    assert_eq!((lab.state(0), lab.state(1)), (LiveState::Up, LiveState::Up));
    let nobody = InstanceId(9);
    let refusal = lab.core.operate(nobody, Operation::Down);
    assert_eq!(refusal, Err(Refusal::NotRegistered(nobody)));

    let drains = Load {
        draining: true,
        ..load(1, 1)
    };
    lab.tell(0, report(0, drains, 1));
    lab.step(1_000);
    assert_eq!(lab.state(0), LiveState::Draining);
    lab.tell(0, report(0, load(2, 2), 1));
    lab.step(1_000);
    assert_eq!(lab.state(0), LiveState::Up);
}

#[test]
fn reports_that_change_no_state_do_not_send_workers_looking_for_the_dead() {
    let mut lab = Lab::new(testing::loaded(2));
    let changes = lab.shared.live.changes();
    for seq in 1..10 {
        lab.tell(0, report(0, load(seq, 1), 1));
        lab.step(1_000);
    }
    assert_eq!(lab.shared.live.changes(), changes);
}

#[test]
fn a_reload_keeps_what_stays_and_what_an_operator_said() {
    let mut lab = Lab::new(testing::loaded(3));
    lab.core.operate(InstanceId(2), Operation::Drain).unwrap();
    let next = testing::loaded_of(2..=4, "");
    let reloaded = lab.core.apply(next).unwrap();
    assert_eq!(reloaded.revision, 2);
    let counts = (
        reloaded.instances_added,
        reloaded.instances_changed,
        reloaded.instances_removed,
    );
    assert_eq!(counts, (1, 0, 1));
    assert_eq!(lab.state(0), LiveState::Absent, "at once");
    lab.step(1_000);
    let aft = lab.aft();
    assert_eq!(aft.config.revision, 2);
    assert_eq!(aft.slot_of(InstanceId(2)), Some(Slot(1)));
    assert_eq!(aft.slot_of(InstanceId(4)), Some(Slot(3)));
    assert_eq!(aft.slot_of(InstanceId(1)), None);
    assert_eq!(lab.state(1), LiveState::Draining);
}

#[test]
fn a_class_keeps_its_index_whatever_becomes_of_the_others() {
    let mut lab = Lab::new(testing::loaded(4));
    let [chat, code, legal] = [ClassId(1), ClassId(2), ClassId(3)];
    let refusals = [code].into_iter().collect();
    lab.tell(
        0,
        WorkerMsg::Load {
            slot: Slot(1),
            load: load(1, 10),
            cache_generation: 1,
            refusals,
        },
    );
    lab.step(1_000);
    // Turned round, one before them, and the first of before gone.
    for (classes, indexes) in [
        (&[(2, "code"), (1, "chat")][..], [Some(0), Some(1), None]),
        (
            &[(3, "legal"), (2, "code"), (1, "chat")],
            [Some(0), Some(1), Some(2)],
        ),
        (&[(3, "legal"), (2, "code")], [None, Some(1), Some(2)]),
        (&[(1, "chat"), (2, "code")], [Some(0), Some(1), None]),
    ] {
        let next = testing::loaded_classes(classes, 1..=4, "");
        lab.core.apply(next).unwrap();
        lab.step(1_000);
        let aft = lab.aft();
        let held = [chat, code, legal].map(|id| aft.config.class(id).map(|at| at.0));
        assert_eq!(held, indexes, "{classes:?}");
        assert_eq!(aft.config.classes.len(), classes.len());
        for (id, name) in classes {
            let at = aft.config.class(ClassId(*id)).unwrap();
            assert_eq!(aft.config.classes.get(at).unwrap().name, *name);
            assert_eq!(aft.class(at).unwrap().id, ClassId(*id));
        }
        // What the generation knew of the class is still known of it: its members, its table, who refuses it.
        let state = aft.class(ClassIx(1)).unwrap();
        assert_eq!(
            (state.members.count(), state.maglev.members().len()),
            (2, 2)
        );
        assert!(state.is_refused(Slot(1), lab.now_us));
    }
    let chat = lab.aft().class(ClassIx(0)).unwrap();
    assert_eq!(
        (chat.members.count(), chat.maglev.members().len()),
        (4, 4),
        "back again"
    );
}

#[test]
fn classes_beyond_what_the_process_can_tell_apart_are_refused() {
    let mut lab = Lab::new(testing::loaded(2));
    // limits.classes is 4.
    for (revision, id) in [(2, 3), (3, 4)] {
        let next = testing::loaded_classes(&[(id, "other")], [], "");
        assert_eq!(lab.core.apply(next).unwrap().revision, revision);
    }
    let next = testing::loaded_classes(&[(1, "chat"), (5, "fifth")], 1..=2, "");
    let refusal = lab.core.apply(next).unwrap_err();
    let Refusal::Classes(exhausted) = refusal else {
        panic!("{refusal}");
    };
    assert_eq!((exhausted.new, exhausted.used, exhausted.limit), (1, 4, 4));
    lab.step(1_000);
    assert_eq!(lab.aft().config.revision, 3, "nothing has changed");
    let next = testing::loaded_classes(&[(2, "code"), (1, "chat")], 1..=2, "");
    lab.core.apply(next).unwrap();
    lab.step(1_000);
    assert_eq!(lab.aft().config.class(ClassId(1)), Some(ClassIx(0)));
}

#[test]
fn a_reload_that_takes_a_restart_changes_nothing() {
    let mut lab = Lab::new(testing::loaded(2));
    let next = testing::loaded_with(1, "[flows]\ncapacity = 4096\n");
    let keys = vec!["flows.capacity"];
    assert_eq!(lab.core.apply(next), Err(Refusal::NeedsRestart { keys }));
    lab.step(1_000);
    assert_eq!(
        (lab.aft().registered.count(), lab.aft().config.revision),
        (2, 1)
    );
}

#[test]
fn a_full_house_changes_a_tenant_in_two_steps() {
    let mut lab = Lab::new(testing::loaded(16));
    lab.shared.inflight.commit_direct(Slot(0), 77);
    let count = |lab: &Lab, worker: usize, class, slot| {
        let why = DispatchReason::Load;
        lab.shared.counters[worker].dispatched(ClassIx(class), Some(Slot(slot)), why);
    };
    for (worker, class, slot) in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)] {
        count(&lab, worker, class, slot);
    }
    let next = testing::loaded_of(2..=17, "");
    // A message about the former tenant is still on its way, and so is a dispatch by a worker that does not know yet.
    lab.core.apply(next).unwrap();
    assert_eq!(lab.core.registry.slot_of(InstanceId(17)), None);
    count(&lab, 0, 0, 0);
    lab.tell(0, report(0, load(9, 1), 1));
    for _ in 0..8 {
        lab.step(1_000);
    }
    assert_eq!(lab.aft().slot_of(InstanceId(17)), Some(Slot(0)));
    assert_eq!(lab.aft().incarnation(Slot(0)), Incarnation(2));
    assert_eq!(lab.shared.inflight.committed(Slot(0)), 0);
    // Nothing of the former tenant's is its.
    let standing = lab.core.standing(Slot(0));
    assert_eq!(standing.reports, 0);
    let former = [(ClassIx(0), 3), (ClassIx(1), 1)];
    assert_eq!(standing.predecessors, former);
    count(&lab, 0, 0, 0);
    lab.step(1_000);
    assert_eq!(
        lab.core.standing(Slot(0)).predecessors,
        former,
        "once and for all"
    );
    assert_eq!(
        lab.core.standing(Slot(1)).predecessors,
        [],
        "the first in its slot"
    );
}

#[test]
fn a_slot_is_not_given_away_while_a_worker_has_the_former_tenant() {
    let mut lab = Lab::new(testing::loaded(16));
    let next = testing::loaded_of(2..=17, "");
    lab.core.apply(next).unwrap();
    // No quiescent point is passed here.
    for ms in 1..50 {
        lab.core.step(at(lab.now_us + ms * 1_000));
    }
    assert_eq!(lab.core.registry.slot_of(InstanceId(17)), None);
    lab.now_us += 50_000;
    for _ in 0..8 {
        lab.step(1_000);
    }
    assert_eq!(lab.core.registry.slot_of(InstanceId(17)), Some(Slot(0)));
}

#[test]
fn a_stuck_worker_is_noticed_and_loses_nothing() {
    let mut lab = Lab::new(testing::loaded(2));
    let stuck = lab.readers.pop().unwrap();
    lab.tell(0, dispatched(0, &[1]));
    lab.step(1_000);
    lab.tell(0, dispatched(0, &[2]));
    assert_eq!(lab.step(1_000).publish, Publish::Waiting);
    assert_eq!(lab.step(100_000).notices, [], "not for long enough");
    let notices = lab.step(1_000).notices;
    assert_eq!(notices, [Notice::Stuck { stalled_ms: 101 }]);
    assert_eq!(lab.step(1_000).notices, [], "once is enough");
    let publishing = lab.core.publishing();
    assert_eq!((publishing.stalls, publishing.workers_behind), (1, 1));
    assert!(publishing.is_stuck);
    // It stops for good: the others go on.
    drop(stuck);
    let step = lab.step(1_000);
    assert!(matches!(step.publish, Publish::Swapped { .. }));
    assert_eq!(step.notices, [Notice::Unstuck]);
    assert!(holds(lab.aft(), 0, 1) && holds(lab.aft(), 0, 2));
}

//! A worker's path neither allocates nor frees once it has started: established and new flows, reports, refusals, errors,
//! deaths, ageing, new generations and new configurations. What the control core does in between is not the worker's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

mod support;

use std::sync::Arc;

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::counters::Figure;
use afr_dataplane::flow::FlowState;
use afr_dataplane::id::PortIx;
use afr_dataplane::message::WorkerCommand;
use afr_dataplane::path::{Burst, Egress};
use afr_dataplane::verdict::{DropReason, MetadataNote};
use afr_wire::{EventOp, Report, Request};
use crossbeam_queue::ArrayQueue;
use support::corpus::corpus;
use support::hostile;
use support::metadata::{events, labels, prefix, report, request, told, with_prefixes};
use support::pool::Buf;
use support::setup::{CHAT, CODE, EDGE, FABRIC, Setup, ip, service};
use support::world::{World, ack, data, report_datagram, syn, tunnelled_reply};

/// Gives every buffer back at once.
struct Nowhere;

impl Egress<Buf> for Nowhere {
    fn send(&mut self, _: PortIx, packet: Buf) {
        drop(packet);
    }
}

/// Nothing was allocated or freed in `work`.
#[track_caller]
fn quietly(what: &str, work: impl FnOnce()) {
    let info = allocation_counter::measure(work);
    assert_eq!(
        (info.count_total, info.count_current),
        (0, 0),
        "{what}: {info:?}"
    );
}

/// Takes frames through a worker, as many at a time as a burst has.
fn take(world: &mut World, worker: usize, port: PortIx, frames: &[Vec<u8>]) {
    for frames in frames.chunks(32) {
        let mut burst = Burst::<Buf>::new();
        for frame in frames {
            burst.push(world.pool.receive(frame));
        }
        let now = world.now;
        world.workers[worker].begin();
        world.workers[worker].burst(now, port, &mut burst, &mut Nowhere, &mut world.pool);
    }
}

fn maintain(world: &mut World) {
    for worker in &mut world.workers {
        worker.begin();
        worker.maintain(world.now, &mut Nowhere, &mut world.pool);
    }
}

fn note(world: &World, note: MetadataNote) -> u64 {
    world.figure(Figure::Note(note))
}

#[test]
fn flows() {
    let mut world = World::new(Setup::new(8).config(|config| config.flows.capacity = 128));
    let asking = |n: u16| {
        // Each from a sender of its own, so that keys are derived, and with words of its own.
        let source = ip(&format!("2001:db8:c::{n:x}"));
        let request = Request {
            labels: labels(&["tool:search", "lang:de"]),
            session: u64::from(n),
            ..with_prefixes(&[prefix(2, n % 7), prefix(9, n % 50), prefix(15, n)])
        };
        syn(n, service(CHAT)).from(source).asking(&request)
    };
    let new: Vec<_> = (0..600).map(|n| asking(n).frame()).collect();
    quietly("new flows", || take(&mut world, 0, EDGE, &new));
    assert_eq!(note(&world, MetadataNote::RequestVerified), 600);
    assert!(note(&world, MetadataNote::FlowEvicted) >= 400);
    let again: Vec<_> = new[560..]
        .iter()
        .flat_map(|frame| [frame.clone(), frame.clone()])
        .collect();
    quietly("established flows", || take(&mut world, 0, EDGE, &again));
    assert!(note(&world, MetadataNote::RequestUnchanged) >= 40);
    let plain: Vec<_> = (0..200)
        .flat_map(|n| {
            [
                syn(n, service(CODE)).frame(),
                data(n, service(CODE), 7).frame(),
            ]
        })
        .collect();
    quietly("plain flows", || take(&mut world, 0, EDGE, &plain));
    let changed: Vec<_> = (0..200_u16)
        .map(|n| {
            let other = Request {
                session: 1_000 + u64::from(n),
                ..request()
            };
            data(199, service(CODE), 7).asking(&other).frame()
        })
        .collect();
    quietly("changed metadata", || take(&mut world, 0, EDGE, &changed));
    assert!(note(&world, MetadataNote::RequestChangedInvalid) >= 200);
}

#[test]
fn reports() {
    let mut world = World::new(Setup::new(8).config(|config| config.router.transit = true));
    let all: Vec<_> = (1..=100)
        .map(|depth| {
            let op = if depth % 3 == 0 {
                EventOp::Evicted
            } else {
                EventOp::Stored
            };
            (op, prefix(depth, depth))
        })
        .collect();
    let frame = |seq: u32| {
        let n = (seq % 8) as u16 + 1;
        let report = Report {
            events: events(if seq.is_multiple_of(2) {
                &all
            } else {
                &all[..12]
            }),
            pending_prefill_tokens: seq * 10,
            ..report(n, seq)
        };
        if seq.is_multiple_of(2) {
            report_datagram(n, &told(&report)).frame()
        } else {
            tunnelled_reply(n, 9, service(CHAT))
                .reporting(&report)
                .frame()
        }
    };
    let frames: Vec<_> = (1..200).map(frame).collect();
    // More than the ring holds: what finds it full is no other.
    quietly("reports", || take(&mut world, 0, FABRIC, &frames));
    assert_eq!(note(&world, MetadataNote::ReportApplied), 199);
    assert!(note(&world, MetadataNote::ReportRingFull) > 0);
    quietly("old reports", || take(&mut world, 0, FABRIC, &frames));
    for n in 0..3 {
        world.core.drain(world.now);
        world.core.publish(world.now);
        let frames = [frame(1_000 + n)];
        quietly("a generation", || take(&mut world, 0, FABRIC, &frames));
    }
    assert!(world.workers[0].generation().order[0].seq() > 0);
}

#[test]
fn everything_there_is() {
    let samples: Vec<_> = corpus()
        .iter()
        .map(|sample| (sample.name, sample.port, [sample.packet.frame()]))
        .collect();
    for variant in 0..4 {
        let mut world = hostile::world(variant);
        for round in 0..3 {
            for (name, port, frame) in &samples {
                for worker in [0, 1] {
                    quietly(name, || take(&mut world, worker, *port, frame));
                    quietly("handed over", || maintain(&mut world));
                }
            }
            world.settle();
            world.skip(1_000 * round);
        }
        // And what is almost something.
        for (name, port, frame) in &samples {
            for at in 14..frame[0].len().min(140) {
                let mut broken = frame.clone();
                broken[0][at] ^= 0x81;
                quietly(name, || take(&mut world, 0, *port, &broken));
            }
        }
    }
}

#[test]
fn deaths_ageing_commands_and_reloads() {
    let mut world = World::new(Setup::new(3).config(|c| c.admit.errors_per_s = 10_000));
    let open: Vec<_> = (0..150)
        .flat_map(|port| {
            [
                syn(port, service(CHAT)).frame(),
                ack(port, service(CHAT), 7).frame(),
                data(port, service(CHAT), 7).frame(),
            ]
        })
        .collect();
    quietly("opening", || take(&mut world, 0, EDGE, &open));
    let reply = Arc::new(ArrayQueue::new(200));
    let command = WorkerCommand::ScanFlows {
        cursor: 0,
        limit: 199,
        reply: Arc::clone(&reply),
    };
    world.shared.commands[0].push(command).unwrap();
    world.mark(1, LiveState::Down);
    quietly("deaths and a scan", || {
        for _ in 0..100 {
            world.now.mono_us += 1_000;
            maintain(&mut world);
        }
    });
    assert!(note(&world, MetadataNote::ResetSent) > 20);
    assert!(reply.len() > 100);
    let told = world
        .flows()
        .iter()
        .filter(|f| f.state() == FlowState::Reset)
        .count();
    assert!(told > 20);
    let later: Vec<_> = open.iter().skip(2).step_by(3).cloned().collect();
    quietly("refusals", || take(&mut world, 0, EDGE, &later));
    assert!(world.figure(Figure::Drop(DropReason::InstanceDead)) > 20);
    world.core.remove(afr_dataplane::id::Slot(1));
    let mut setup = Setup::new(0);
    setup.config.revision = 7;
    world.core.reload(setup.config);
    world.core.publish(world.now);
    quietly("a reload", || take(&mut world, 0, EDGE, &open));
    assert_eq!(world.workers[0].generation().config.revision, 7);
    quietly("ageing", || {
        for _ in 0..400 {
            world.now.mono_us += 10_000_000;
            maintain(&mut world);
        }
    });
    assert!(world.flows().is_empty());
}

//! Hostile input through the whole path: every truncation of a frame of every kind, a million mutations, and requests and
//! reports that are signed and extreme. Nothing panics (also not by overflow: tests are built with checks), every frame
//! is accounted for after every burst, every buffer comes back, and whatever leaves is a frame.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

mod support;

use std::fs;
use std::path::Path;

use afr_dataplane::counters::Figure;
use afr_dataplane::path::BURST;
use afr_dataplane::verdict::MetadataNote;
use afr_wire::{
    CatalogueVersion, ClassId, DomainId, Event, EventOp, InstanceId, KeyId, Labels, List,
    PolicyScope, Prefix, Report, ReportFlags, Request, RequestFlags, Signature,
};
use support::corpus::{Sample, addressed, corpus};
use support::hostile::{PORTS, run, step, world};
use support::metadata::{labels, told};
use support::setup::{
    CATALOGUE, CHAT, CODE, EDGE, FABRIC, KEY, LABELS, NARROW_KEY, REPORT_KEY, UNIX_S, service,
};
use support::world::{World, data, datagram, report_datagram, syn, tunnelled_reply};

/// A generator of the simplest kind (xorshift64*): the same frames in every run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

fn frames() -> Vec<Vec<u8>> {
    corpus()
        .iter()
        .map(|sample| sample.packet.frame())
        .collect()
}

/// Says of the frame's IPv6 packet that it ends with the frame.
fn mend_length(frame: &mut [u8]) {
    if let Some(payload) = frame.len().checked_sub(54) {
        frame[18..20].copy_from_slice(&(payload as u16).to_be_bytes());
    }
}

/// Every flow of the corpus open, so that later segments, errors and replies find it.
fn opened(variant: u8) -> World {
    let mut world = world(variant);
    for sample in corpus() {
        let frame = sample.packet.frame();
        world.blast(0, sample.port, [&frame[..]]);
    }
    world.settle();
    world
}

#[test]
fn the_corpus_itself() {
    for variant in 0..4 {
        let mut world = world(variant);
        let mut left = 0;
        for sample in corpus() {
            let frame = sample.packet.frame();
            for worker in [0, 1] {
                left += world.blast(worker, sample.port, [&frame[..]]);
            }
        }
        assert!(left > 40, "most of it is good for something: {left}");
    }
}

/// The inputs that the fuzzer begins with (`fuzz/`, target `packet_path`): one of each kind, and all in a row.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let all = corpus();
    let step = |sample: &Sample| step(sample.port, &sample.packet.frame());
    let mut seeds: Vec<_> = (0_u8..)
        .zip(&all)
        .map(|(n, sample)| {
            (
                sample.name.to_owned(),
                [vec![n % 16], step(sample)].concat(),
            )
        })
        .collect();
    let row = all.iter().flat_map(step);
    seeds.push(("all".to_owned(), [0].into_iter().chain(row).collect()));
    seeds
}

/// Set, it has the seeds written anew: after a change of the corpus.
const WRITE: &str = "AFR_WRITE_SEEDS";

#[test]
fn every_seed_and_every_former_crash() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/packet_path");
    for (name, bytes) in seeds() {
        let path = folder.join(&name);
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let held = fs::read(&path).unwrap_or_default();
        assert!(
            held == bytes,
            "seed {name} is not the corpus's any more: run with {WRITE}=1"
        );
    }
    for entry in fs::read_dir(&folder).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
    }
}

#[test]
fn every_truncation() {
    let mut world = opened(0);
    for sample in corpus() {
        let frame = sample.packet.frame();
        for len in 0..frame.len() {
            let cut = frame[..len].to_vec();
            let mut mended = cut.clone();
            mend_length(&mut mended);
            for port in PORTS {
                let both = [&cut, &mended].map(|frame| {
                    if frame.len() < 6 {
                        frame.clone()
                    } else {
                        addressed(port, frame.clone())
                    }
                });
                world.blast(0, port, both.iter().map(Vec::as_slice));
            }
        }
    }
}

/// Changes a frame in one to four ways.
fn mutate(frame: &mut Vec<u8>, all: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        // Most of what matters stands at the front.
        let reach = if rng.below(4) == 0 { 2_000 } else { 140 };
        let at = rng.below(frame.len().min(reach).max(1));
        match rng.below(10) {
            0..=2 => flip(frame, at, rng),
            3 | 4 => {
                let value = rng.of(&[
                    0, 1, 2, 7, 8, 0x1E, 41, 43, 44, 51, 58, 60, 0x7F, 0x80, 0xFF,
                ]);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            5 => {
                let value = rng.of(&[0_u16, 1, 39, 40, 41, 1_279, 1_280, 0x7FFF, 0xFFFF]);
                if let Some(field) = frame.get_mut(at..at + 2) {
                    field.copy_from_slice(&value.to_be_bytes());
                }
            }
            6 => frame.truncate(at.max(1)),
            7 => {
                // Something of another frame in between.
                let other = &all[rng.below(all.len())];
                let from = rng.below(other.len());
                let to = (from + rng.below(80)).min(other.len());
                frame.splice(at..at, other[from..to].iter().copied());
                frame.truncate(1_900);
            }
            8 => {
                let to = (at + rng.below(24)).min(frame.len());
                frame.drain(at.min(to)..to);
            }
            _ => mend_length(frame),
        }
        if frame.is_empty() {
            frame.push(0);
        }
    }
}

fn flip(frame: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

#[test]
fn a_million_mutations() {
    let all = frames();
    let mut rng = Rng(0xAF5_2026);
    let mut left = 0;
    let mut taken = 0;
    for variant in 0..16 {
        let mut world = opened(variant);
        for round in 0..1_000_000 / 16 / BURST + 1 {
            let port = rng.of(&PORTS);
            let burst: Vec<Vec<u8>> = (0..BURST)
                .map(|_| {
                    let mut frame = all[rng.below(all.len())].clone();
                    mutate(&mut frame, &all, &mut rng);
                    if rng.below(8) != 0 && frame.len() > 12 {
                        frame = addressed(port, frame);
                    }
                    frame
                })
                .collect();
            taken += burst.len();
            let worker = rng.below(2);
            left += world.blast(worker, port, burst.iter().map(Vec::as_slice));
            if round % 50 == 0 {
                world.upheaval(rng.next() as u8);
            }
        }
    }
    assert!(taken >= 1_000_000);
    assert!(
        left > 100_000,
        "mutations that reach no further than the parser test little: {left}"
    );
}

/// A number that is small, large, or on an edge.
fn extreme(rng: &mut Rng) -> u32 {
    let any = rng.next() as u32;
    rng.of(&[
        0,
        1,
        255,
        256,
        0x7FFF_FFFF,
        0x8000_0000,
        u32::MAX - 1,
        u32::MAX,
        any,
        any >> 16,
    ])
}

fn prefixes<const N: usize>(rng: &mut Rng) -> List<Prefix, N> {
    let mut depth = 0_u16;
    let mut list = List::new();
    for _ in 0..rng.below(N + 1) {
        let step = rng.of(&[1, 1, 2, 100, 30_000]);
        let Some(next) = depth.checked_add(step) else {
            break;
        };
        depth = next;
        let signature = Signature([rng.below(3) as u8, 0, 0, 1]);
        list.push(Prefix { depth, signature }).unwrap();
    }
    list
}

fn any_request(rng: &mut Rng) -> Request {
    let names = &LABELS[..rng.below(LABELS.len() + 1)];
    Request {
        flags: RequestFlags(rng.next() as u8 & !RequestFlags::BLOOM.0),
        key_id: rng.of(&[KEY, KEY, KEY, NARROW_KEY, KeyId::NONE]),
        catalogue: rng.of(&[CATALOGUE, CATALOGUE, CATALOGUE, CatalogueVersion(9)]),
        class_id: rng.of(&[CHAT, CHAT, CODE, ClassId(u32::MAX)]),
        issued_at: rng.of(&[UNIX_S, UNIX_S, UNIX_S, 0, u32::MAX]),
        session: rng.next() % 4,
        policy: PolicyScope(rng.of(&[0, 1, u16::MAX])),
        prompt_tokens: extreme(rng),
        domain: DomainId(rng.below(2) as u16),
        labels: if rng.below(8) == 0 {
            Labels::Bloom([rng.next() as u8 & 1; 32])
        } else {
            labels(names)
        },
        prefixes: prefixes(rng),
    }
}

fn any_report(rng: &mut Rng, round: u16, now_ms: u64) -> Report {
    let prefixes: List<Prefix, 176> = prefixes(rng);
    let event = |prefix: &Prefix| Event {
        op: if prefix.depth.is_multiple_of(3) {
            EventOp::Evicted
        } else {
            EventOp::Stored
        },
        prefix: *prefix,
    };
    Report {
        flags: ReportFlags(if rng.below(4) == 0 {
            rng.next() as u8
        } else {
            0
        }),
        key_id: REPORT_KEY,
        catalogue: CATALOGUE,
        instance_id: InstanceId(rng.below(6) as u32),
        // In order for the most part; after the last number there is, the next start.
        boot_epoch: u32::from(round / 256),
        seq: match round % 256 {
            255 => u32::MAX,
            _ => u32::from(round).saturating_sub(rng.of(&[0, 0, 0, 1, 9])),
        },
        sampled_at_ms: (now_ms as u32).wrapping_add_signed(rng.of(&[0, 0, -4_999, 5_000, -5_001])),
        queue_depth: extreme(rng) as u16,
        running: extreme(rng) as u16,
        pending_prefill_tokens: extreme(rng),
        prefill_rate_tokens_s: extreme(rng),
        kv_used: extreme(rng) as u8,
        load_class: extreme(rng) as u8,
        domain: DomainId(rng.below(2) as u16),
        events: List::take_from(prefixes.iter().map(event)),
        refusals: List::take_from([CHAT, CODE].into_iter().take(rng.below(3) * rng.below(2))),
        cache_generation: rng.below(3) as u32,
    }
}

#[test]
fn signed_and_extreme() {
    let mut rng = Rng(0x5161_6E65);
    for variant in 0..16 {
        let mut world = world(variant);
        for round in 0..4_000_u16 {
            let request = any_request(&mut rng);
            let to = rng.of(&[service(CHAT), service(CODE), service(ClassId(0))]);
            let packet = match rng.below(4) {
                0 => datagram(round % 64, to),
                1 => data(round % 64, to, 7),
                _ => syn(round % 64, to),
            };
            let frame = packet.asking(&request).frame();
            world.blast(rng.below(2), EDGE, [&frame[..]]);
            let report = any_report(&mut rng, round, world.now.unix_ms);
            let mut frame = if rng.below(4) == 0 && report.events.len() <= 12 {
                tunnelled_reply(1, 9, to).reporting(&report)
            } else {
                report_datagram(report.instance_id.0 as u16, &told(&report))
            };
            frame.vlan = (variant & 4 != 0).then_some(5);
            let frame = frame.frame();
            world.blast(rng.below(2), FABRIC, [&frame[..]]);
            if round % 16 == 0 {
                world.settle();
            }
            if round % 64 == 0 {
                world.upheaval(rng.next() as u8);
            }
        }
        for note in [MetadataNote::RequestVerified, MetadataNote::ReportApplied] {
            let count = world.figure(Figure::Note(note));
            assert!(count > 100, "{note:?}: {count}");
        }
    }
}

//! One packet for every verdict: frames in and frames out, written to `target/golden/` and read there by scapy, which
//! shares nothing with this project (`golden_check.py`): lengths, header chains, checksums, and that what leaves is what
//! came in but for what the AFR must change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "failing is what a check is for"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afr_dataplane::aft::live::LiveState;
use afr_dataplane::config::{PlainDispatch, Saturation};
use afr_dataplane::id::PortIx;
use afr_dataplane::verdict::{DropReason, PuntReason};
use afr_wire::{ClassId, KeyId, PolicyScope, Report, Request, RequestFlags};
use support::corpus::corpus;
use support::metadata::{
    dest_option, labels, prefix, report, request, signed, told, with_prefixes,
};
use support::packet::{Ext, Packet, Upper};
use support::pcap::PcapWriter;
use support::setup::{
    AFR, CHAT, CODE, EDGE, EMPTY, FABRIC, NARROW_KEY, PEER, SID, Setup, WILD, ip, service, sid,
    tunnel_source,
};
use support::world::{
    Outcome, World, data, datagram, reply, report_datagram, syn, tunnelled_reply,
};

/// What must become of a case's last packet.
#[derive(Debug, Clone, Copy)]
enum Want {
    Forwarded,
    Dropped(DropReason),
    Punted(PuntReason),
}

enum Step {
    Frame(PortIx, Vec<u8>),
    Down(u16),
}

struct Case {
    name: String,
    setup: Setup,
    steps: Vec<Step>,
    want: Want,
}

fn case(name: &str, want: Want) -> Case {
    Case {
        name: name.to_owned(),
        setup: Setup::new(3),
        steps: Vec::new(),
        want,
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(&mut self.setup);
        self
    }

    fn then(self, port: PortIx, packet: &Packet) -> Self {
        self.then_raw(port, packet.frame())
    }

    fn then_raw(mut self, port: PortIx, frame: Vec<u8>) -> Self {
        self.steps.push(Step::Frame(port, frame));
        self
    }

    fn then_dies(mut self, n: u16) -> Self {
        self.steps.push(Step::Down(n));
        self
    }
}

fn to_chat() -> Packet {
    syn(1, service(CHAT))
}

fn dropped(reason: DropReason) -> Case {
    case(&format!("drop-{}", reason.name()), Want::Dropped(reason))
}

/// Frames that end on the way in, and those that no pool of ours can hold are not here: see `buffers.rs`.
fn drops() -> Vec<Case> {
    let mut cases = vec![
        dropped(DropReason::FrameTruncated).then_raw(EDGE, to_chat().frame()[..50].to_vec()),
        dropped(DropReason::VlanForeign).then(EDGE, &{
            let mut tagged = to_chat();
            tagged.vlan = Some(99);
            tagged
        }),
        dropped(DropReason::MacForeign).then(EDGE, &to_chat().by(FABRIC)),
        dropped(DropReason::EtherTypeUnsupported).then_raw(EDGE, {
            let mut frame = to_chat().frame();
            frame[12..14].copy_from_slice(&[8, 0]);
            frame
        }),
        dropped(DropReason::Ipv6Version).then_raw(EDGE, {
            let mut frame = to_chat().frame();
            frame[14] = 0x40;
            frame
        }),
        dropped(DropReason::Ipv6Length).then_raw(EDGE, {
            let mut frame = to_chat().frame();
            frame[18] = 1;
            frame
        }),
        dropped(DropReason::SourceInvalid).then(EDGE, &to_chat().from(ip("ff02::9"))),
        dropped(DropReason::DestinationInvalid).then(EDGE, &syn(1, ip("::1"))),
        dropped(DropReason::HopLimit).then(EDGE, &to_chat().hops(1)),
        dropped(DropReason::TransitOutside).then(EDGE, &syn(1, ip("2001:db8:99::1"))),
        dropped(DropReason::FragmentUnmatched).then(EDGE, &to_chat().with(Ext::Fragment(0, true))),
        dropped(DropReason::NoRoute)
            .with(|s| s.config.routes.retain(|route| route.prefix.length() != 0))
            .then(FABRIC, &reply(1, service(CHAT))),
        dropped(DropReason::PacketTooBig).then(
            EDGE,
            &data(1, service(CHAT), 7).tcp(|t| *t.payload = vec![1; 1_640]),
        ),
        dropped(DropReason::PuntUnavailable).then(EDGE, &syn(22, AFR)),
        dropped(DropReason::GroupUnattended).then(EDGE, &datagram(5353, ip("ff02::fb"))),
    ];
    cases.extend(header_drops());
    cases.extend(metadata_drops());
    cases.extend(dispatch_drops());
    cases.extend(tunnel_drops());
    cases
}

fn header_drops() -> Vec<Case> {
    let chain = |n: usize| {
        let mut packet = to_chat();
        packet.headers = vec![Ext::destination(&[]); n];
        packet
    };
    let long = Ext::Raw(135, [vec![127], vec![0; 1_022]].concat());
    vec![
        dropped(DropReason::ExtensionTruncated).then(EDGE, &{
            let mut packet = to_chat();
            packet.upper = Upper::Raw(60, vec![6, 1, 0, 0, 0, 0, 0, 0]);
            packet
        }),
        dropped(DropReason::ExtensionsTooMany).then(EDGE, &chain(9)),
        dropped(DropReason::ExtensionsTooLong).then(EDGE, &chain(1).with(long)),
        dropped(DropReason::HopByHopMisplaced).then(EDGE, &chain(1).with(Ext::hop_by_hop(&[]))),
        dropped(DropReason::OptionMalformed)
            .then(EDGE, &to_chat().with(Ext::destination(&[0x1D, 9]))),
        dropped(DropReason::OptionsTooMany).then(
            EDGE,
            &to_chat().with(Ext::destination(&[0x1D, 0].repeat(9))),
        ),
        dropped(DropReason::OptionUnrecognized)
            .then(EDGE, &to_chat().with(Ext::hop_by_hop(&[0x9D, 0]))),
        dropped(DropReason::RoutingHeader)
            .then(EDGE, &to_chat().with(Ext::Srh(9, vec![AFR], vec![]))),
        dropped(DropReason::L4Truncated).then(EDGE, &{
            let mut packet = to_chat();
            packet.upper = Upper::Raw(6, vec![0x50; 19]);
            packet
        }),
    ]
}

fn metadata_drops() -> Vec<Case> {
    let object = signed(&request(), &to_chat());
    let narrow = |class_id, policy| Request {
        key_id: NARROW_KEY,
        class_id,
        policy: PolicyScope(policy),
        ..request()
    };
    let mut wrong = object.clone();
    wrong[40] ^= 1;
    let code = Request {
        class_id: CODE,
        ..request()
    };
    vec![
        dropped(DropReason::MetadataOutside)
            .then(WILD, &report_datagram(1, &told(&report(1, 1))).by(WILD)),
        dropped(DropReason::MetadataMalformed)
            .then(EDGE, &to_chat().with(dest_option(&object[..44]))),
        dropped(DropReason::MetadataDuplicate).then(
            EDGE,
            &to_chat()
                .with(dest_option(&object))
                .with(dest_option(&object)),
        ),
        dropped(DropReason::MacInvalid).then(EDGE, &to_chat().with(dest_option(&wrong))),
        dropped(DropReason::ClaimClass).then(EDGE, &syn(1, service(CODE)).asking(&narrow(CODE, 1))),
        dropped(DropReason::ClaimPolicy).then(EDGE, &to_chat().asking(&narrow(CHAT, 2))),
        dropped(DropReason::ClassContradicts).then(EDGE, &to_chat().asking(&code)),
    ]
}

fn dispatch_drops() -> Vec<Case> {
    let busy = |n| Report {
        pending_prefill_tokens: 1_000_000,
        ..report(n, 1)
    };
    let mut saturated = dropped(DropReason::Saturated).with(|setup| {
        let class = setup.class(CHAT);
        (class.objective_us, class.saturation) = (Some(1_000), Saturation::Reject);
        class.plain = PlainDispatch::Load;
    });
    for n in 1..=3 {
        saturated = saturated.then(FABRIC, &report_datagram(n, &told(&busy(n))));
    }
    vec![
        dropped(DropReason::ClassUnknown).then(EDGE, &syn(1, service(ClassId(0x777)))),
        dropped(DropReason::AdmitSource)
            .with(|s| {
                (
                    s.config.admit.per_source_per_s,
                    s.config.admit.per_source_burst,
                ) = (1, 1);
            })
            .then(EDGE, &to_chat())
            .then(EDGE, &syn(2, service(CHAT))),
        dropped(DropReason::AdmitClass)
            .with(|s| (s.class(CHAT).admit_per_s, s.class(CHAT).admit_burst) = (1, 1))
            .then(EDGE, &datagram(1, service(CHAT)))
            .then(EDGE, &datagram(2, service(CHAT))),
        dropped(DropReason::NoCandidate).then(EDGE, &syn(1, service(EMPTY))),
        saturated.then(EDGE, &to_chat().asking(&request())),
        dropped(DropReason::InstanceDead)
            .with(|s| s.instances.truncate(1))
            .then(EDGE, &to_chat())
            .then(EDGE, &data(1, service(CHAT), 7))
            .then_dies(1)
            .then(EDGE, &data(1, service(CHAT), 0x0102_0304)),
    ]
}

fn tunnel_drops() -> Vec<Case> {
    let tunnelled = || tunnelled_reply(1, 9, service(CHAT));
    let error = Upper::Icmp(
        1,
        0,
        [vec![0; 4], reply(9, service(CHAT)).ip_bytes()].concat(),
    );
    vec![
        dropped(DropReason::DecapOutside).then(EDGE, &tunnelled().by(EDGE)),
        dropped(DropReason::DecapSource).then(FABRIC, &tunnelled().from(tunnel_source(99))),
        dropped(DropReason::DecapInner).then(
            FABRIC,
            &reply(9, ip("2001:db8:99::1")).tunnelled(tunnel_source(1), SID),
        ),
        dropped(DropReason::DecapPeer).then(
            FABRIC,
            &syn(9, ip("2001:db8:99::1")).tunnelled(PEER, SID).by(FABRIC),
        ),
        dropped(DropReason::DecapMalformed).then(FABRIC, &{
            let mut packet = datagram(1, SID).by(FABRIC);
            packet.source = tunnel_source(1);
            packet
        }),
        dropped(DropReason::DecapCongestion).then(FABRIC, &tunnelled().class(3)),
        dropped(DropReason::IcmpUnmatched).then(
            EDGE,
            &Packet {
                upper: error,
                ..to_chat()
            },
        ),
    ]
}

fn punts() -> Vec<Case> {
    let punted =
        |reason: PuntReason| case(&format!("punt-{}", reason.name()), Want::Punted(reason));
    let sample = |name| {
        corpus()
            .into_iter()
            .find(|sample| sample.name == name)
            .unwrap()
            .packet
    };
    vec![
        punted(PuntReason::Report).then(FABRIC, &sample("datagram")),
        punted(PuntReason::Neighbor).then(FABRIC, &sample("solicitation")),
        punted(PuntReason::Echo).then(EDGE, &sample("echo")),
        punted(PuntReason::TunnelError).then(FABRIC, &sample("about-tunnel")),
        punted(PuntReason::Host)
            .with(|setup| setup.config.router.punt_port = Some(WILD))
            .then(EDGE, &syn(22, AFR)),
    ]
}

fn forwards() -> Vec<Case> {
    let mut cases = Vec::new();
    let forwarded = |name: &str| case(&format!("forward-{name}"), Want::Forwarded);
    let names = [
        "syn",
        "data",
        "udp",
        "exact",
        "asking",
        "new-task",
        "stripped",
        "hop-by-hop",
        "ah",
        "foreign",
        "atomic",
        "priority-tag",
        "tunnel",
        "tunnel-report",
        "transit",
        "segment",
        "plain-reply",
        "agent-to-agent",
        "esp",
    ];
    for sample in corpus() {
        if names.contains(&sample.name) {
            cases.push(forwarded(sample.name).then(sample.port, &sample.packet));
        }
    }
    assert_eq!(cases.len(), names.len());
    cases.push(
        forwarded("vlan")
            .with(|setup| {
                setup.config.ports[1].vlan = Some(7);
                setup.config.router.mss_clamp = Some(1_300);
            })
            .then(EDGE, &to_chat().class(0xB9)),
    );
    let error = Upper::Icmp(2, 0, {
        let mut body = 1_400_u32.to_be_bytes().to_vec();
        body.extend(&reply(1, service(CHAT)).ip_bytes()[..60]);
        body
    });
    cases.push(forwarded("about-reply").then(EDGE, &to_chat()).then(
        EDGE,
        &Packet {
            upper: error,
            ..to_chat()
        },
    ));
    let spilling = Request {
        flags: RequestFlags::SPILL_OK,
        labels: labels(&["vision"]),
        ..with_prefixes(&[prefix(3, 3)])
    };
    cases.push(
        forwarded("spill")
            .with(|setup| {
                let next_hop = afr_dataplane::config::NextHop {
                    port: FABRIC,
                    mac: [2, 0x5B, 0, 0, 0, 1],
                };
                setup.class(CHAT).spill = Some(afr_dataplane::config::Spill {
                    sid: sid(77),
                    next_hop,
                });
            })
            .then(EDGE, &to_chat().asking(&spilling)),
    );
    let bare = Request {
        key_id: KeyId::NONE,
        ..request()
    };
    let spilled = to_chat().asking(&request()).tunnelled(PEER, SID).by(FABRIC);
    cases.push(forwarded("from-peer").then(FABRIC, &spilled));
    cases.push(forwarded("unauthenticated").then(EDGE, &to_chat().asking(&bare)));
    cases
}

fn check(outcome: &Outcome, case: &str, want: Want) {
    match want {
        Want::Forwarded => {
            outcome.forwarded();
        }
        Want::Dropped(reason) => assert_eq!(outcome.drops, [(reason, 1)], "{case}"),
        Want::Punted(reason) => {
            outcome.punted(reason);
        }
    }
}

fn cases() -> Vec<Case> {
    [drops(), punts(), forwards()]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs a case and writes what went in and what came out: a frame's time is the number of the frame it answers.
fn play(case: Case, folder: &Path) {
    let Case {
        name,
        setup,
        steps,
        want,
    } = case;
    let mut world = World::new(setup);
    let open = |what| PcapWriter::create(&folder.join(format!("{name}.{what}.pcap"))).unwrap();
    let (mut into, mut out) = (open("in"), open("out"));
    let frames = steps.iter().filter(|step| matches!(step, Step::Frame(..)));
    let last = frames.count() - 1;
    let mut number = 0;
    for step in steps {
        match step {
            Step::Down(n) => world.mark(n, LiveState::Down),
            Step::Frame(port, frame) => {
                into.frame(number as u64, &frame).unwrap();
                let outcome = world.raw(port, &frame);
                if number == last {
                    check(&outcome, &name, want);
                }
                for sent in &outcome.sent {
                    out.frame(number as u64, &sent.frame).unwrap();
                }
                number += 1;
            }
        }
    }
    into.finish().unwrap();
    out.finish().unwrap();
}

fn folder(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn scapy_agrees_with_every_frame_that_leaves() {
    let cases = cases();
    let covered = |name: String| cases.iter().filter(|case| case.name == name).count() == 1;
    for reason in DropReason::ALL {
        // The last takes two workers: tests/handoff.rs.
        let elsewhere = matches!(
            reason,
            DropReason::FrameSegmented | DropReason::NoHeadroom | DropReason::SteeringFull
        );
        assert!(
            elsewhere || covered(format!("drop-{}", reason.name())),
            "{reason:?}"
        );
    }
    for reason in PuntReason::ALL {
        assert!(covered(format!("punt-{}", reason.name())), "{reason:?}");
    }
    let folder = folder("golden");
    let mut list = String::new();
    for case in &cases {
        writeln!(list, "{}", case.name).unwrap();
    }
    for case in cases {
        play(case, &folder);
    }
    fs::write(folder.join("cases"), list).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_check.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(&folder)
        .output();
    let output = output.unwrap_or_else(|error| panic!("/usr/bin/python3 does not run: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_ne!(
        output.status.code(),
        Some(3),
        "scapy is needed (apt-get install python3-scapy): {said}"
    );
    assert!(output.status.success(), "{said}");
}

/// The same cases on DPDK: every frame in comes out of a `net_pcap` device's file by its receive call, in an mbuf, and what
/// leaves goes by its transmit call into another file, which holds the very frames of the run on memory that scapy judges.
#[cfg(feature = "eal")]
#[test]
fn every_case_from_file_to_file_through_dpdk() {
    let (memory, files) = (folder("golden-memory"), folder("golden-dpdk"));
    let frames = |path: &Path| -> Vec<Vec<u8>> {
        let file = fs::read(path).unwrap();
        let mut rest = &file[24..];
        let mut frames = Vec::new();
        while let Some((head, behind)) = rest.split_first_chunk::<16>() {
            let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
            frames.push(behind[..len].to_vec());
            rest = &behind[len..];
        }
        frames
    };
    let mut left = 0;
    for (n, (on_memory, on_dpdk)) in cases().into_iter().zip(cases()).enumerate() {
        let name = on_memory.name.clone();
        play(on_memory, &memory);
        let device_out = files.join(format!("{name}.tx.pcap"));
        let device_in = memory.join(format!("{name}.in.pcap"));
        support::device::with_device(&format!("golden{n}"), &device_in, &device_out, || {
            play(on_dpdk, &files);
        });
        let expected = frames(&memory.join(format!("{name}.out.pcap")));
        assert_eq!(frames(&device_out), expected, "{name}");
        left += expected.len();
    }
    assert!(left > 40, "{left} frames left");
}

//! Lines from somebody who means no good, or from a defect: each gets a line back, and the next right one its answer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use afr_controlplane::api::protocol::{Outcome, ResponseLine};
use afr_controlplane::api::{Response, ServerLimits};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::lab::{Lab, Serving};

struct Target {
    lab: Lab,
    _runtime: Runtime,
    _serving: Serving,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (lab, serving) = runtime.block_on(async {
        let lab = Lab::settled().await;
        let limits = ServerLimits {
            connections: 1_000,
            ..ServerLimits::default()
        };
        let serving = lab.serve(lab.backend.clone(), limits);
        (lab, serving)
    });
    Target {
        lab,
        _runtime: runtime,
        _serving: serving,
    }
});

const VERSION: &str = r#"{"v":1,"request":{"command":"version"}}"#;

fn answer(stream: &mut BufReader<UnixStream>) -> ResponseLine {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Sends lines that are no requests, and then one that is.
fn survives(lines: &[Vec<u8>]) {
    let stream = UnixStream::connect(TARGET.lab.socket_path()).unwrap();
    let mut stream = BufReader::new(stream);
    for line in lines {
        let sent = [&line[..], b"\n"].concat();
        stream.get_mut().write_all(&sent).unwrap();
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match answer(&mut stream).outcome {
            Outcome::Error(body) => assert_eq!(body.message, body.error.to_string()),
            // A mutation may also be right.
            Outcome::Response(_) => {}
        }
    }
    writeln!(stream.get_mut(), "{VERSION}").unwrap();
    let Outcome::Response(Response::Version(_)) = answer(&mut stream).outcome else {
        panic!("no version")
    };
}

fn one_line() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        any::<u8>().prop_filter("an end", |byte| *byte != b'\n'),
        0..200,
    )
}

/// A right line, with some bytes changed, or cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::sample::select(vec![
        VERSION,
        r#"{"v":1,"request":{"command":"show_flows","class":"chat","limit":1}}"#,
        r#"{"v":1,"request":{"command":"show_counters","worker":1}}"#,
        r#"{"v":1,"request":{"command":"health"}}"#,
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (lines, changes, any::<prop::sample::Index>()).prop_map(|(line, changes, cut)| {
        let mut bytes = line.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = if byte == b'\n' { b' ' } else { byte };
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn noise_is_answered(lines in prop::collection::vec(one_line(), 1..8)) {
        survives(&lines);
    }

    #[test]
    fn mutated_requests_are_answered(lines in prop::collection::vec(mutated(), 1..8)) {
        survives(&lines);
    }

    #[test]
    fn deep_nesting_is_answered(depth in 1usize..20_000) {
        survives(&[vec![b'['; depth], [r#"{"v":"#.repeat(depth / 10).as_bytes(), b"1"].concat()]);
    }
}

#[test]
fn connections_cut_at_every_byte_leave_no_trace() {
    for length in 0..VERSION.len() {
        let mut stream = UnixStream::connect(TARGET.lab.socket_path()).unwrap();
        stream.write_all(&VERSION.as_bytes()[..length]).unwrap();
    }
    survives(&[]);
}

//! The load client against emulated instances over the loopback interface, without an AFR.

use std::net::UdpSocket;

use afr_wire::{
    ClusterId, EventOp, InstanceId, MacAlgorithm, MasterKey, OPTION_TYPE, Object, Place,
    ReportFlags, ReportView, Role, SenderKey, option::Options,
};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::answer::Answer;
use crate::emulator::Emulator;
use crate::emulator::args::EmulatorArgs;
use args::LoadArgs;
use result::RunResult;

const KEY: [&str; 2] = [
    "--key-id=1",
    "--master-key=000102030405060708090a0b0c0d0e0f",
];

/// An emulated instance that serves until it is dropped or stopped.
struct Served {
    port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let always = ["afr-emulator", "--listen=[::1]:0", "--time-scale=20"];
        let arguments = always.iter().chain(arguments);
        let emulator = Emulator::bind(&EmulatorArgs::try_parse_from(arguments).unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let port = emulator.address().port();
        let task = tokio::spawn(emulator.run(async {
            let _ = stopped.await;
        }));
        Self { port, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Vec<u8>) {
        let stream = tokio::net::TcpStream::connect(("::1", self.port))
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "test")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        (
            status,
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.ask("POST", path, &body).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    /// The samples of the exposition by name, each with its labels.
    async fn metrics(&self) -> std::collections::HashMap<String, f64> {
        let (_, text) = self.ask("GET", "/metrics", &Value::Null).await;
        let text = String::from_utf8(text).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.contains("model_name=\"emulated\""), "{line}");
            let name = if name.contains("le=") {
                name
            } else {
                name.split('{').next().unwrap()
            };
            (name.to_owned(), value.parse().unwrap())
        };
        samples.map(sample).collect()
    }
}

/// Plays a workload of made-up sessions against one instance.
async fn play(target: &Served, requests: usize, arguments: &[&str]) -> RunResult {
    let target = format!("--target=[::1]:{}", target.port);
    let requests = format!("--requests={requests}");
    let always = [
        "afr-load",
        &target,
        "--time-scale=20",
        "--sessions-per-s=5",
        &requests,
        "--max-input=6000",
        "--max-output=40",
    ];
    let arguments = always.iter().chain(arguments);
    let plan = Arc::new(plan::Plan::new(&LoadArgs::try_parse_from(arguments).unwrap()).unwrap());
    let progress = Arc::new(RunProgress::default());
    let outcomes = run(Arc::clone(&plan), Arc::clone(&progress)).await;
    assert_eq!(progress.started(), outcomes.len());
    RunResult::new(&plan, &outcomes, &progress, 1.0)
}

fn may_send_raw() -> bool {
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    let allowed = afr_endpoint::sockopt::set_destination_options(&socket, &[0; 8]).is_ok();
    if !allowed {
        eprintln!("skipped: needs CAP_NET_RAW");
    }
    allowed
}

#[tokio::test]
async fn a_workload_is_answered_and_the_cache_grows() {
    let served = Served::start(&["--instance-id=7", "--classes=1", "--speed=0.5"]);
    let first = play(&served, 40, &["--metadata=none", "--warmup=4"]).await;
    assert_eq!((first.broken, first.misdispatched), (0, 0), "{first}");
    assert_eq!((first.requests, first.warmup), (36, 4));
    assert_eq!(first.per_instance[0].instance, 7);
    assert_eq!(first.per_instance[0].speed, 0.5);
    assert!(first.ttft_ms.mean > 0.0 && first.e2e_ms.mean > first.ttft_ms.mean);
    let metrics = served.metrics().await;
    assert_eq!(metrics["vllm:request_success_total"], 40.0);

    let second = play(&served, 40, &["--metadata=none", "--warmup=4"]).await;
    assert_eq!(second.broken, 0, "{second}");
    assert_eq!(second.prompt_tokens, first.prompt_tokens);
    // All but the last, partial block of each prompt is known by now.
    let unknown = second.prompt_tokens - second.cached_tokens;
    assert!(unknown <= 36 * 512, "{unknown} tokens");
    assert!(second.prefill_saved > first.prefill_saved);
    served.stop().await;
}

#[tokio::test]
async fn metadata_does_not_keep_the_answer_from_its_client() {
    if !may_send_raw() {
        return;
    }
    let served = Served::start(&["--instance-id=7", "--classes=1", "--labels=a,b"]);
    let arguments = [&KEY[..], &["--class=1,b"]].concat();
    let result = play(&served, 40, &arguments).await;
    assert_eq!((result.broken, result.misdispatched), (0, 0), "{result}");
    assert!(result.metadata_bytes_mean > 56.0 && result.metadata_us_mean > 0.0);
    served.stop().await;
}

#[tokio::test]
async fn an_instance_without_the_capability_is_noticed() {
    let served = Served::start(&["--instance-id=7", "--classes=1,3", "--labels=a"]);
    for (class, misdispatched) in [("2", 40), ("3", 0), ("1,a", 0), ("1,a,b", 40)] {
        let class = format!("--class={class}");
        let result = play(&served, 40, &["--metadata=none", &class]).await;
        assert_eq!(result.misdispatched, misdispatched, "{class}: {result}");
        assert_eq!(result.broken, 0, "{class}: {result}");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_does_not_answer_is_broken() {
    let served = Served::start(&["--instance-id=7", "--kv-blocks=8"]);
    let result = play(&served, 40, &["--metadata=none"]).await;
    let too_long = result.broken_by_kind["status"];
    assert!(too_long > 0 && too_long == result.broken, "{result}");
    let port = served.port;
    served.stop().await;

    let gone = Served {
        port,
        ..Served::start(&["--instance-id=8"])
    };
    let result = play(&gone, 40, &["--metadata=none", "--max-connections=1"]).await;
    assert_eq!(result.broken_by_kind["connect"], 40, "{result}");
    gone.stop().await;
}

#[tokio::test]
async fn every_way_of_asking_is_answered() {
    let served = Served::start(&["--instance-id=7", "--classes=1", "--labels=a"]);
    let prompt = "x".repeat(9_000);
    let ask = json!({"prompt": prompt, "max_tokens": 5});
    for cached in [0, 2_048] {
        let answer = served.post("/v1/completions", ask.clone()).await;
        let expected = Answer::to(prompt.as_bytes()).tokens(0, 5);
        assert_eq!(answer["choices"][0]["text"], expected);
        assert_eq!(answer["usage"]["prompt_tokens"], 2_250);
        assert_eq!(
            answer["usage"]["prompt_tokens_details"]["cached_tokens"],
            cached
        );
        assert_eq!(answer["system_fingerprint"], "afr-instance-7");
    }
    let messages = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2});
    let answer = served.post("/v1/chat/completions", messages).await;
    let expected = Answer::to(b"<|user|>\nhi\n").tokens(0, 2);
    assert_eq!(answer["choices"][0]["message"]["content"], expected);

    let (status, models) = served.ask("GET", "/v1/models", &Value::Null).await;
    let models: Value = serde_json::from_slice(&models).unwrap();
    assert_eq!(
        (status, &models["data"][0]["id"]),
        (StatusCode::OK, &json!("emulated"))
    );
    assert_eq!(
        served.ask("GET", "/health", &Value::Null).await.0,
        StatusCode::OK
    );
    // What routers for SGLang ask before they send anything.
    for (path, field) in [
        ("/model_info", "model_path"),
        ("/server_info", "served_model_name"),
    ] {
        let (status, info) = served.ask("GET", path, &Value::Null).await;
        let info: Value = serde_json::from_slice(&info).unwrap();
        assert_eq!((status, &info[field]), (StatusCode::OK, &json!("emulated")));
    }
    for (path, body, expected) in [
        ("/v1/completions", json!({}), StatusCode::BAD_REQUEST),
        (
            "/v1/completions",
            json!({"prompt": ""}),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/v1/completions",
            json!({"prompt": "a", "model": "b"}),
            StatusCode::NOT_FOUND,
        ),
        ("/v1/other", json!({}), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            served.ask("POST", path, &body).await.0,
            expected,
            "{path} {body}"
        );
    }

    let metrics = served.metrics().await;
    assert_eq!(
        metrics["vllm:prefix_cache_queries_total"],
        2.0 * 2_250.0 + 3.0
    );
    assert_eq!(metrics["vllm:prefix_cache_hits_total"], 2_048.0);
    assert_eq!(metrics["vllm:prompt_tokens_total"], 2.0 * 2_250.0 + 3.0);
    assert_eq!(metrics["vllm:generation_tokens_total"], 12.0);
    assert_eq!(metrics["vllm:time_to_first_token_seconds_count"], 3.0);
    for idle in [
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
    ] {
        assert_eq!(metrics[&format!("vllm:{idle}")], 0.0);
    }

    let (status, _) = served
        .ask("POST", "/reset_prefix_cache", &Value::Null)
        .await;
    assert_eq!(status, StatusCode::OK);
    let answer = served.post("/v1/completions", ask).await;
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    served.stop().await;
}

fn report_key(instance: u32) -> SenderKey {
    SenderKey::derive(
        MacAlgorithm::AesCmac,
        &MasterKey::new(std::array::from_fn(|byte| byte as u8)),
        Role::Report,
        ClusterId(1),
        &instance.to_be_bytes(),
    )
}

/// Receives datagrams until one satisfies `is_wanted`; every one must be authentic and newer than the last.
async fn await_report(
    socket: &tokio::net::UdpSocket,
    last: &mut (u32, u32),
    mut is_wanted: impl FnMut(&ReportView<'_>) -> bool,
) {
    let mut buffer = [0; 2_048];
    let search = async {
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            let Ok(Object::Report(view)) = Object::parse(&buffer[..length], Place::Datagram) else {
                panic!("not a report");
            };
            assert!(report_key(7).verify_report(&view));
            assert_eq!(view.instance_id(), InstanceId(7));
            let number = (view.boot_epoch(), view.seq());
            assert!(number > *last, "{number:?} after {last:?}");
            *last = number;
            if is_wanted(&view) {
                return;
            }
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), search).await;
    outcome.expect("the report never came");
}

#[tokio::test]
async fn reports_tell_what_the_engine_does() {
    let socket = tokio::net::UdpSocket::bind("[::1]:0").await.unwrap();
    let report_to = format!("--report-to={}", socket.local_addr().unwrap());
    // Slow enough that requests are seen in the engine.
    let arguments = [
        "--instance-id=7",
        "--speed=0.02",
        "--kv-blocks=16",
        "--domain=9",
        &report_to,
    ];
    let served = Served::start(&[&arguments[..], &KEY].concat());
    let mut last = (0, 0);
    await_report(&socket, &mut last, |report| {
        report.running() == 0 && report.prefill_rate_tokens_s() > 0 && report.n_events() == 0
    })
    .await;

    let ask = json!({"prompt": "y".repeat(5_000), "max_tokens": 2});
    let answering = served.post("/v1/completions", ask);
    let seen = async {
        await_report(&socket, &mut last, |report| {
            report.running() == 1
                && report.pending_prefill_tokens() == 1_250
                && report.kv_used() > 0
        })
        .await;
        await_report(&socket, &mut last, |report| {
            let mut stored: Vec<u16> = report
                .events()
                .filter(|event| event.op == EventOp::Stored)
                .map(|event| event.prefix.depth)
                .collect();
            stored.dedup();
            report.domain().0 == 9 && stored.starts_with(&[2, 4])
        })
        .await;
    };
    tokio::join!(answering, seen);
    let generation = 1;
    served
        .ask("POST", "/reset_prefix_cache", &Value::Null)
        .await;
    await_report(&socket, &mut last, |report| {
        let evicted = report
            .events()
            .filter(|event| event.op == EventOp::Evicted)
            .count();
        report.cache_generation() == generation && evicted == 2
    })
    .await;
    served.stop().await;
    await_report(&socket, &mut last, |report| {
        report.flags().contains(ReportFlags::DRAINING)
    })
    .await;
}

/// Takes every IPv6 packet on the loopback interface that leaves `port`, from the IPv6 header on.
struct Tap {
    socket: uapi::OwnedFd,
    port: u16,
}

impl Tap {
    fn open(port: u16) -> Self {
        const ETH_P_IPV6: u16 = 0x86dd;
        let protocol = i32::from(ETH_P_IPV6.to_be());
        let kind = uapi::c::SOCK_DGRAM | uapi::c::SOCK_NONBLOCK;
        let socket = uapi::socket(uapi::c::AF_PACKET, kind, protocol).unwrap();
        // Room for all packets of a run, because nobody reads before its end. Needs CAP_NET_ADMIN; without, fewer
        // packets are looked at.
        let room = uapi::c::SO_RCVBUFFORCE;
        let _ = uapi::setsockopt(socket.raw(), uapi::c::SOL_SOCKET, room, &(64_i32 << 20));
        Self { socket, port }
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 70_000];
        while let Ok(length) = nonblocking_read(&self.socket, &mut buffer) {
            let packet = &buffer[..length];
            // A TCP header stands right after the IPv6 header, or after Destination Options.
            let tcp = match packet[6] {
                6 => 40,
                60 => 48 + usize::from(packet[41]) * 8,
                _ => continue,
            };
            if packet[tcp..tcp + 2] == self.port.to_be_bytes() {
                packets.push(packet.to_vec());
            }
        }
        packets
    }
}

fn nonblocking_read(socket: &uapi::OwnedFd, buffer: &mut Vec<u8>) -> Result<usize, uapi::Errno> {
    uapi::read(socket.raw(), buffer.as_mut_slice()).map(|read| read.len())
}

#[tokio::test]
async fn reports_in_replies_are_valid_and_of_one_length() {
    if !may_send_raw() {
        return;
    }
    let arguments = ["--instance-id=7", "--classes=1", "--transit"];
    let served = Served::start(&[&arguments[..], &KEY].concat());
    let tap = Tap::open(served.port);
    let result = play(&served, 10, &["--metadata=none"]).await;
    assert_eq!(result.broken, 0, "{result}");

    let mut numbers = std::collections::BTreeSet::new();
    let mut stored = 0;
    let mut lengths = std::collections::BTreeSet::new();
    for packet in tap.packets() {
        assert_eq!(packet[6], 60, "a reply without a report");
        let length = 8 + usize::from(packet[41]) * 8;
        lengths.insert(length);
        let option = Options::new(&packet[42..40 + length])
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(option.kind, OPTION_TYPE);
        let Ok(Object::Report(view)) = Object::parse(option.data, Place::InBand) else {
            panic!("not a report");
        };
        assert!(report_key(7).verify_report(&view));
        numbers.insert((view.boot_epoch(), view.seq()));
        stored += view
            .events()
            .filter(|event| event.op == EventOp::Stored)
            .count();
    }
    assert_eq!(lengths.len(), 1, "{lengths:?}");
    // The placeholder, and two updates for each of ten requests.
    assert!((2..=21).contains(&numbers.len()), "{numbers:?}");
    assert!(stored > 0);
    let metrics = served.metrics().await;
    assert_eq!(metrics["afr:reply_reports_failed_total"], 0.0);
    served.stop().await;
}

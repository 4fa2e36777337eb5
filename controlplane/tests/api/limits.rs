//! Every bound of the server, and the socket's place in the file system.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, future};

use afr_controlplane::api::protocol::{FlowFilter, InstanceName, Outcome, ResponseLine};
use afr_controlplane::api::socket::{Socket, SocketError};
use afr_controlplane::api::view::{FlowsView, ReasonCount};
use afr_controlplane::api::{ApiError, Backend, Request, Response, ServerLimits};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::lab::Lab;

const VERSION: &[u8] = b"{\"v\":1,\"request\":{\"command\":\"version\"}}\n";

/// Writes, and reads a line of the answer.
async fn ask(stream: &mut BufReader<UnixStream>, bytes: &[u8]) -> Result<Response, ApiError> {
    stream.write_all(bytes).await.unwrap();
    read(stream).await
}

async fn read(stream: &mut BufReader<UnixStream>) -> Result<Response, ApiError> {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let answer: ResponseLine =
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    match answer.outcome {
        Outcome::Response(response) => Ok(response),
        Outcome::Error(body) => Err(body.error),
    }
}

async fn connect(lab: &Lab) -> BufReader<UnixStream> {
    BufReader::new(UnixStream::connect(lab.socket_path()).await.unwrap())
}

async fn is_closed(stream: &mut BufReader<UnixStream>) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_err() || rest.is_empty()
}

#[tokio::test]
async fn a_line_may_be_as_long_as_allowed_and_no_longer() {
    let lab = Lab::new();
    let line_bytes = 100;
    let limits = ServerLimits {
        line_bytes,
        ..ServerLimits::default()
    };
    let _serving = lab.serve(Arc::clone(&lab.backend), limits);
    let padded = |length: usize| {
        let mut line = VERSION[..VERSION.len() - 1].to_vec();
        line.resize(length, b' ');
        line.push(b'\n');
        line
    };
    let mut stream = connect(&lab).await;
    assert!(ask(&mut stream, &padded(line_bytes)).await.is_ok());
    let most_bytes = line_bytes;
    let too_long = Err(ApiError::LineTooLong { most_bytes });
    assert_eq!(ask(&mut stream, &padded(line_bytes + 1)).await, too_long);
    assert!(is_closed(&mut stream).await);
    // Without an end it is told just the same.
    let mut stream = connect(&lab).await;
    assert_eq!(ask(&mut stream, &[b'['; 102]).await, too_long);
}

#[tokio::test]
async fn lines_may_come_in_pieces_together_and_unfinished() {
    let lab = Lab::new();
    let _serving = lab.serve_itself();
    let mut stream = connect(&lab).await;
    for piece in VERSION.chunks(7) {
        stream.write_all(piece).await.unwrap();
    }
    assert!(read(&mut stream).await.is_ok());
    let both = [b"\n  \n", VERSION, VERSION].concat();
    assert!(ask(&mut stream, &both).await.is_ok());
    assert!(read(&mut stream).await.is_ok());
    let unfinished = &VERSION[..VERSION.len() - 1];
    stream.write_all(unfinished).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read(&mut stream).await.is_ok());
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_turned_away_and_room_comes_back() {
    let lab = Lab::new();
    let limits = ServerLimits {
        connections: 1,
        ..ServerLimits::default()
    };
    let _serving = lab.serve(Arc::clone(&lab.backend), limits);
    let mut first = connect(&lab).await;
    assert!(ask(&mut first, VERSION).await.is_ok());
    let mut second = connect(&lab).await;
    assert_eq!(
        read(&mut second).await,
        Err(ApiError::TooManyConnections { most: 1 })
    );
    assert!(is_closed(&mut second).await);
    drop(first);
    // The place is free as soon as the server has seen the end.
    loop {
        let mut next = connect(&lab).await;
        // One that is turned away may find that out before it has written.
        let _ = next.write_all(VERSION).await;
        if read(&mut next).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn who_says_nothing_is_disconnected() {
    let lab = Lab::new();
    let limits = ServerLimits {
        idle: Duration::ZERO,
        ..ServerLimits::default()
    };
    let _serving = lab.serve(Arc::clone(&lab.backend), limits);
    assert!(is_closed(&mut connect(&lab).await).await);
}

/// Answers never, or at great length.
struct Odd;

impl Backend for Odd {
    async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        if request != Request::Reload {
            return future::pending().await;
        }
        let reason = ReasonCount {
            name: "x".repeat(1_000),
            help: String::new(),
            count: 0,
        };
        Ok(Response::Counters(
            afr_controlplane::api::view::CountersView {
                worker: None,
                received_packets: 0,
                forwarded_request_packets: 0,
                forwarded_reply_packets: 0,
                originated_packets: 0,
                prompt_tokens: 0,
                affinity_tokens: 0,
                drops: vec![reason; 10_000],
                punts: Vec::new(),
                notes: Vec::new(),
                dispatches: Vec::new(),
            },
        ))
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_told() {
    let lab = Lab::new();
    let limits = ServerLimits {
        answer: Duration::ZERO,
        ..ServerLimits::default()
    };
    let _serving = lab.serve(Arc::new(Odd), limits);
    let mut stream = connect(&lab).await;
    assert_eq!(
        ask(&mut stream, VERSION).await,
        Err(ApiError::TimedOut { after_ms: 0 })
    );
    assert_eq!(
        ask(&mut stream, VERSION).await,
        Err(ApiError::TimedOut { after_ms: 0 }),
        "goes on"
    );
}

#[tokio::test]
async fn who_does_not_read_is_disconnected() {
    let lab = Lab::new();
    let limits = ServerLimits {
        write: Duration::ZERO,
        ..ServerLimits::default()
    };
    let _serving = lab.serve(Arc::new(Odd), limits);
    let mut stream = connect(&lab).await;
    let reload = b"{\"v\":1,\"request\":{\"command\":\"reload\"}}\n";
    stream.write_all(reload).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_ne!(answer.last(), Some(&b'\n'), "cut short");
}

#[tokio::test]
async fn a_stuck_worker_is_named_and_holds_up_nobody_else() {
    let lab = Lab::settled().await;
    lab.workers_stuck.store(true, Ordering::Relaxed);
    let flows = || lab.ask(Request::ShowFlows(FlowFilter::default()));
    for _ in 0..2 {
        match flows().await {
            Err(ApiError::WorkerSilent { worker: 0, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let instance = "a".to_owned();
    let drain = lab.ask(Request::Drain(InstanceName { instance })).await;
    assert!(drain.is_ok(), "{drain:?}");
    lab.workers_stuck.store(false, Ordering::Relaxed);
    let nothing = FlowsView {
        flows: Vec::new(),
        scanned: 0,
        complete: true,
    };
    assert_eq!(flows().await, Ok(Response::Flows(nothing)));
}

#[tokio::test]
async fn a_core_that_is_gone_is_told() {
    let (handle, inbox) = afr_controlplane::api::core::channel();
    drop(inbox);
    let error = handle.look(|core| core.aft().now_s).await.unwrap_err();
    assert!(matches!(error, ApiError::CoreSilent { .. }));
}

#[tokio::test]
async fn a_core_that_does_not_listen_is_not_asked_without_end() {
    let (handle, _inbox) = afr_controlplane::api::core::channel();
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.look(|core| core.aft().now_s).await })
        })
        .collect();
    let mut busy = 0;
    for asked in asking {
        match asked.await.unwrap() {
            Err(ApiError::CoreBusy { .. }) => busy += 1,
            Err(ApiError::CoreSilent { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy, 200 - 64);
}

#[tokio::test]
async fn a_socket_is_taken_over_only_from_the_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let living = Socket::bind(&path).unwrap();
    assert!(matches!(
        Socket::bind(&path),
        Err(SocketError::InUse { .. })
    ));
    drop(living);
    assert!(!path.exists());

    // std leaves the file behind, as a killed process does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let next = Socket::bind(&path).unwrap();
    assert!(UnixStream::connect(next.path()).await.is_ok());

    // Somebody put another in its place: that one stays.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(next);
    assert!(path.exists());
    drop(other);

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Socket::bind(&path),
        Err(SocketError::NotASocket { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let nowhere = directory.path().join("none").join("s");
    assert!(matches!(
        Socket::bind(&nowhere),
        Err(SocketError::System { .. })
    ));
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

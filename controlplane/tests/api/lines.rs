//! What goes over the socket, and the client at its other end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use afr_controlplane::api::protocol::{FlowFilter, InstanceName, RequestLine, ResponseLine};
use afr_controlplane::api::{ApiError, Client, ClientError, Entity, Request, Response};

use crate::lab::Lab;

#[test]
fn errors_survive_their_line_and_speak_to_people() {
    let known = vec!["a".to_owned()];
    let errors = [
        ApiError::Malformed {
            detail: "d".to_owned(),
        },
        ApiError::UnsupportedVersion {
            given: 2,
            supported: 1,
        },
        ApiError::LineTooLong { most_bytes: 9 },
        ApiError::TooManyConnections { most: 9 },
        ApiError::Unknown {
            entity: Entity::Label,
            given: "x".to_owned(),
            known,
            more: 0,
        },
        ApiError::Invalid {
            field: "limit".to_owned(),
            given: "0".to_owned(),
            allowed: "1 to 9".to_owned(),
        },
        ApiError::Refused {
            reasons: vec!["r".to_owned()],
        },
        ApiError::CoreBusy { waiting: 9 },
        ApiError::CoreSilent { after_ms: 9 },
        ApiError::WorkerSilent {
            worker: 1,
            after_ms: 9,
        },
        ApiError::TimedOut { after_ms: 9 },
    ];
    for error in errors {
        let line = ResponseLine::new(Err(error.clone()));
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<ResponseLine>(&text).unwrap(), line);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["error"]["message"], error.to_string());
        assert!(json["error"]["kind"].is_string());
    }
}

#[test]
fn lines_look_as_documented() {
    let line = br#"{"v":1,"request":{"command":"show_flows","class":"chat","limit":5}}"#;
    let filter = FlowFilter {
        class: Some("chat".to_owned()),
        instance: None,
        limit: Some(5),
    };
    let parsed = RequestLine::parse(line).unwrap();
    assert_eq!(parsed, RequestLine::new(Request::ShowFlows(filter)));
    assert_eq!(serde_json::to_vec(&parsed).unwrap(), line);

    let newer = RequestLine::parse(br#"{"v":2,"request":{"command":"unheard_of"}}"#);
    let (given, supported) = (2, 1);
    let unsupported = ApiError::UnsupportedVersion { given, supported };
    assert_eq!(newer.unwrap_err(), unsupported);
    for wrong in [
        r#"{"v":1,"request":{"command":"drain"}}"#,
        r#"{"v":1,"request":{"command":"drain","instance":"a","force":true}}"#,
        r#"{"v":1,"request":{"command":"unheard_of"}}"#,
        r#"{"v":1,"request":{"command":"version"},"more":1}"#,
    ] {
        let error = RequestLine::parse(wrong.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ApiError::Malformed { .. }),
            "{wrong}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_asks_over_the_socket() {
    let lab = Lab::settled().await;
    let serving = lab.serve_itself();
    let path = lab.socket_path();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let asked = path.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&asked).unwrap();
        for _ in 0..3 {
            let answer = client.call(Request::ShowAft).unwrap();
            assert!(matches!(answer, Response::Aft(_)), "{answer:?}");
        }
        match client.call(Request::Drain(InstanceName {
            instance: "nobody".to_owned(),
        })) {
            Err(ClientError::Refused(body)) => assert!(body.message.contains("there are: a, b")),
            other => panic!("{other:?}"),
        }
        assert!(
            client.call(Request::Version).is_ok(),
            "goes on after a refusal"
        );
    });
    asking.await.unwrap();
    serving.stop().await;
    assert!(!path.exists(), "the socket's file is removed");
    match Client::connect(&path) {
        Err(error @ ClientError::Connect { .. }) => {
            assert!(error.to_string().contains("does afrd run"));
        }
        other => panic!("{other:?}"),
    }
}

//! The program itself: its output, and its exit status.

use std::path::Path;
use std::process::{Command, Output};

use afr_controlplane::api::ServerLimits;

use crate::lab::Lab;

async fn afrctl(socket: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afrctl"));
    command.arg("--socket").arg(socket).args(args);
    let running = tokio::task::spawn_blocking(move || command.output());
    running.await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_answered() {
    let lab = Lab::settled().await;
    let _serving = lab.serve_itself();
    lab.add_flow(0, 4_242, 0, lab.instances().await[0].slot);
    let prompt = lab.directory.path().join("prompt.txt");
    std::fs::write(&prompt, "word ".repeat(1_000)).unwrap();
    let prompt = prompt.to_str().unwrap();
    let key = "000102030405060708090a0b0c0d0e0f";
    let cases: &[(&[&str], &str)] = &[
        (&["version"], "afrd 0."),
        (&["health"], "control_core  ok"),
        (&["show", "ports"], "up, 10,000 Mbit/s"),
        (&["show", "ports", "--all"], "rx_q0_errors"),
        (&["show", "workers"], "CYCLES/PKT"),
        (&["show", "instances"], "a     up"),
        (
            &["show", "instances", "--all"],
            "encap to fd00:1::d:11 by fabric, 02:00:00:00:01:01",
        ),
        (&["show", "flows", "--instance", "a"], ":4242"),
        (&["show", "classes"], "fd00:a9::1"),
        (&["show", "counters"], "counters of"),
        (&["show", "counters", "--all", "--worker", "1"], "hop_limit"),
        (&["show", "aft"], "2 of 16"),
        (
            &[
                "explain",
                "--class",
                "chat",
                "--label",
                "tool:search",
                "--prefix",
                "4:8cf47850",
                "--prompt-tokens",
                "4096",
            ],
            "a: the only candidate",
        ),
        (
            &[
                "explain",
                "--class",
                "chat",
                "--prompt-file",
                prompt,
                "--domain",
                "7",
                "--domain-key",
                key,
            ],
            "1,250 tokens",
        ),
        (&["drain", "a"], "a (11): was up, is draining (operator)"),
        (&["undrain", "a"], "was draining, is up"),
        (&["down", "b"], "is down (operator)"),
        (&["up", "12"], "b (12): was down, is up"),
        (&["reload"], "configuration 2 is in force"),
        (&["top", "--once", "--interval", "0.1"], "FLOWS/S"),
    ];
    for (args, expected) in cases {
        let output = afrctl(&lab.socket_path(), args).await;
        let out = text(&output.stdout);
        assert!(
            out.contains(expected),
            "{args:?}: {out}{}",
            text(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let json = [&["--json"][..], args].concat();
        let output = afrctl(&lab.socket_path(), &json).await;
        let parsed = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_status_tells_refused_from_not_asked() {
    let lab = Lab::settled().await;
    let socket = lab.socket_path();
    let nobody = afrctl(&socket, &["show", "aft"]).await;
    assert_eq!(nobody.status.code(), Some(2));
    assert!(
        text(&nobody.stderr).contains("does afrd run"),
        "{}",
        text(&nobody.stderr)
    );

    let limits = ServerLimits::default();
    let _serving = lab.serve(lab.backend.clone(), limits);
    let refused = afrctl(&socket, &["drain", "x"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "afrctl: no instance is called \"x\"; there are: a, b\n"
    );
    assert!(refused.stdout.is_empty());
    for wrong in [
        &["shwo"][..],
        &["drain"],
        &["show", "flows", "--limit", "0"],
        &[],
    ] {
        assert_eq!(
            afrctl(&socket, wrong).await.status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    assert_eq!(afrctl(&socket, &["health"]).await.status.code(), Some(0));
    afrctl(&socket, &["drain", "b"]).await;
    let unwell = afrctl(&socket, &["health"]).await;
    assert_eq!(unwell.status.code(), Some(1));
    assert!(
        text(&unwell.stdout).contains("UNWELL"),
        "{}",
        text(&unwell.stdout)
    );
    let help = afrctl(&socket, &["explain", "--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("afrctl explain --class chat --label"));
}

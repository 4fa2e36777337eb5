//! The daemon as a process: what it says about files, its ready line, the API, reloads, signals, exit codes.

#![cfg(feature = "eal")]
#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

/// A machine's worth of configuration without privileges: ordinary memory, a ring for a port, one CPU for everything.
const CONFIG: &str = r#"[eal]
huge_pages = "off"
memory_mb = 64
mbufs = 2047
mbuf_bytes = 2048
[router]
cluster = 1
address = "fd00:af::1"
maglev_seed = "000102030405060708090a0b0c0d0e0f"
[workers]
lcores = [0]
idle = "sleep"
[[port]]
name = "fabric"
device = "net_ring0"
role = "inside"
[[neighbour]]
address = "fd00:1::11"
port = "fabric"
mac = "02:00:00:00:01:01"
[[service]]
prefix = "fd00:a9::/96"
[[class]]
id = 1
name = "chat"
[[instance]]
id = 11
name = "inst-1"
sid = "fd00:1::d:11"
via = "fd00:1::11"
classes = ["chat"]
[flows]
capacity = 1024
[limits]
instances = 16
signatures = 1024
[metrics]
listen = "127.0.0.1:0"
[api]
socket = "SOCKET"
"#;

struct Lab {
    directory: TempDir,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = Self { directory };
        lab.configure(|config| config);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, change: impl Fn(String) -> String) {
        let socket = self.path("afrd.sock").display().to_string();
        let config = change(CONFIG.replace("SOCKET", &socket));
        fs::write(self.path("afrd.toml"), config).unwrap();
    }

    fn afrctl(&self, arguments: &[&str]) -> Output {
        let mut afrctl = Command::new(env!("CARGO_BIN_EXE_afrctl"));
        afrctl.arg("--socket").arg(self.path("afrd.sock"));
        afrctl.args(arguments).output().unwrap()
    }
}

fn check(file: &Path) -> (Option<i32>, String, String) {
    let mut afrd = Command::new(env!("CARGO_BIN_EXE_afrd"));
    let output = afrd.arg("--check").arg(file).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A running daemon. Killed if a test ends before it does.
struct Daemon(Child);

impl Daemon {
    /// Starts it and waits for its ready line, which is returned.
    fn start(lab: &Lab) -> (Self, String) {
        let mut afrd = Command::new(env!("CARGO_BIN_EXE_afrd"));
        afrd.arg("--config").arg(lab.path("afrd.toml"));
        let mut child = afrd.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut ready).unwrap();
        (Self(child), ready)
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    fn end(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended by itself, where the test has come to its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn check_says_ok_or_what_is_wrong_and_exits_with_2() {
    let lab = Lab::new();
    let file = lab.path("afrd.toml");
    let ok = format!(
        "OK: {}: 1 port, 1 worker, 1 class, 1 instance\n",
        file.display()
    );
    assert_eq!(check(&file), (Some(0), ok, String::new()));

    lab.configure(|config| {
        config
            .replace("cluster = 1", "cluster = 0")
            .replace("id = 11", "id = 0")
    });
    let range = "expected 1 to 4294967295";
    let name = file.display();
    let wrong =
        format!("{name}:7: router.cluster = 0: {range}\n{name}:27: instance[0].id = 0: {range}\n");
    assert_eq!(check(&file), (Some(2), String::new(), wrong));

    let missing = lab.path("missing.toml");
    let (code, _, error) = check(&missing);
    assert_eq!(code, Some(2));
    assert!(
        error.starts_with(&format!("{}: No such file", missing.display())),
        "{error}"
    );
}

#[test]
fn a_daemon_comes_up_reloads_and_ends_cleanly() {
    let lab = Lab::new();
    let (mut daemon, ready) = Daemon::start(&lab);
    let begin = "afrd ready: 1 port, 1 worker, 1 class, 1 instance; API at ";
    assert!(ready.starts_with(begin), "{ready}");
    assert!(ready.contains("metrics at http://127.0.0.1:"), "{ready}");

    let health = lab.afrctl(&["health"]);
    assert!(health.status.success(), "{health:?}");
    let shown = |arguments: &[&str]| {
        let output = lab.afrctl(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown(&["show", "ports"]).contains("net_ring"));
    // Every worker has taken the first generation before the ready line.
    assert!(shown(&["show", "aft"]).contains("workers behind   0"));

    // A second daemon finds the socket taken, says so, and leaves the first alone.
    let second = Command::new(env!("CARGO_BIN_EXE_afrd"))
        .arg(lab.path("afrd.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        error.contains("another afrd listens there already"),
        "{error}"
    );

    lab.configure(|config| config.replace("inst-1", "inst-one"));
    assert!(shown(&["reload"]).contains("1 changed"));
    assert!(shown(&["show", "instances"]).contains("inst-one"));

    // A bad file, and one that takes a restart, leave the running configuration in force.
    for (right, wrong) in [
        ("cluster = 1", "cluster = 0"),
        ("capacity = 1024", "capacity = 2048"),
    ] {
        lab.configure(|config| config.replace(right, wrong).replace("inst-1", "inst-two"));
        let refused = lab.afrctl(&["reload"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(shown(&["show", "instances"]).contains("inst-one"));
    }

    daemon.signal("TERM");
    assert_eq!(daemon.end().code(), Some(0));
    assert!(!lab.path("afrd.sock").exists());
}

/// How an `afrd` ended that was given only so many file descriptors.
struct Starved {
    id: u32,
    status: ExitStatus,
    /// It came up, and was asked to end.
    is_up: bool,
    error: String,
}

fn starved(lab: &Lab, descriptors: u32) -> Starved {
    let mut shell = Command::new("sh");
    let line = format!("ulimit -n {descriptors} && exec \"$0\" \"$1\"");
    shell.args(["-c", &line, env!("CARGO_BIN_EXE_afrd")]);
    shell.arg(lab.path("afrd.toml"));
    let log = lab.path("log");
    shell.stderr(fs::File::create(&log).unwrap());
    let mut daemon = Daemon(shell.stdout(Stdio::piped()).spawn().unwrap());
    let mut ready = String::new();
    let mut stdout = BufReader::new(daemon.0.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    let is_up = ready.starts_with("afrd ready");
    if is_up {
        daemon.signal("TERM");
    }
    Starved {
        id: daemon.0.id(),
        status: daemon.end(),
        is_up,
        error: fs::read_to_string(&log).unwrap(),
    }
}

#[test]
fn wherever_a_start_fails_it_stops_what_it_started_and_leaves_nothing() {
    let lab = Lab::new();
    // It runs out of file descriptors ever later: in the EAL, at the port, at the management threads, at the sockets.
    // From some number on it comes up.
    let mut failed_late = 0;
    let came_up = (4..256).any(|descriptors| {
        let Starved {
            id,
            status,
            is_up,
            error,
        } = starved(&lab, descriptors);
        let of = format!("with {descriptors} descriptors: {error}");
        let left = Path::new("/var/run/dpdk").join(format!("afrd-{id}"));
        // The loader needs some for the program's libraries, and the EAL gives up in its own ways: it aborts, or leaves
        // no descriptor to look into its directory with.
        let by_eal = ["PANIC in ", "DPDK does not start"];
        if status.code() == Some(127) || by_eal.iter().any(|own| error.contains(own)) {
            // It may not be there.
            let _ = fs::remove_dir_all(&left);
            return false;
        }
        // By itself, not by a signal, which is what a worker on memory that is gone would get. Where tokio finds no
        // descriptor for its signals it panics: that is a way out as well.
        let codes: &[i32] = if is_up { &[0] } else { &[1, 101] };
        assert!(
            status.code().is_some_and(|code| codes.contains(&code)),
            "{status} {of}"
        );
        assert!(!lab.path("afrd.sock").exists(), "{of}");
        assert!(!left.exists(), "{} is left {of}", left.display());
        failed_late += u32::from(!is_up);
        is_up
    });
    assert!(came_up && failed_late > 1);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let lab = Lab::new();
    lab.configure(|config| config.replace("net_ring0", "net_af_packet0,iface=nowhere0"));
    let output = Command::new(env!("CARGO_BIN_EXE_afrd"))
        .arg(lab.path("afrd.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap();
    assert!(last.starts_with("afrd: "), "{error}");
    assert!(last.contains("net_af_packet0"), "{error}");
    // What DPDK says is told once, though every error on the way quotes its cause.
    let tail = last.rsplit(": ").next().unwrap();
    assert_eq!(last.matches(tail).count(), 1, "{error}");
}

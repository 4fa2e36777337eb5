//! The programs that are measured: `afrd`, and `dpdk-testpmd` in its forwarding modes.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::frames::{self, Frames};
use super::place::Place;
use super::telemetry::Telemetry;
use crate::lab::Interrupt;

/// A program under measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The AFR.
    Afr,
    /// testpmd that receives and transmits.
    Io,
    /// testpmd that swaps Ethernet addresses.
    MacSwap,
    /// testpmd that swaps Ethernet and IP addresses and ports: reads and writes the headers the AFR reads and writes,
    /// without look-up, state or encapsulation.
    FiveTupleSwap,
}

impl Program {
    /// All of them, in the order in which a round runs them.
    pub const ALL: [Self; 4] = [Self::Afr, Self::Io, Self::MacSwap, Self::FiveTupleSwap];

    /// The program's name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Afr => "afr",
            Self::Io => "testpmd-io",
            Self::MacSwap => "testpmd-macswap",
            Self::FiveTupleSwap => "testpmd-5tswap",
        }
    }
}

/// Where and on what a program runs.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Its directory and huge pages.
    pub place: &'a Place,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Capture file of the frames.
    pub pcap: PathBuf,
    /// CPU of the worker.
    pub worker_cpu: u32,
    /// CPU of everything else.
    pub main_cpu: u32,
    /// The `afrd` to run.
    pub afrd: PathBuf,
    /// The `dpdk-testpmd` to run.
    pub testpmd: PathBuf,
    /// Instances that share the flows.
    pub instances: usize,
    /// Flow table entries.
    pub flow_capacity: usize,
    /// Frames in the capture file, which the program holds in packet buffers.
    pub frames: usize,
    /// How long rates are taken over, after a second of warming up.
    pub window: Duration,
}

/// Stops the process when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both programs leave at the end of standard input or at the signal; neither has anything to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Setup<'_> {
    /// Runs `program` and returns the packets a second that it transmitted.
    ///
    /// # Errors
    ///
    /// It does not start, or it loses more than one packet in a thousand.
    pub fn measure(&self, program: Program, round: usize) -> anyhow::Result<f64> {
        let prefix = format!("{}-{}-{round}", self.place.tag(), program.name());
        let log = self.place.directory().join(format!("{prefix}.log"));
        let mut command = match program {
            Program::Afr => self.afrd(&prefix)?,
            Program::Io => self.testpmd(&prefix, "io"),
            Program::MacSwap => self.testpmd(&prefix, "macswap"),
            Program::FiveTupleSwap => self.testpmd(&prefix, "5tswap"),
        };
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        self.place.note_program(child.id())?;
        let running = Running(child);
        let measured = Telemetry::connect(&prefix, Duration::from_secs(30)).and_then(|mut told| {
            let mut waited = 0;
            while told.counts(0)?.transmitted == 0 {
                if waited == 200 {
                    bail!("it transmits nothing");
                }
                waited += 1;
                if self.interrupt.is_raised() {
                    bail!("interrupted");
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            told.rate(0, Duration::from_secs(1), &self.interrupt)?;
            told.rate(0, self.window, &self.interrupt)
        });
        drop(running);
        let _ = fs::remove_dir_all(format!("/var/run/dpdk/{prefix}"));
        let (received, transmitted) = measured.with_context(|| {
            let tail = fs::read_to_string(&log).unwrap_or_default();
            format!(
                "{} failed; its log ends:\n{}",
                program.name(),
                last_lines(&tail)
            )
        })?;
        if transmitted < 0.999 * received {
            bail!(
                "{} transmits {transmitted:.0} of {received:.0} packets a second: it drops what it should forward",
                program.name()
            );
        }
        Ok(transmitted)
    }

    fn device(&self) -> String {
        format!("net_pcap0,rx_pcap={},infinite_rx=1", self.pcap.display())
    }

    /// Packet buffers: the driver's copy of every frame, and what is on the way.
    fn mbufs(&self) -> usize {
        (self.frames + 8_192).next_power_of_two() - 1
    }

    fn eal(&self, prefix: &str) -> Vec<String> {
        let mut args = vec!["--no-pci".to_owned(), format!("--file-prefix={prefix}")];
        match self.place.huge_dir() {
            Some(directory) => args.extend([
                format!("--huge-dir={}", directory.display()),
                // What is killed leaves no file there that keeps its pages.
                "--huge-unlink=always".to_owned(),
            ]),
            None => args.extend(["--no-huge".to_owned(), "-m".to_owned(), "2048".to_owned()]),
        }
        args
    }

    fn testpmd(&self, prefix: &str, mode: &str) -> Command {
        let mut command = Command::new(&self.testpmd);
        command
            .args(["-l", &format!("{},{}", self.main_cpu, self.worker_cpu)])
            .args(self.eal(prefix))
            .args(["--vdev", &self.device(), "--"])
            .args(["--auto-start", "--nb-cores=1", "--no-flush-rx"])
            .arg(format!("--forward-mode={mode}"))
            .arg(format!("--total-num-mbufs={}", self.mbufs()));
        command
    }

    fn afrd(&self, prefix: &str) -> anyhow::Result<Command> {
        let path = self.place.directory().join("afrd.toml");
        fs::write(&path, self.configuration(prefix))?;
        let mut command = Command::new(&self.afrd);
        command.arg("--config").arg(path);
        Ok(command)
    }

    fn configuration(&self, prefix: &str) -> String {
        let secret: String = frames::MASTER.iter().map(|b| format!("{b:02x}")).collect();
        let huge_dir = self.place.huge_dir();
        let huge_dir = huge_dir.map_or(String::new(), |directory| {
            format!(", \"--huge-dir={}\"", directory.display())
        });
        let mut text = format!(
            r#"
[eal]
args = ["--no-pci", "--file-prefix={prefix}"{huge_dir}]
huge_pages = "{huge_pages}"
mbufs = {mbufs}
mbuf_bytes = 2048

[router]
cluster = {cluster}
address = "2001:db8:ff::1"
sids = ["2001:db8:ff::5"]
maglev_seed = "62656e63686d61726b2062656e636821"

[workers]
lcores = [{worker}]
main_lcore = {main}
idle = "spin"

[[port]]
name = "replay"
device = "{device}"
role = "outside"
boundary = "accept"
mtu = 1600

[[neighbour]]
address = "2001:db8:5::1"
port = "replay"
mac = "02:00:00:00:05:01"

[trust]
replay_limit = 65535

[[catalogue]]
version = {catalogue}
salt = "62656e6368616673"
labels = []

[[key]]
id = {key}
secret = "{secret}"

[[service]]
prefix = "{service}/96"

[[class]]
id = {class}
name = "bench"

[flows]
capacity = {capacity}

[limits]
sessions = {sessions}

[api]
socket = "{directory}/afrd.sock"

[log]
level = "warn"
"#,
            huge_pages = if huge_dir.is_empty() {
                "off"
            } else {
                "require"
            },
            mbufs = self.mbufs(),
            cluster = frames::CLUSTER.0,
            worker = self.worker_cpu,
            main = self.main_cpu,
            device = self.device(),
            catalogue = frames::CATALOGUE.0,
            key = frames::KEY.0,
            service = frames::SERVICE,
            class = frames::CLASS.0,
            capacity = self.flow_capacity,
            sessions = self.frames.next_power_of_two().clamp(65_536, 1 << 22),
            directory = self.place.directory().display(),
        );
        for n in 1..=self.instances {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                r#"
[[instance]]
id = {n}
name = "instance-{n}"
sid = "2001:db8:5:1::{n:x}"
via = "2001:db8:5::1"
tunnel_source = "2001:db8:6::{n:x}"
classes = ["bench"]
"#
            );
        }
        text
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Writes the frames to a file for the programs to replay.
///
/// # Errors
///
/// Those of the file system.
pub fn write_frames(frames: &Frames, path: &Path) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    frames.write_pcap(&mut file)?;
    std::io::Write::flush(&mut file)?;
    Ok(())
}

/// Where `dpdk-testpmd` is.
///
/// # Errors
///
/// It is not installed.
pub fn find_testpmd() -> anyhow::Result<PathBuf> {
    const NAME: &str = "dpdk-testpmd";
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(NAME))
        .find(|file| file.is_file())
        .with_context(|| {
            format!("no {NAME} on PATH, in /usr/bin or /usr/local/bin: make install-deps (Debian's package is `dpdk`)")
        })
}

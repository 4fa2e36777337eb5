//! Port statistics of any running DPDK program, from its telemetry socket.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::lab::Interrupt;

/// Longest answer read.
const ANSWER_BYTES: usize = 16_384;

/// A connection to a DPDK program's telemetry.
#[derive(Debug)]
pub struct Telemetry {
    socket: Socket,
}

/// A port's packet counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Received.
    pub received: u64,
    /// Transmitted.
    pub transmitted: u64,
}

impl Telemetry {
    /// Connects to the program started with `--file-prefix=prefix`, waiting until it listens.
    ///
    /// # Errors
    ///
    /// None answers within `patience`, or it answers what is no telemetry.
    pub fn connect(prefix: &str, patience: Duration) -> anyhow::Result<Self> {
        let path = format!("/var/run/dpdk/{prefix}/dpdk_telemetry.v2");
        let deadline = Instant::now() + patience;
        let socket = loop {
            match Self::open(Path::new(&path)) {
                Ok(socket) => break socket,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("no telemetry at {path}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut telemetry = Self { socket };
        telemetry
            .read()
            .context("no greeting from DPDK's telemetry")?;
        Ok(telemetry)
    }

    fn open(path: &Path) -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(socket)
    }

    fn read(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut answer = vec![0; ANSWER_BYTES];
        let len = self.socket.read(&mut answer)?;
        Ok(serde_json::from_slice(&answer[..len])?)
    }

    /// The counts of port `port`.
    ///
    /// # Errors
    ///
    /// The program is gone, or has no such port.
    pub fn counts(&mut self, port: u16) -> anyhow::Result<Counts> {
        let command = format!("/ethdev/stats,{port}");
        self.socket.write_all(command.as_bytes())?;
        let answer = self.read()?;
        let field = |name: &str| answer["/ethdev/stats"][name].as_u64();
        match (field("ipackets"), field("opackets")) {
            (Some(received), Some(transmitted)) => Ok(Counts {
                received,
                transmitted,
            }),
            _ => bail!("telemetry says of port {port}: {answer}"),
        }
    }

    /// Packets a second received and transmitted by port `port` over `window`.
    ///
    /// # Errors
    ///
    /// As [`Self::counts`]; or someone asks to stop.
    pub fn rate(
        &mut self,
        port: u16,
        window: Duration,
        interrupt: &Interrupt,
    ) -> anyhow::Result<(f64, f64)> {
        let (before, start) = (self.counts(port)?, Instant::now());
        while let Some(left) = window.checked_sub(start.elapsed()) {
            if interrupt.is_raised() {
                bail!("interrupted");
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        let (after, seconds) = (self.counts(port)?, start.elapsed().as_secs_f64());
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        Ok((
            rate(before.received, after.received),
            rate(before.transmitted, after.transmitted),
        ))
    }
}

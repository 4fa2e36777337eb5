//! Port statistics of any running DPDK program, from its telemetry socket.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use socket2::{Domain, SockAddr, Socket, Type};

/// Longest answer read.
const ANSWER_BYTES: usize = 16_384;
/// All ports are read in this time, or read again: two in a thousand of a second's packets are lost in 2 ms.
const MOMENT: Duration = Duration::from_micros(200);
/// So often at the most.
const ATTEMPTS: usize = 50;

/// A connection to a DPDK program's telemetry.
#[derive(Debug)]
pub struct Telemetry {
    socket: Socket,
}

/// Packets that a program's ports counted, at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Received.
    pub received: u64,
    /// Transmitted.
    pub transmitted: u64,
}

impl Reading {
    /// Packets a second received and transmitted since `before`.
    #[must_use]
    pub fn rates_since(&self, before: &Self) -> (f64, f64) {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let rate = |from: u64, to: u64| {
            if seconds > 0.0 {
                to.saturating_sub(from) as f64 / seconds
            } else {
                0.0
            }
        };
        (
            rate(before.received, self.received),
            rate(before.transmitted, self.transmitted),
        )
    }
}

impl Telemetry {
    /// Connects to the program started with `--file-prefix=prefix`, if it listens.
    ///
    /// # Errors
    ///
    /// It does not, or answers what is no telemetry.
    pub fn connect(prefix: &str) -> anyhow::Result<Self> {
        let path = format!("/var/run/dpdk/{prefix}/dpdk_telemetry.v2");
        let mut telemetry = Self {
            socket: Self::open(Path::new(&path))?,
        };
        telemetry.answer()?;
        Ok(telemetry)
    }

    fn open(path: &Path) -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(socket)
    }

    fn answer(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut answer = vec![0; ANSWER_BYTES];
        let len = self.socket.read(&mut answer)?;
        Ok(serde_json::from_slice(&answer[..len])?)
    }

    /// The sums over so many ports, from port 0 on.
    ///
    /// # Errors
    ///
    /// The program is gone, or has not so many ports.
    pub fn read(&mut self, ports: u16) -> anyhow::Result<Reading> {
        // Of one moment: what one port has received is held against what another has sent.
        for _ in 1..ATTEMPTS {
            let reading = self.read_once(ports)?;
            if reading.at.elapsed() <= MOMENT {
                return Ok(reading);
            }
        }
        self.read_once(ports)
    }

    fn read_once(&mut self, ports: u16) -> anyhow::Result<Reading> {
        let mut reading = Reading {
            at: Instant::now(),
            received: 0,
            transmitted: 0,
        };
        for port in 0..ports {
            let command = format!("/ethdev/stats,{port}");
            self.socket.write_all(command.as_bytes())?;
            let answer = self.answer()?;
            let field = |name: &str| answer["/ethdev/stats"][name].as_u64();
            let (Some(received), Some(transmitted)) = (field("ipackets"), field("opackets")) else {
                bail!("telemetry says of port {port}: {answer}");
            };
            reading.received += received;
            reading.transmitted += transmitted;
        }
        Ok(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let at = Instant::now();
        let before = Reading {
            at,
            received: 100,
            transmitted: 50,
        };
        let after = Reading {
            at: at + Duration::from_secs(2),
            received: 300,
            transmitted: 150,
        };
        assert_eq!(after.rates_since(&before), (100.0, 50.0));
        assert_eq!(before.rates_since(&before), (0.0, 0.0));
    }
}

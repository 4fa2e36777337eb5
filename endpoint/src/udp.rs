//! Reports as datagrams: the same payload to every AFR of the cluster.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// A socket that never blocks, and whom it reports to.
#[derive(Debug)]
pub struct ReportSocket {
    socket: UdpSocket,
    targets: Vec<SocketAddrV6>,
}

/// What became of one report.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// AFRs it went to.
    pub sent: usize,
    /// AFRs it could not be sent to: no route, full buffer, or an earlier datagram refused. The next one may.
    pub failed: usize,
}

impl ReportSocket {
    /// A socket that sends from `source` (the unspecified address: the kernel's choice) to `targets`.
    ///
    /// # Errors
    ///
    /// The kernel's, for example if `source` is not an address of this host.
    pub fn bind(source: Ipv6Addr, targets: Vec<SocketAddrV6>) -> io::Result<Self> {
        let socket = UdpSocket::bind((source, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, targets })
    }

    /// Whether there is anyone to report to.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Sends one report to everyone. A target that fails never keeps the others from it.
    pub fn send(&self, report: &[u8]) -> Sent {
        let mut outcome = Sent::default();
        for target in &self.targets {
            match self.socket.send_to(report, SocketAddr::V6(*target)) {
                Ok(_) => outcome.sent += 1,
                Err(_) => outcome.failed += 1,
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_gets_the_report_whoever_fails() {
        let receivers = [0; 2].map(|_| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap());
        let mut targets: Vec<SocketAddrV6> = receivers
            .iter()
            .filter_map(|socket| match socket.local_addr() {
                Ok(SocketAddr::V6(address)) => Some(address),
                _ => None,
            })
            .collect();
        // Port 0 is nobody's.
        targets.insert(0, SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
        let socket = ReportSocket::bind(Ipv6Addr::UNSPECIFIED, targets).unwrap();
        assert_eq!(socket.send(b"report"), Sent { sent: 2, failed: 1 });
        for receiver in receivers {
            let mut buffer = [0; 16];
            let (length, _) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"report");
        }
    }
}

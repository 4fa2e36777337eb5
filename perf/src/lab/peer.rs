//! Real TCP connections that carry checked bytes: clients, and servers that know which instance they are.
//!
//! A server sends its name and a line feed, then gives back what it gets. So a client knows whom it reached, and
//! whether every byte of both directions came through; a connection that moves to another instance cannot go on
//! unnoticed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use afr_endpoint::sockopt::{SockoptError, set_destination_options};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::{Namespace, NamespaceError};

/// How long a connection may stand still: on a busy machine TCP sends again after ever longer times.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that are on their way at once where a client sends and reads in turn.
const CHUNK: usize = 8 * 1_024;

/// What went wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The metadata cannot be put on the socket.
    #[error(transparent)]
    Option(#[from] SockoptError),
    /// It is not established.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// It breaks.
    #[error("connection to {instance}: {source}")]
    Broken {
        /// The instance at its other end, if it told.
        instance: String,
        /// What the system says.
        source: io::Error,
    },
    /// Bytes come back that were not sent.
    #[error("connection to {instance}: other bytes than were sent come back after byte {position}")]
    OtherBytes {
        /// The instance at its other end.
        instance: String,
        /// Bytes that were right.
        position: u64,
    },
}

/// A server on all addresses of a namespace. Dropped, it closes its connections.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `port`.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or the port is taken.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, PeerError> {
        let listener = namespace
            .inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?
            .map_err(PeerError::Connect)?;
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (held, name) = (Arc::clone(&streams), name.to_owned());
        let accepting = listener.try_clone().map_err(PeerError::Connect)?;
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if let Ok(clone) = stream.try_clone() {
                    held.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(clone);
                }
                let name = name.clone();
                // A connection that breaks is seen by its client.
                thread::spawn(move || serve(stream, &name));
            }
        });
        Ok(Self {
            listener,
            streams,
            acceptor: Some(acceptor),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread in `accept`.
        let _ = uapi::shutdown(self.listener.as_raw_fd(), uapi::c::SHUT_RDWR);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let streams = self.streams.lock();
        for stream in streams.unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Tells the name, then gives back what comes, to the end.
fn serve(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// How a client connects.
#[derive(Copy, Clone, Debug)]
pub struct Dial<'a> {
    /// Its address, any port.
    pub from: Ipv6Addr,
    /// Where to.
    pub to: SocketAddrV6,
    /// Destination Options on every packet, if any.
    pub header: Option<&'a [u8]>,
    /// How long it waits for an answer.
    pub patience: Duration,
}

impl<'a> Dial<'a> {
    /// Without metadata.
    #[must_use]
    pub const fn plain(from: Ipv6Addr, to: SocketAddrV6) -> Self {
        Self {
            from,
            to,
            header: None,
            patience: PATIENCE,
        }
    }

    /// The same with metadata.
    #[must_use]
    pub const fn with(self, header: &'a [u8]) -> Self {
        Self {
            header: Some(header),
            ..self
        }
    }

    fn connect(&self) -> Result<TcpStream, PeerError> {
        let make = || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddrV6::new(self.from, 0, 0, 0).into())?;
            Ok(socket)
        };
        let socket = make().map_err(PeerError::Connect)?;
        if let Some(header) = self.header {
            set_destination_options(&socket, header)?;
        }
        let finish = || {
            socket.connect_timeout(&self.to.into(), self.patience)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.set_tcp_nodelay(true)
        };
        finish().map_err(PeerError::Connect)?;
        Ok(socket.into())
    }
}

/// A connection from a client.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    instance: String,
    /// Bytes sent and had back so far; what byte comes next follows from it.
    position: u64,
}

impl Client {
    /// Connects from inside `namespace`, and waits for the server's name.
    ///
    /// # Errors
    ///
    /// [`PeerError`].
    pub fn connect(namespace: &Namespace, dial: &Dial<'_>) -> Result<Self, PeerError> {
        let stream = namespace.inside(|| dial.connect())??;
        let mut stream = BufReader::new(stream);
        let mut instance = String::new();
        let broken = |source| PeerError::Broken {
            instance: "nobody yet".to_owned(),
            source,
        };
        stream.read_line(&mut instance).map_err(broken)?;
        if !instance.ends_with('\n') {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self {
            stream,
            instance: instance.trim_end().to_owned(),
            position: 0,
        })
    }

    /// The name that the server gave.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends `length` bytes, has them back and compares each, some at a time.
    ///
    /// # Errors
    ///
    /// The connection breaks, stands still, or gives back other bytes.
    pub fn exchange(&mut self, length: usize) -> Result<(), PeerError> {
        let mut left = length;
        while left > 0 {
            let part = left.min(CHUNK);
            let sent = bytes(self.position, part);
            let outcome = self.stream.get_mut().write_all(&sent);
            outcome.map_err(|source| self.broken(source))?;
            self.compare(&sent)?;
            left -= part;
        }
        Ok(())
    }

    /// Sends `length` bytes as fast as they go, reading at the same time, and compares each.
    ///
    /// # Errors
    ///
    /// As [`Client::exchange`].
    pub fn flood(&mut self, length: usize) -> Result<(), PeerError> {
        let sent = bytes(self.position, length);
        let writer = self.stream.get_ref().try_clone();
        let mut writer = writer.map_err(|source| self.broken(source))?;
        thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_all(&sent));
            let mut outcome = Ok(());
            for part in sent.chunks(CHUNK) {
                outcome = self.compare(part);
                if outcome.is_err() {
                    // The writer may be waiting for room that nobody makes any more.
                    let _ = self.stream.get_ref().shutdown(Shutdown::Both);
                    break;
                }
            }
            let written = writing
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            outcome?;
            written.map_err(|source| self.broken(source))
        })
    }

    /// Waits until the connection breaks, for as long as one may stand still, and says how. `None`: it does not.
    pub fn end(&mut self) -> Option<io::ErrorKind> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Some(io::ErrorKind::UnexpectedEof),
            Ok(_) => None,
            // What a read time-out is called differs.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(error.kind()),
        }
    }

    fn compare(&mut self, expected: &[u8]) -> Result<(), PeerError> {
        let mut received = vec![0; expected.len()];
        let outcome = self.stream.read_exact(&mut received);
        outcome.map_err(|source| self.broken(source))?;
        let right = received.iter().zip(expected).take_while(|(a, b)| a == b);
        let right = right.count() as u64;
        self.position += right;
        if right == expected.len() as u64 {
            return Ok(());
        }
        Err(PeerError::OtherBytes {
            instance: self.instance.clone(),
            position: self.position,
        })
    }

    fn broken(&self, source: io::Error) -> PeerError {
        PeerError::Broken {
            instance: self.instance.clone(),
            source,
        }
    }
}

/// The bytes of a connection from `position` on: no two places a short way apart are alike.
fn bytes(position: u64, length: usize) -> Vec<u8> {
    let at = |place: u64| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (position..position + length as u64).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Interrupt, Lab, LabSpec, client_address, service_address};

    #[test]
    fn bytes_follow_from_their_place_alone() {
        let all = bytes(0, 1_000);
        assert_eq!(bytes(300, 200), all[300..500]);
        assert_ne!(all[..500], all[500..]);
    }

    /// The kernel's part of the lab without `afrd`: a host that encapsulates by hand stands in its place.
    #[test]
    fn instance_hosts_take_encapsulated_packets_and_tunnel_back() {
        let lab = Lab::build(LabSpec::default(), &Interrupt::by_hand()).unwrap();
        let host = lab.host(2).unwrap();
        let _server = Server::start(&host.namespace, "i2", 8000).unwrap();
        stand_in(&lab, 2);
        let to = SocketAddrV6::new(service_address(1), 8000, 0, 0);
        let dial = Dial::plain(client_address(1), to);
        let mut client = Client::connect(&lab.client, &dial).unwrap();
        assert_eq!(client.instance(), "i2");
        client.exchange(100_000).unwrap();
        client.flood(1_000_000).unwrap();
        drop(_server);
        assert_eq!(client.end(), Some(io::ErrorKind::UnexpectedEof));
    }

    /// The AFR's host as a kernel router that sends everything to instance `number`.
    fn stand_in(lab: &Lab, number: u8) {
        use crate::lab::{AFR_SID, SERVICE_PREFIX};
        let (router, host) = (&lab.router, lab.host(number).unwrap());
        for interface in ["edge", "fabric"] {
            let key = |what: &str| format!("net.ipv6.conf.{interface}.{what}");
            router.sysctl(&key("disable_ipv6"), 0).unwrap();
            router.sysctl(&key("seg6_enabled"), 1).unwrap();
        }
        router.sysctl("net.ipv6.conf.all.seg6_enabled", 1).unwrap();
        router.sysctl("net.ipv6.conf.all.forwarding", 1).unwrap();
        let commands = [
            "addr add 2001:db8:c::1/64 dev edge nodad".to_owned(),
            "addr add fd00:1::1/64 dev fabric nodad".to_owned(),
            format!("neigh add {} lladdr {} dev fabric", host.address, host.mac),
            format!(
                "neigh add {} lladdr 02:af:00:00:0c:02 dev edge",
                client_address(1)
            ),
            format!("route add {}/128 via {} dev fabric", host.sid, host.address),
            format!(
                "route add {SERVICE_PREFIX}/96 encap seg6 mode encap.red segs {} dev fabric",
                host.sid
            ),
            format!("route add {AFR_SID}/128 encap seg6local action End.DT6 table 254 dev fabric"),
        ];
        for command in commands {
            router.ip(&command).unwrap();
        }
    }
}

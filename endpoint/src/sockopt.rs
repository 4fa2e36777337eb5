//! The Destination Options header of an ordinary socket (RFC 3542 §9).
//!
//! On a client's socket the header goes on the SYN and on every later segment; on a UDP socket on every datagram. On a
//! listener it goes on the SYN-ACK and is inherited by the accepted sockets. There it must not be added or
//! lengthened later: the MSS is settled by then, and full-size segments would no longer fit. So a listener gets a
//! header of the largest length before its first connection, and later updates keep to that length.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use uapi::c::{EPERM, IPPROTO_IPV6, IPV6_DSTOPTS};

/// The longest header of options there is, in bytes: its length field counts 8-octet units in 8 bits.
pub const MAX_HEADER_LEN: usize = 8 * 256;

/// Why a socket's header could not be set or read.
#[derive(Debug, thiserror::Error)]
pub enum SockoptError {
    /// The bytes are not one whole options header: a multiple of 8 that its second byte agrees with.
    #[error("{found} bytes are not an options header")]
    NotAHeader {
        /// How many bytes there were.
        found: usize,
    },
    /// The process lacks the capability (in the socket's network namespace).
    #[error("IPV6_DSTOPTS needs CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` the program")]
    NotPermitted,
    /// The kernel refuses for another reason, for example on an IPv4 socket.
    #[error("IPV6_DSTOPTS: {0}")]
    Os(#[source] io::Error),
}

impl From<uapi::Errno> for SockoptError {
    fn from(errno: uapi::Errno) -> Self {
        match errno.0 {
            EPERM => Self::NotPermitted,
            code => Self::Os(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Makes `socket` send `header` with every packet from now on. Its next-header byte is the kernel's to fill in.
///
/// # Errors
///
/// [`SockoptError`]; the socket is then as it was.
pub fn set_destination_options(socket: &impl AsFd, header: &[u8]) -> Result<(), SockoptError> {
    let agrees = |units: &u8| (usize::from(*units) + 1) * 8 == header.len();
    if !header.get(1).is_some_and(agrees) {
        return Err(SockoptError::NotAHeader {
            found: header.len(),
        });
    }
    set(socket, header)
}

/// Makes `socket` send no Destination Options header any more.
///
/// # Errors
///
/// [`SockoptError`]; the socket is then as it was.
pub fn clear_destination_options(socket: &impl AsFd) -> Result<(), SockoptError> {
    set(socket, &[])
}

fn set(socket: &impl AsFd, header: &[u8]) -> Result<(), SockoptError> {
    let fd = socket.as_fd().as_raw_fd();
    Ok(uapi::setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, header)?)
}

/// The header that `socket` sends; empty if it sends none.
///
/// # Errors
///
/// [`SockoptError::Os`] if `socket` is not one of IPv6.
pub fn destination_options(socket: &impl AsFd) -> Result<Vec<u8>, SockoptError> {
    let mut header = vec![0; MAX_HEADER_LEN];
    let fd = socket.as_fd().as_raw_fd();
    let length = uapi::getsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, header.as_mut_slice())?;
    header.truncate(length);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use afr_wire::{OPTION_TYPE, carrier};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn header(data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; carrier::header_len(data.len())];
        carrier::emit_options_header(0, OPTION_TYPE, data, &mut out).unwrap();
        out
    }

    /// Sets the header, or says that the test cannot: without CAP_NET_RAW there is nothing to see.
    fn try_set(socket: &impl AsFd, header: &[u8]) -> bool {
        match set_destination_options(socket, header) {
            Ok(()) => true,
            Err(SockoptError::NotPermitted) => {
                eprintln!("skipped: needs CAP_NET_RAW");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_is_no_header_never_reaches_the_kernel() {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        for bytes in [&[][..], &[0, 0, 1], &[0, 1, 1, 4, 0, 0, 0, 0], &[0; 12]] {
            let error = set_destination_options(&socket, bytes).unwrap_err();
            assert!(
                matches!(error, SockoptError::NotAHeader { found } if found == bytes.len()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_header_is_set_changed_and_cleared() {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(destination_options(&socket).unwrap(), []);
        for data in [&[0xaf_u8; 52][..], &[0x5a; 116]] {
            if !try_set(&socket, &header(data)) {
                return;
            }
            // The first byte is the next header, which is the kernel's.
            assert_eq!(
                destination_options(&socket).unwrap()[1..],
                header(data)[1..]
            );
        }
        clear_destination_options(&socket).unwrap();
        assert_eq!(destination_options(&socket).unwrap(), []);
    }

    /// With `TCP_SAVE_SYN` a listener keeps the network and transport headers of the SYNs it gets.
    #[test]
    fn the_header_is_on_the_syn() {
        // linux/tcp.h; the libc crate has neither.
        const SAVE_SYN: i32 = 27;
        const SAVED_SYN: i32 = 28;
        const TCP: i32 = uapi::c::IPPROTO_TCP;

        let listener = TcpListener::bind("[::1]:0").unwrap();
        uapi::setsockopt(listener.as_raw_fd(), TCP, SAVE_SYN, &1_i32).unwrap();
        let client = uapi::socket(uapi::c::AF_INET6, uapi::c::SOCK_STREAM, 0).unwrap();
        let sent = header(&[0xaf; 52]);
        if !try_set(&client, &sent) {
            return;
        }
        // The standard library connects only sockets that it makes itself.
        let address = uapi::c::sockaddr_in6 {
            sin6_family: uapi::c::AF_INET6 as _,
            sin6_port: listener.local_addr().unwrap().port().to_be(),
            sin6_addr: uapi::c::in6_addr {
                s6_addr: std::net::Ipv6Addr::LOCALHOST.octets(),
            },
            ..uapi::pod_zeroed()
        };
        uapi::connect(client.as_raw_fd(), &address).unwrap();

        let (accepted, _) = listener.accept().unwrap();
        let mut syn = [0_u8; 512];
        let length = uapi::getsockopt(accepted.as_raw_fd(), TCP, SAVED_SYN, &mut syn[..]).unwrap();
        let syn = &syn[..length];
        assert_eq!(
            syn[6], 60,
            "the IPv6 header is followed by Destination Options"
        );
        assert_eq!(syn[40], 6, "which is followed by TCP");
        assert_eq!(syn[41..40 + sent.len()], sent[1..]);
    }

    /// The listener's placeholder is inherited, and an update of the same length leaves full-size segments intact.
    #[test]
    fn a_placeholder_is_inherited_and_replaced_under_traffic() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let placeholder = header(&[0; 136]);
        if !try_set(&listener, &placeholder) {
            return;
        }
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(
            destination_options(&accepted).unwrap()[1..],
            placeholder[1..]
        );
        set_destination_options(&accepted, &header(&[7; 136])).unwrap();
        let sent: Vec<u8> = (0..400_000_u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || accepted.write_all(&sent));
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(received == expected);
    }
}

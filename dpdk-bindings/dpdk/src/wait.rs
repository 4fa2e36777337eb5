//! Waiting for packets instead of asking for them again and again, where the kernel delivers them.
//!
//! DPDK's `net_af_packet` can only be polled: it has no receive interrupts. But its packet sockets are the kernel's, and the
//! kernel wakes who waits for them with `poll`, whoever looks at their rings. So a thread that does so may sleep without being
//! late.

use std::ffi::{CString, c_int};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;
use std::{fs, io};

/// The packet sockets that this process has bound to the interface, those that were opened first in front: `net_af_packet` opens its
/// queues' in their order. They are duplicates: they may be closed without the driver's being closed.
///
/// # Errors
///
/// There is no such interface, or `/proc` does not tell of its sockets.
pub fn packet_sockets(interface: &str) -> io::Result<Vec<OwnedFd>> {
    let name = CString::new(interface)?;
    // SAFETY: the name is a string that ends in a NUL and outlives the call, which only reads it.
    let index = match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => return Err(io::Error::last_os_error()),
        index => index,
    };
    let table = fs::read_to_string("/proc/self/net/packet")?;
    let inodes = bound_to(&table, index);
    let mut numbers: Vec<c_int> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // One that was closed since is none of ours.
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
        if inode.is_some_and(|inode| inodes.contains(&inode))
            && let Some(number) = entry.file_name().to_str().and_then(|n| n.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    let duplicate = |number: c_int| {
        // SAFETY: the number is of a descriptor that was open a moment ago. If somebody has closed it since, the duplication fails
        // or duplicates what has the number now; it writes and closes nothing, and the borrow ends with it.
        unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
    };
    numbers.into_iter().map(duplicate).collect()
}

/// The inodes of the sockets that a table like `/proc/net/packet` shows to be bound to the interface.
fn bound_to(table: &str, index: u32) -> Vec<&str> {
    let mut lines = table.lines();
    let columns: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let column = |name| columns.iter().position(|column| *column == name);
    let (Some(interface), Some(inode)) = (column("Iface"), column("Inode")) else {
        return Vec::new();
    };
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_bound = fields.get(interface)?.parse() == Ok(index);
            is_bound.then_some(*fields.get(inode)?)
        })
        .collect()
}

/// Waits for any of some sockets.
#[derive(Debug)]
pub struct Waiter {
    polled: Vec<libc::pollfd>,
    /// What `polled` has the numbers of, in its order.
    sockets: Vec<OwnedFd>,
}

impl Waiter {
    /// For these.
    #[must_use]
    pub fn new(sockets: Vec<OwnedFd>) -> Self {
        let polled = sockets.iter().map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        Self {
            polled: polled.collect(),
            sockets,
        }
    }

    /// Waits until something can be received, at most so long. Returns whether it can.
    ///
    /// # Errors
    ///
    /// What one of the sockets, or the call, reports; for a socket it is reported once, such as that its interface is down. The
    /// wait may have been no wait then.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<bool> {
        let at_most = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let count = self.polled.len() as libc::nfds_t;
        // SAFETY: `polled` is `count` entries, which the call reads and writes and keeps no hold of; their descriptors are open, for
        // `sockets` owns them; the timespec outlives the call, and no signal mask is given.
        let ready = unsafe {
            libc::ppoll(
                self.polled.as_mut_ptr(),
                count,
                &raw const at_most,
                std::ptr::null(),
            )
        };
        match ready {
            0 => Ok(false),
            1.. => self.look(),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn look(&self) -> io::Result<bool> {
        for (polled, socket) in self.polled.iter().zip(&self.sockets) {
            if polled.revents & libc::POLLERR != 0 {
                return Err(take_error(socket));
            }
            if polled.revents & (libc::POLLHUP | libc::POLLNVAL) != 0 {
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
        Ok(true)
    }
}

/// The error that waits at the socket, which does not wait any more then.
fn take_error(socket: &OwnedFd) -> io::Error {
    let mut error: c_int = 0;
    let mut len = size_of_val(&error) as libc::socklen_t;
    // SAFETY: the descriptor is open, for it is owned; the option is an integer, which is what the pointer and the length are of.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => io::Error::from_raw_os_error(error),
        _ => io::Error::last_os_error(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "failing is what a check is for")]

    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn sockets_of_an_interface_are_found_by_the_columns_names() {
        let table = "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n\
            000000001d5ce3a3 3      3    0003   2     1 0      0      3141\n\
            00000000c5d1c3a1 3      3    0003   3     1 0      0      2718\n\
            0000000000000000 3      3    0003   2     1 0      0      1618\n\
            too short\n";
        assert_eq!(bound_to(table, 2), ["3141", "1618"]);
        assert_eq!(bound_to(table, 3), ["2718"]);
        assert!(bound_to(table, 4).is_empty());
        assert!(bound_to("sk Type\n1 2", 2).is_empty(), "no such columns");
        assert!(bound_to("", 2).is_empty());
        assert!(packet_sockets("no-such-interface").is_err());
        assert!(packet_sockets("nul\0").is_err());
    }

    #[test]
    fn a_wait_ends_with_what_comes_or_with_its_time() {
        let receiver = UdpSocket::bind("[::1]:0").unwrap();
        let sender = UdpSocket::bind("[::1]:0").unwrap();
        let mut waiter = Waiter::new(vec![receiver.try_clone().unwrap().into()]);
        assert!(!waiter.wait(Duration::from_millis(1)).unwrap(), "nothing");
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        sender.send(b"x").unwrap();
        assert!(waiter.wait(Duration::from_secs(100)).unwrap());
        let mut byte = [0];
        receiver.recv(&mut byte).unwrap();
        assert!(!waiter.wait(Duration::ZERO).unwrap(), "received");

        // What nobody receives any more is an error of the sender's, told once.
        drop((receiver, waiter));
        let mut waiter = Waiter::new(vec![sender.try_clone().unwrap().into()]);
        sender.send(b"x").unwrap();
        let error = waiter.wait(Duration::from_secs(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(!waiter.wait(Duration::ZERO).unwrap(), "told once");
    }
}

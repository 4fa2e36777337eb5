//! A pool of a fixed number of buffers that come back when dropped, as mbufs do: what is missing at the end was leaked,
//! and taking one allocates nothing.

use std::sync::Arc;

use afr_dataplane::packet::{HEADROOM, PacketBuf, PacketPool, VecBuf};
use crossbeam_queue::ArrayQueue;

/// Longest frame that a buffer takes.
pub(crate) const ROOM: usize = 2_048;

#[derive(Debug)]
pub(crate) struct Buf {
    inner: Option<VecBuf>,
    home: Arc<ArrayQueue<VecBuf>>,
    /// Pretends to lie in several pieces.
    pub(crate) segmented: bool,
    /// Holds the frame instead, where the thread has a device.
    #[cfg(feature = "eal")]
    mbuf: Option<dpdk::Mbuf>,
}

impl Buf {
    fn inner(&self) -> &dyn PacketBuf {
        #[cfg(feature = "eal")]
        if let Some(mbuf) = &self.mbuf {
            return mbuf;
        }
        self.inner.as_ref().unwrap()
    }

    fn inner_mut(&mut self) -> &mut dyn PacketBuf {
        #[cfg(feature = "eal")]
        if let Some(mbuf) = &mut self.mbuf {
            return mbuf;
        }
        self.inner.as_mut().unwrap()
    }

    /// Hands the frame to the device, where it is in a buffer of one.
    pub(crate) fn transmit(self) {
        #[cfg(feature = "eal")]
        {
            let mut this = self;
            if let Some(mbuf) = this.mbuf.take() {
                super::device::transmit(mbuf);
            }
        }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let back = self.home.push(self.inner.take().unwrap());
        assert!(back.is_ok(), "more buffers than there were");
    }
}

impl PacketBuf for Buf {
    fn data(&self) -> &[u8] {
        self.inner().data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.inner_mut().data_mut()
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.inner_mut().prepend(n)
    }

    fn has_headroom(&self, n: usize) -> bool {
        self.inner().has_headroom(n)
    }

    fn adj(&mut self, n: usize) -> bool {
        self.inner_mut().adj(n)
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.inner_mut().append(n)
    }

    fn truncate(&mut self, len: usize) -> bool {
        self.inner_mut().truncate(len)
    }

    fn is_contiguous(&self) -> bool {
        !self.segmented
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    free: Arc<ArrayQueue<VecBuf>>,
}

impl Pool {
    pub(crate) fn new(buffers: usize) -> Self {
        let free = ArrayQueue::new(buffers);
        for _ in 0..buffers {
            // With room for [`ROOM`] bytes from the start.
            free.push(VecBuf::new(&[])).unwrap();
        }
        Self {
            free: Arc::new(free),
        }
    }

    /// A buffer with a received frame in it.
    pub(crate) fn receive(&self, frame: &[u8]) -> Buf {
        assert!(frame.len() <= ROOM, "a frame of {} bytes", frame.len());
        let mut inner = self.free.pop().expect("the pool is empty");
        inner.refill(frame);
        let buf = Buf {
            inner: Some(inner),
            home: Arc::clone(&self.free),
            segmented: false,
            #[cfg(feature = "eal")]
            mbuf: super::device::receive(),
        };
        assert_eq!(buf.data(), frame, "the device has another frame");
        buf
    }

    /// The same with so little room before the frame.
    pub(crate) fn receive_with_headroom(&self, frame: &[u8], headroom: usize) -> Buf {
        let mut buf = self.receive(frame);
        let pad = HEADROOM - headroom;
        buf.prepend(pad).unwrap();
        buf.data_mut().copy_within(pad.., 0);
        let len = buf.data().len() - pad;
        assert!(buf.truncate(len));
        buf
    }

    /// Buffers that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Buffers in all.
    pub(crate) fn size(&self) -> usize {
        self.free.capacity()
    }
}

impl PacketPool for Pool {
    type Buf = Buf;

    fn alloc(&mut self) -> Option<Buf> {
        let mut inner = self.free.pop()?;
        inner.refill(&[]);
        Some(Buf {
            inner: Some(inner),
            home: Arc::clone(&self.free),
            segmented: false,
            #[cfg(feature = "eal")]
            mbuf: super::device::alloc(),
        })
    }
}

//! Packet buffers that cost little by themselves and come back when dropped, as mbufs do.

use std::cell::RefCell;
use std::rc::Rc;

use afr_dataplane::packet::{HEADROOM, PacketBuf, PacketPool};

/// Bytes of a buffer, headroom included.
const BYTES: usize = HEADROOM + 2_048;

/// Buffers that nobody has.
type Home = Rc<RefCell<Vec<Vec<u8>>>>;

/// A frame in a buffer of the pool.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    home: Home,
}

impl Drop for Frame {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home.borrow_mut().push(bytes);
    }
}

impl PacketBuf for Frame {
    #[inline]
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    #[inline]
    fn has_headroom(&self, n: usize) -> bool {
        self.start >= n
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(self.data_mut())
    }

    #[inline]
    fn adj(&mut self, n: usize) -> bool {
        let fits = self.end - self.start >= n;
        if fits {
            self.start += n;
        }
        fits
    }

    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let end = self.end + n;
        if end > self.bytes.len() {
            return None;
        }
        self.end = end;
        Some(self.data_mut())
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> bool {
        let fits = self.end - self.start >= len;
        if fits {
            self.end = self.start + len;
        }
        fits
    }

    #[inline]
    fn is_contiguous(&self) -> bool {
        true
    }
}

/// A pool of so many buffers.
#[derive(Debug)]
pub(crate) struct Pool {
    home: Home,
}

impl Pool {
    pub(crate) fn new(buffers: usize) -> Self {
        let home = (0..buffers).map(|_| vec![0; BYTES]).collect();
        Self {
            home: Rc::new(RefCell::new(home)),
        }
    }

    /// A buffer with a received frame in it.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Frame {
        let mut buf = self.alloc().expect("a buffer for every frame");
        buf.append(frame.len()).unwrap().copy_from_slice(frame);
        buf
    }
}

impl PacketPool for Pool {
    type Buf = Frame;

    fn alloc(&mut self) -> Option<Frame> {
        let bytes = self.home.borrow_mut().pop()?;
        Some(Frame {
            bytes,
            start: HEADROOM,
            end: HEADROOM,
            home: Rc::clone(&self.home),
        })
    }
}

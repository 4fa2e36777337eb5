//! One packet in a buffer of DPDK's.

use std::fmt;
use std::iter;
use std::ptr::NonNull;
use std::slice;

use arrayvec::ArrayVec;
use dpdk_sys::{mbuf as raw, rte_mbuf};

use crate::ledger::LEDGER;
use crate::prefetch;

/// A packet, and the buffer it lies in, owned: dropping it gives the buffer back to its pool, and a transmit queue that
/// accepts it takes it.
///
/// Most packets are one segment. A driver chains several when a frame is longer than the pool's buffers
/// ([`RxOffloads::SCATTER`](crate::RxOffloads::SCATTER)); [`Mbuf::data`] is the first one's bytes, [`Mbuf::len`]
/// counts them all.
///
/// One pointer wide: an array of these is the array of pointers that burst calls read
/// and write.
#[repr(transparent)]
pub struct Mbuf {
    /// Points to the first segment of a chain that nothing else refers to, with DPDK's invariants: in every segment
    /// `data_off + data_len <= buf_len`; in the first `pkt_len` is the sum of all `data_len`, `nb_segs` their number.
    mbuf: NonNull<rte_mbuf>,
}

// SAFETY: an Mbuf is the only reference to its chain, DPDK ties no mbuf to a thread, and pools take buffers back from
// any thread (rte_mempool's default operations are multi-producer).
unsafe impl Send for Mbuf {}

/// What the device found out about the checksum of the packet's TCP or UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4Checksum {
    /// Nothing: not asked for, not supported, or not such a packet.
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
}

impl Mbuf {
    /// Takes over an mbuf that DPDK handed out. The caller enters it in the ledger.
    ///
    /// # Safety
    /// `mbuf` is the first segment of a valid chain, and nothing else refers to any segment of it.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self { mbuf }
    }

    /// The first segment's bytes.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data_off + data_len <= buf_len, so the range lies in the segment's buffer. The EAL's memory is foreign
        // memory, always initialised. `&self` keeps writers away: they need `&mut self`.
        unsafe { slice::from_raw_parts(data_start(self.as_ptr()), self.first_len()) }
    }

    /// The first segment's bytes, to change.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `data`, and `&mut self` is the only reference to a buffer that has one owner.
        unsafe { slice::from_raw_parts_mut(data_start(self.as_ptr()), self.first_len()) }
    }

    /// Each segment's bytes, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut segment = self.as_ptr().cast_const();
        iter::from_fn(move || {
            if segment.is_null() {
                return None;
            }
            // SAFETY: a segment of our chain, which `&self` keeps as it is; its data lie in its buffer, see `data`.
            unsafe {
                let chunk =
                    slice::from_raw_parts(data_start(segment), raw::data_len(segment).into());
                segment = raw::next(segment);
                Some(chunk)
            }
        })
    }

    /// Bytes in all segments.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the mbuf is live and ours.
        unsafe { raw::pkt_len(self.as_ptr()) as usize }
    }

    /// Whether the packet has no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of segments, at least 1.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> usize {
        // SAFETY: the mbuf is live and ours.
        unsafe { raw::nb_segs(self.as_ptr()).into() }
    }

    /// The packet's bytes in the lowest 32 bits of the first, its segments in the lowest 16 of the other; what is above means
    /// nothing.
    #[inline(always)]
    pub(crate) fn sizes(&self) -> (u64, u32) {
        let mbuf = self.as_ptr();
        // SAFETY: the mbuf is live and ours.
        unsafe { (raw::pkt_len_and_more(mbuf), raw::nb_segs_and_more(mbuf)) }
    }

    /// Bytes that [`Mbuf::prepend`] can add.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        // SAFETY: the mbuf is live and ours.
        unsafe { raw::data_off(self.as_ptr()).into() }
    }

    /// Bytes that [`Mbuf::append`] can add, behind the last segment's data.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        let last = self.last_segment();
        // SAFETY: a segment of our chain, live and ours.
        unsafe { tailroom(last) }
    }

    /// Grows the packet by `n` bytes in front, and returns those. They hold whatever was there before. `None`, and no
    /// change, if the headroom is shorter.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        // SAFETY: n <= headroom, which is 16 bits.
        unsafe { self.grow_front(n as u16) };
        self.data_mut().get_mut(..n)
    }

    /// The same, and returns the packet's first `N` bytes instead. `None`, and no change, also where the first segment would have
    /// fewer.
    #[inline(always)]
    pub fn prepend_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]> {
        let more = usize::from(n);
        if more > self.headroom() || self.first_len() + more < N {
            return None;
        }
        // SAFETY: n <= headroom. The segment has N bytes or more then.
        unsafe {
            self.grow_front(n);
            Some(self.head())
        }
    }

    /// The packet's first `N` bytes.
    ///
    /// # Safety
    /// The first segment has so many.
    #[inline(always)]
    unsafe fn head<const N: usize>(&mut self) -> &mut [u8; N] {
        // SAFETY: N bytes of the segment begin there, within a buffer, which is not at null; `&mut self` is the only reference to
        // a buffer that has one owner, see `data_mut`.
        unsafe {
            let head = data_start(self.as_ptr());
            // The compiler does not know.
            std::hint::assert_unchecked(!head.is_null());
            &mut *head.cast::<[u8; N]>()
        }
    }

    /// Makes the first segment begin `n` bytes before.
    ///
    /// # Safety
    /// `n` is at most the headroom.
    #[inline(always)]
    unsafe fn grow_front(&mut self, n: u16) {
        let mbuf = self.as_ptr();
        // SAFETY: the mbuf is ours. n <= data_off <= buf_len, so data_off stays within the buffer, and data_off + data_len is
        // unchanged. pkt_len grows by what the first data_len grows by.
        unsafe {
            raw::set_data_off(mbuf, raw::data_off(mbuf) - n);
            raw::lengthen(mbuf, n);
        }
    }

    /// Drops `n` bytes from the front. `false`, and no change, if the first segment is shorter.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        if n > self.first_len() {
            return false;
        }
        // SAFETY: n <= data_len <= u16::MAX.
        unsafe { self.cut_front(n as u16) };
        true
    }

    /// The same, and returns the packet's first `N` bytes. `None`, and no change, also where the first segment would have fewer.
    #[inline(always)]
    pub fn adj_head<const N: usize>(&mut self, n: u16) -> Option<&mut [u8; N]> {
        if usize::from(n) + N > self.first_len() {
            return None;
        }
        // SAFETY: n <= data_len. The segment has N bytes or more then.
        unsafe {
            self.cut_front(n);
            Some(self.head())
        }
    }

    /// Makes the first segment begin `n` bytes behind.
    ///
    /// # Safety
    /// `n` is at most the first segment's length.
    #[inline(always)]
    unsafe fn cut_front(&mut self, n: u16) {
        let mbuf = self.as_ptr();
        // SAFETY: the mbuf is ours. n <= data_len; data_off + data_len is unchanged; pkt_len shrinks by what the first data_len
        // shrinks by.
        unsafe {
            raw::set_data_off(mbuf, raw::data_off(mbuf) + n);
            raw::shorten(mbuf, n);
        }
    }

    /// Grows the packet by `n` bytes at its end, and returns those. They hold whatever was there before. `None`, and no
    /// change, if the tailroom is shorter.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let (first, last) = (self.as_ptr(), self.last_segment());
        // SAFETY: `last` is a segment of our chain. n <= tailroom = buf_len - data_off - data_len, so n fits in 16 bits, the
        // segment's data stays within its buffer, and the n bytes behind the old data lie in it too. pkt_len grows with
        // data_len; the packet's length stays far below 2^32, as nb_segs and data_len are 16 bits each. The slice borrows
        // from `&mut self`.
        unsafe {
            if n > tailroom(last) {
                return None;
            }
            let old_len = raw::data_len(last);
            raw::set_data_len(last, old_len + n as u16);
            raw::set_pkt_len(first, raw::pkt_len(first) + n as u32);
            Some(slice::from_raw_parts_mut(
                data_start(last).add(old_len.into()),
                n,
            ))
        }
    }

    /// Shortens the packet to its first `len` bytes; segments that are left without a byte go back to the pool, the first
    /// excepted. `false`, and no change, if the packet is shorter than that already.
    #[inline]
    pub fn truncate(&mut self, len: usize) -> bool {
        if len > self.len() {
            return false;
        }
        let first = self.as_ptr();
        let (mut segment, mut kept_before, mut count) = (first, 0_usize, 1_u16);
        // SAFETY: every `segment` is one of our chain. Before the loop's end len > kept_before + data_len, and the packet has
        // len bytes, so a next segment exists. The one the cut falls into keeps len - kept_before <= data_len bytes
        // (<= u16::MAX). What hangs behind it is cut off before it is freed, so nothing refers to it any more, and the
        // first segment's sums are those of what is left.
        unsafe {
            while len > kept_before + usize::from(raw::data_len(segment)) {
                kept_before += usize::from(raw::data_len(segment));
                segment = raw::next(segment);
                count += 1;
            }
            raw::set_data_len(segment, (len - kept_before) as u16);
            raw::set_pkt_len(first, len as u32);
            let rest = raw::next(segment);
            if !rest.is_null() {
                raw::set_next(segment, std::ptr::null_mut());
                raw::set_nb_segs(first, count);
                dpdk_sys::dpdk_sys_pktmbuf_free(rest);
            }
        }
        true
    }

    /// DPDK's number of the port the packet came in on, [`Port::id`](crate::Port::id), unless [`Mbuf::set_port`] said
    /// otherwise (some virtual devices say nothing, and the number is of an earlier packet); 65,535 for one that came from
    /// [`Mempool::alloc`](crate::Mempool::alloc).
    #[inline]
    #[must_use]
    pub fn port(&self) -> u16 {
        // SAFETY: the mbuf is live and ours.
        unsafe { raw::port(self.as_ptr()) }
    }

    /// Says that the packet came by `port`: a number that travels with it to whoever it is handed to.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        // SAFETY: the mbuf is ours. The field is of no consequence to DPDK once a packet was received: it takes part in none
        // of the invariants, and whoever hands the buffer out next sets it anew.
        unsafe { raw::set_port(self.as_ptr(), port) }
    }

    /// The hash by which the device chose the queue, where it says
    /// ([`RxOffloads::RSS_HASH`](crate::RxOffloads::RSS_HASH)).
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        // SAFETY: the mbuf is live and ours; the hash is an integer whether or not the flag says that it means something.
        let (flags, hash) = unsafe { (raw::ol_flags(self.as_ptr()), raw::rss(self.as_ptr())) };
        (flags & dpdk_sys::DPDK_SYS_MBUF_RX_RSS_HASH != 0).then_some(hash)
    }

    /// What the device says about the TCP or UDP checksum
    /// ([`RxOffloads::CHECKSUM`](crate::RxOffloads::CHECKSUM)).
    #[inline]
    #[must_use]
    pub fn l4_checksum(&self) -> L4Checksum {
        // SAFETY: the mbuf is live and ours.
        let flags = unsafe { raw::ol_flags(self.as_ptr()) };
        match flags & dpdk_sys::DPDK_SYS_MBUF_RX_L4_CKSUM_MASK {
            dpdk_sys::DPDK_SYS_MBUF_RX_L4_CKSUM_GOOD => L4Checksum::Good,
            dpdk_sys::DPDK_SYS_MBUF_RX_L4_CKSUM_BAD => L4Checksum::Bad,
            // None of the flags; or both, "not right, though the data are", which nothing here can act on.
            _ => L4Checksum::Unknown,
        }
    }

    /// Asks for the cache line of DPDK's own fields, which every other call reads.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch::line(self.as_ptr().cast_const().cast());
    }

    /// Asks for the first cache line of each packet, where the first packet's data say that it is: buffers of one pool that
    /// were just received have theirs in the same place. Where they have not, a line is asked for in vain.
    #[inline]
    pub fn prefetch_all(packets: &[Self]) {
        let Some(first) = packets.first() else {
            return;
        };
        // SAFETY: the mbuf is live and ours.
        let data = unsafe { data_start(first.as_ptr()) };
        let distance = data.addr().wrapping_sub(first.as_ptr().addr());
        for packet in packets {
            prefetch::line(packet.as_ptr().cast::<u8>().wrapping_add(distance));
        }
    }

    /// Asks for the packet's first cache line. Reads DPDK's own fields.
    #[inline]
    pub fn prefetch_data(&self) {
        // SAFETY: the mbuf is live and ours.
        prefetch::line(unsafe { data_start(self.as_ptr()) });
    }

    #[inline]
    fn as_ptr(&self) -> *mut rte_mbuf {
        self.mbuf.as_ptr()
    }

    /// Bytes in the first segment.
    #[inline]
    fn first_len(&self) -> usize {
        // SAFETY: the mbuf is live and ours.
        unsafe { raw::data_len(self.as_ptr()).into() }
    }

    #[inline]
    fn last_segment(&self) -> *mut rte_mbuf {
        let mut segment = self.as_ptr();
        loop {
            // SAFETY: a segment of our chain, live and ours.
            let next = unsafe { raw::next(segment) };
            if next.is_null() {
                return segment;
            }
            segment = next;
        }
    }
}

/// The first data byte of a segment.
///
/// # Safety
/// `segment` is live.
#[inline]
unsafe fn data_start(segment: *const rte_mbuf) -> *mut u8 {
    // SAFETY: data_off <= buf_len, so the sum stays within the segment's buffer or one past it.
    unsafe {
        raw::buf_addr(segment)
            .cast::<u8>()
            .add(raw::data_off(segment).into())
    }
}

/// Bytes between a segment's data and the end of its buffer.
///
/// # Safety
/// `segment` is live.
#[inline]
unsafe fn tailroom(segment: *const rte_mbuf) -> usize {
    // SAFETY: the caller's promise.
    let (size, offset, len) = unsafe {
        (
            raw::buf_len(segment),
            raw::data_off(segment),
            raw::data_len(segment),
        )
    };
    usize::from(size).saturating_sub(usize::from(offset) + usize::from(len))
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the chain is ours alone and is not used again: this is its end.
        let lcore = unsafe { dpdk_sys::dpdk_sys_pktmbuf_free(self.as_ptr()) };
        LEDGER.leave(lcore, 1);
    }
}

/// Drops every packet of `burst`, with one call for all of them; faster than dropping them singly.
#[inline]
pub fn free_burst<const N: usize>(burst: &mut ArrayVec<Mbuf, N>) {
    let count = burst.len();
    if count == 0 {
        return;
    }
    let mbufs = burst.as_mut_ptr().cast::<*mut rte_mbuf>();
    // SAFETY: an Mbuf is a transparent pointer, so this is an array of `count` chains, each ours alone. Its length is set to
    // 0 first, so that none of them is dropped again.
    let lcore = unsafe {
        burst.set_len(0);
        dpdk_sys::dpdk_sys_pktmbuf_free_burst(mbufs, count as u32)
    };
    LEDGER.leave(lcore, count as u64);
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segments())
            .field("headroom", &self.headroom())
            .field("tailroom", &self.tailroom())
            .finish_non_exhaustive()
    }
}

//! The fields of `struct rte_mbuf`, read and written in line.
//!
//! The packet path touches these for every packet, so they cannot be calls into the shim, and their places differ
//! between DPDK releases, so they cannot be a Rust struct either. The C compiler supplies each field's offset and
//! asserts its width and alignment (`shim/shim.h`, `shim/shim.c`).

use core::ffi::c_void;

use crate::rte_mbuf;

/// Defines the reader, and where one is named the writer, of one mbuf field.
macro_rules! field {
    ($doc:literal, $offset:ident, $type:ty, $read:ident $(, $write:ident)?) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// `mbuf` points to a live mbuf that no other thread writes to during the call.
        #[inline(always)]
        #[must_use]
        pub unsafe fn $read(mbuf: *const rte_mbuf) -> $type {
            // SAFETY: the caller vouches for the mbuf; the offset is this field's, inside the struct, and shim.c
            // asserts that an aligned value of this width lies there.
            unsafe { mbuf.byte_add(crate::$offset).cast::<$type>().read() }
        }

        $(
            #[doc = $doc]
            ///
            /// # Safety
            /// `mbuf` points to a live mbuf that nobody else reads or writes during the call, and the value keeps
            /// DPDK's invariants: `data_off + data_len <= buf_len` in every segment, `pkt_len` the sum of the
            /// segments' `data_len`, `nb_segs` their number, `next` null in the last.
            #[inline(always)]
            pub unsafe fn $write(mbuf: *mut rte_mbuf, value: $type) {
                // SAFETY: as for the reader, and the caller has the mbuf to itself.
                unsafe { mbuf.byte_add(crate::$offset).cast::<$type>().write(value) }
            }
        )?
    };
}

field!(
    "Start of the segment's buffer, headroom included.",
    DPDK_SYS_MBUF_BUF_ADDR,
    *mut c_void,
    buf_addr
);
field!(
    "Bytes of the segment's buffer, headroom included.",
    DPDK_SYS_MBUF_BUF_LEN,
    u16,
    buf_len
);
field!(
    "Offset of the segment's first data byte in its buffer.",
    DPDK_SYS_MBUF_DATA_OFF,
    u16,
    data_off,
    set_data_off
);
field!(
    "Bytes of data in this segment.",
    DPDK_SYS_MBUF_DATA_LEN,
    u16,
    data_len,
    set_data_len
);
field!(
    "Bytes of data in the whole packet; valid in the first segment.",
    DPDK_SYS_MBUF_PKT_LEN,
    u32,
    pkt_len,
    set_pkt_len
);
/// Whether `data_len` follows `pkt_len` directly, as in every release so far, so that both are changed in one step.
const LENGTHS_ARE_ONE: bool = cfg!(target_endian = "little")
    && crate::DPDK_SYS_MBUF_DATA_LEN == crate::DPDK_SYS_MBUF_PKT_LEN + 4;

/// Adds `n` to `pkt_len` and `data_len` of a packet's first segment, modulo 2⁶⁴ where they are read as one number: so that the two's
/// complement of a number subtracts it.
///
/// # Safety
/// As for writing the two.
#[inline(always)]
unsafe fn add_to_lengths(mbuf: *mut rte_mbuf, n: u64) {
    // SAFETY: the caller has the mbuf to itself. Both lengths and the sixteen bits behind them lie within the struct, and are
    // read and written without asking for alignment.
    unsafe {
        let lengths = mbuf.byte_add(crate::DPDK_SYS_MBUF_PKT_LEN).cast::<u64>();
        lengths.write_unaligned(lengths.read_unaligned().wrapping_add(n));
    }
}

/// Makes a packet's first segment, and with it the packet, `n` bytes longer: `pkt_len` and `data_len`.
///
/// # Safety
/// `mbuf` points to a packet's first segment, which nobody else reads or writes during the call, and whose `data_off` is or will be
/// such that `data_off + data_len <= buf_len`; `pkt_len` is at least `data_len`, and stays below 2³².
#[inline(always)]
pub unsafe fn lengthen(mbuf: *mut rte_mbuf, n: u16) {
    // SAFETY: the caller's. The segment's length stays below 2^16 and the packet's below 2^32, so nothing is carried from
    // one to the other.
    unsafe {
        if LENGTHS_ARE_ONE {
            add_to_lengths(mbuf, u64::from(n) << 32 | u64::from(n));
        } else {
            set_data_len(mbuf, data_len(mbuf) + n);
            set_pkt_len(mbuf, pkt_len(mbuf) + u32::from(n));
        }
    }
}

/// Makes them `n` bytes shorter.
///
/// # Safety
/// As for [`lengthen`], and `n` is at most the segment's `data_len`.
#[inline(always)]
pub unsafe fn shorten(mbuf: *mut rte_mbuf, n: u16) {
    // SAFETY: the caller's: the mbuf is live.
    debug_assert!(n <= unsafe { data_len(mbuf) }, "shorter than nothing");
    // SAFETY: the caller's. Neither length is less than n, so nothing is borrowed.
    unsafe {
        if LENGTHS_ARE_ONE {
            add_to_lengths(mbuf, (u64::from(n) << 32 | u64::from(n)).wrapping_neg());
        } else {
            set_data_len(mbuf, data_len(mbuf) - n);
            set_pkt_len(mbuf, pkt_len(mbuf) - u32::from(n));
        }
    }
}

field!(
    "Number of segments; valid in the first segment.",
    DPDK_SYS_MBUF_NB_SEGS,
    u16,
    nb_segs,
    set_nb_segs
);
// What is read beyond `pkt_len` lies before the end of `next`.
const _: () = assert!(crate::DPDK_SYS_MBUF_PKT_LEN <= crate::DPDK_SYS_MBUF_NEXT);
/// Whether `port` follows `nb_segs` directly, as in every release so far: not what others write who share the packet.
const PORT_FOLLOWS: bool =
    cfg!(target_endian = "little") && crate::DPDK_SYS_MBUF_PORT == crate::DPDK_SYS_MBUF_NB_SEGS + 2;

/// `pkt_len` in the lowest 32 bits, and above it whatever lies behind it: to be added up without being cut out of each.
///
/// # Safety
/// As for [`pkt_len`] and [`data_len`].
#[inline(always)]
#[must_use]
pub unsafe fn pkt_len_and_more(mbuf: *const rte_mbuf) -> u64 {
    // SAFETY: the caller's. Eight bytes from here on are the struct's (asserted above): both lengths and the VLAN tag, of which
    // nobody writes any in a packet that is ours. Nothing is asked of the alignment.
    unsafe {
        if LENGTHS_ARE_ONE {
            let lengths = mbuf.byte_add(crate::DPDK_SYS_MBUF_PKT_LEN);
            lengths.cast::<u64>().read_unaligned()
        } else {
            pkt_len(mbuf).into()
        }
    }
}

/// `nb_segs` in the lowest 16 bits, and above it whatever lies behind it.
///
/// # Safety
/// As for [`nb_segs`] and [`port`].
#[inline(always)]
#[must_use]
pub unsafe fn nb_segs_and_more(mbuf: *const rte_mbuf) -> u32 {
    // SAFETY: the caller's. Both fields are the struct's, and nothing is asked of the alignment.
    unsafe {
        if PORT_FOLLOWS {
            let segments = mbuf.byte_add(crate::DPDK_SYS_MBUF_NB_SEGS);
            segments.cast::<u32>().read_unaligned()
        } else {
            nb_segs(mbuf).into()
        }
    }
}

field!(
    "The next segment, or null.",
    DPDK_SYS_MBUF_NEXT,
    *mut rte_mbuf,
    next,
    set_next
);
field!(
    "The port the packet was received on.",
    DPDK_SYS_MBUF_PORT,
    u16,
    port,
    set_port
);
field!(
    "Offload flags (`RTE_MBUF_F_*`).",
    DPDK_SYS_MBUF_OL_FLAGS,
    u64,
    ol_flags
);
field!(
    "The RSS hash, valid when `RTE_MBUF_F_RX_RSS_HASH` is among the flags.",
    DPDK_SYS_MBUF_RSS,
    u32,
    rss
);

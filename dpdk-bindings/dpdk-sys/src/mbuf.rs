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
field!(
    "Number of segments; valid in the first segment.",
    DPDK_SYS_MBUF_NB_SEGS,
    u16,
    nb_segs,
    set_nb_segs
);
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

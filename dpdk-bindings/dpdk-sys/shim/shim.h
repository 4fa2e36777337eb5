/* SPDX-License-Identifier: Apache-2.0
 *
 * What bindgen reads: the DPDK headers whose functions the allow-list of build.rs names, and below them
 *
 *  - functions around DPDK calls that exist only as `static inline` code or macros and so have no symbol
 *    to link with (shim.c);
 *  - constants for what differs in shape between DPDK releases although the C source that uses it does
 *    not: places of mbuf fields, flag macros built by function-like macros.
 */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>
#include <rte_cycles.h>
#ifdef DPDK_SYS_WITH_HASH
#include <rte_hash.h>
#include <rte_malloc.h>
#endif

/* ---- static-inline calls and macros, given a symbol ---------------------------------------------- */

/* rte_errno, the calling thread's. */
int dpdk_sys_errno(void);

/* rte_lcore_id(): UINT32_MAX (LCORE_ID_ANY) on a thread the EAL does not know. */
uint32_t dpdk_sys_lcore_id(void);

/* rte_pktmbuf_alloc(): NULL when the pool is empty. */
struct rte_mbuf *dpdk_sys_pktmbuf_alloc(struct rte_mempool *pool);

/* rte_pktmbuf_free(), every segment; returns rte_lcore_id(), which the free has looked up anyway. */
uint32_t dpdk_sys_pktmbuf_free(struct rte_mbuf *mbuf);

/*
 * The same of count packets: as rte_pktmbuf_free_bulk(), but what goes back to its pool is gathered in the array itself,
 * which holds anything afterwards, and packets of several segments are freed singly.
 */
uint32_t dpdk_sys_pktmbuf_free_burst(struct rte_mbuf **mbufs, uint32_t count);

/* rte_eth_rx_burst() */
uint16_t dpdk_sys_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room);

/* rte_eth_tx_burst() */
uint16_t dpdk_sys_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* rte_ring_sp_enqueue_burst(): how many of `count` there was room for, from the front; one producer. */
uint32_t dpdk_sys_ring_sp_enqueue_burst(struct rte_ring *ring, void *const *objects, uint32_t count);

/* rte_ring_sc_dequeue_burst(): how many there were, at most `room`; one consumer. */
uint32_t dpdk_sys_ring_sc_dequeue_burst(struct rte_ring *ring, void **objects, uint32_t room);

/* rte_ring_count() */
uint32_t dpdk_sys_ring_count(const struct rte_ring *ring);

/* struct rte_eth_link is bit-fields in DPDK 22.11 and a union of them from 24.11 on; this is neither. */
struct dpdk_sys_link {
	uint32_t speed_mbps; /* UINT32_MAX: the driver does not know */
	uint8_t is_up;
	uint8_t is_full_duplex;
	uint8_t is_autonegotiated;
};

/* rte_eth_link_get_nowait() */
int dpdk_sys_eth_link_get_nowait(uint16_t port, struct dpdk_sys_link *link);

/* ---- places of the mbuf fields that Rust reads and writes in line -------------------------------- */

/* From DPDK 24.03 on some of these fields lie in anonymous unions, which bindgen would name; offsetof()
 * sees through them in every release. shim.c asserts the width of each. */
static const size_t DPDK_SYS_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);
static const size_t DPDK_SYS_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);
static const size_t DPDK_SYS_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);
static const size_t DPDK_SYS_MBUF_PORT = offsetof(struct rte_mbuf, port);
static const size_t DPDK_SYS_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);
static const size_t DPDK_SYS_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);
static const size_t DPDK_SYS_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);
static const size_t DPDK_SYS_MBUF_RSS = offsetof(struct rte_mbuf, hash.rss);
static const size_t DPDK_SYS_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);
static const size_t DPDK_SYS_MBUF_NEXT = offsetof(struct rte_mbuf, next);

/* ---- constants -------------------------------------------------------------------------------------- */

static const uint32_t DPDK_SYS_MAX_LCORE = RTE_MAX_LCORE;
static const uint32_t DPDK_SYS_MAX_ETHPORTS = RTE_MAX_ETHPORTS;
static const uint16_t DPDK_SYS_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t DPDK_SYS_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const size_t DPDK_SYS_MEMPOOL_NAME_SIZE = RTE_MEMPOOL_NAMESIZE;
static const size_t DPDK_SYS_RING_NAME_SIZE = RTE_RING_NAMESIZE;
static const uint32_t DPDK_SYS_RING_SIZE_MAX = RTE_RING_SZ_MASK;
static const uint32_t DPDK_SYS_RING_FLAGS = RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ;
#ifdef DPDK_SYS_WITH_HASH
static const uint8_t DPDK_SYS_HASH_EXTENDABLE = RTE_HASH_EXTRA_FLAGS_EXT_TABLE;
static const uint32_t DPDK_SYS_HASH_BULK_MAX = RTE_HASH_LOOKUP_BULK_MAX;
static const uint32_t DPDK_SYS_HASH_ENTRIES_MAX = RTE_HASH_ENTRIES_MAX;
#endif
static const size_t DPDK_SYS_ETH_NAME_SIZE = RTE_ETH_NAME_MAX_LEN;

static const uint64_t DPDK_SYS_MBUF_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t DPDK_SYS_MBUF_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t DPDK_SYS_MBUF_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t DPDK_SYS_MBUF_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;

static const uint32_t DPDK_SYS_RX_MODE_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t DPDK_SYS_RX_MODE_RSS = RTE_ETH_MQ_RX_RSS;

static const uint64_t DPDK_SYS_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t DPDK_SYS_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t DPDK_SYS_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t DPDK_SYS_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t DPDK_SYS_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t DPDK_SYS_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

static const uint64_t DPDK_SYS_RSS_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t DPDK_SYS_RSS_FRAG_IPV4 = RTE_ETH_RSS_FRAG_IPV4;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV4_OTHER = RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t DPDK_SYS_RSS_IPV6 = RTE_ETH_RSS_IPV6;
static const uint64_t DPDK_SYS_RSS_FRAG_IPV6 = RTE_ETH_RSS_FRAG_IPV6;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV6_TCP = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV6_UDP = RTE_ETH_RSS_NONFRAG_IPV6_UDP;
static const uint64_t DPDK_SYS_RSS_NONFRAG_IPV6_OTHER = RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
static const uint64_t DPDK_SYS_RSS_IPV6_EX = RTE_ETH_RSS_IPV6_EX;
static const uint64_t DPDK_SYS_RSS_IPV6_TCP_EX = RTE_ETH_RSS_IPV6_TCP_EX;
static const uint64_t DPDK_SYS_RSS_IPV6_UDP_EX = RTE_ETH_RSS_IPV6_UDP_EX;
static const uint64_t DPDK_SYS_RSS_L3_SRC_ONLY = RTE_ETH_RSS_L3_SRC_ONLY;
static const uint64_t DPDK_SYS_RSS_L3_DST_ONLY = RTE_ETH_RSS_L3_DST_ONLY;
static const uint64_t DPDK_SYS_RSS_L4_SRC_ONLY = RTE_ETH_RSS_L4_SRC_ONLY;
static const uint64_t DPDK_SYS_RSS_L4_DST_ONLY = RTE_ETH_RSS_L4_DST_ONLY;

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies of the functions in shim.h: each gives one static-inline DPDK call a symbol.
 */
#include "shim.h"

/* The accessors in src/mbuf.rs read the fields with these widths. */
#define ASSERT_MBUF_FIELD(field, type)                                                             \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == sizeof(type) &&                    \
			       offsetof(struct rte_mbuf, field) % _Alignof(type) == 0,             \
		       "mbuf field " #field " is not an aligned " #type)

ASSERT_MBUF_FIELD(buf_addr, void *);
ASSERT_MBUF_FIELD(data_off, uint16_t);
ASSERT_MBUF_FIELD(nb_segs, uint16_t);
ASSERT_MBUF_FIELD(port, uint16_t);
ASSERT_MBUF_FIELD(ol_flags, uint64_t);
ASSERT_MBUF_FIELD(pkt_len, uint32_t);
ASSERT_MBUF_FIELD(data_len, uint16_t);
ASSERT_MBUF_FIELD(hash.rss, uint32_t);
ASSERT_MBUF_FIELD(buf_len, uint16_t);
ASSERT_MBUF_FIELD(next, struct rte_mbuf *);

int dpdk_sys_errno(void)
{
	return rte_errno;
}

uint32_t dpdk_sys_lcore_id(void)
{
	return rte_lcore_id();
}

struct rte_mbuf *dpdk_sys_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

uint32_t dpdk_sys_pktmbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
	return rte_lcore_id();
}

uint32_t dpdk_sys_pktmbuf_free_burst(struct rte_mbuf **mbufs, uint32_t count)
{
	struct rte_mempool *pool = NULL;
	uint32_t gathered = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct rte_mbuf *mbuf = mbufs[i];

		if (unlikely(mbuf->nb_segs != 1)) {
			rte_pktmbuf_free(mbuf);
			continue;
		}
		mbuf = rte_pktmbuf_prefree_seg(mbuf);
		/* Somebody else still refers to it. */
		if (unlikely(mbuf == NULL))
			continue;
		if (unlikely(mbuf->pool != pool)) {
			if (gathered != 0)
				rte_mempool_put_bulk(pool, (void *const *)mbufs, gathered);
			pool = mbuf->pool;
			gathered = 0;
		}
		mbufs[gathered++] = mbuf;
	}
	if (gathered != 0)
		rte_mempool_put_bulk(pool, (void *const *)mbufs, gathered);
	return rte_lcore_id();
}

uint16_t dpdk_sys_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room)
{
	return rte_eth_rx_burst(port, queue, mbufs, room);
}

uint16_t dpdk_sys_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

uint32_t dpdk_sys_ring_sp_enqueue_burst(struct rte_ring *ring, void *const *objects, uint32_t count)
{
	return rte_ring_sp_enqueue_burst(ring, objects, count, NULL);
}

uint32_t dpdk_sys_ring_sc_dequeue_burst(struct rte_ring *ring, void **objects, uint32_t room)
{
	return rte_ring_sc_dequeue_burst(ring, objects, room, NULL);
}

uint32_t dpdk_sys_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

int dpdk_sys_eth_link_get_nowait(uint16_t port, struct dpdk_sys_link *link)
{
	struct rte_eth_link raw = {0};
	int rc = rte_eth_link_get_nowait(port, &raw);

	if (rc == 0) {
		link->speed_mbps = raw.link_speed;
		link->is_up = raw.link_status;
		link->is_full_duplex = raw.link_duplex;
		link->is_autonegotiated = raw.link_autoneg;
	}
	return rc;
}

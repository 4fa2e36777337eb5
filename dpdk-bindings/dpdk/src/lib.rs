//! Safe owners for DPDK's EAL, mempools, mbufs, ports, queues and lcores.

//! Raw bindings to DPDK, made at build time from the installed headers.

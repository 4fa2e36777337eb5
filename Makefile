# Thin recipes. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo compare test test-nic bench bench-tables bench-steering replay replay-test measurements stages stages-accept lint fmt clean install-deps
ARGS ?=
comma := ,

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install-deps: ## DPDK, libclang and tools from the distribution (Debian 12, Ubuntu 24.04)
	@scripts/install-deps

demo: install-deps ## the main job on real packets: three policies, one workload (ARGS=--json, --help, ...)
	@cargo build --release --workspace
	@target/release/afr-demo $(ARGS)

compare: install-deps ## the AFR against sglang-router and smg from PyPI, end to end (QUICK=1: about three minutes; ARGS=--help)
	@cargo build --release -p afr-controlplane -p afr-perf --bin afrd --bin afrctl --bin afr-emulator --bin afr-compare
	@target/release/afr-compare $(if $(QUICK),--quick) $(ARGS)

test: install-deps ## every check: format, lints, licences, docs, unit, property, loom, end to end
	@scripts/check

test-nic: ## afrd on PCI cards of a QEMU guest: vfio-pci, IOMMU, huge pages, RSS queues (ARGS=--help)
	@scripts/install-deps --nic
	@cargo build -p afr-controlplane -p afr-perf --bins
	@scripts/nic-guest target/debug target/nic
	@target/debug/afr-nic $(ARGS)

bench: install-deps ## packets a second of one worker beside dpdk-testpmd (QUICK=1: under three minutes; ARGS=--help)
	@cargo build --release -p afr-controlplane -p afr-perf --bin afrd --bin afr-bench
	@# afrd with what the harness bends, under a name of its own: the ordinary afrd has none of it.
	@cargo build --release -p afr-controlplane --features bench-hooks --bin afrd-bench
	@target/release/afr-bench $(if $(QUICK),--quick) $(ARGS)

bench-tables: install-deps ## flow tables side by side: ours, hashbrown, DPDK's rte_hash (ARGS=--json, --help, ...)
	@cargo build --release -p afr-perf --features dpdk-benches --bin afr-tables
	@target/release/afr-tables $(ARGS)

bench-steering: install-deps ## cycles a packet that one worker hands to another (ARGS=--json, --help, ...)
	@cargo build --release -p afr-perf --features dpdk-benches --bin afr-steering
	@target/release/afr-steering $(ARGS)

replay: install-deps ## dispatch against other routers in virtual time (QUICK=1: under three minutes; TRACE=file.jsonl SCENARIO=all LOAD=0.5,0.9 INSTANCES=8 ARGS=--help)
	@cargo build --profile replay --manifest-path perf/replay/cluster/Cargo.toml --target-dir target
	@target/replay/afr-replay --workload agents$(if $(QUICK),,$(comma)sessions)$(if $(TRACE),$(comma)trace --trace $(TRACE)) \
		--scenario $(or $(SCENARIO),$(if $(QUICK),even$(comma)uneven$(comma)dies$(comma)slows,even)) \
		$(if $(SPEEDUP),--speedup $(SPEEDUP),--load $(or $(LOAD),$(if $(QUICK),0.5$(comma)0.8,0.3$(comma)0.6$(comma)0.9$(comma)1.2))) \
		$(if $(INSTANCES),--instances $(INSTANCES)) $(if $(QUICK),--seeds 1 --take 1200) $(ARGS)

replay-test: install-deps ## the replay's loop against the simulator's own, on the simulator's engines
	@cargo test --profile replay --manifest-path perf/replay/cluster/Cargo.toml --target-dir target

measurements: install-deps ## the replays behind docs/measurements.md (TRACE=file.jsonl, ARGS=--help)
	@cargo build --profile replay --manifest-path perf/replay/cluster/Cargo.toml --target-dir target
	@scripts/measurements $(if $(TRACE),--trace $(TRACE)) $(ARGS)

stages: install-deps ## nanoseconds a packet of each stage (ARGS=NAME, part of a stage's name)
	@cargo bench -p afr-stages --bench nanoseconds -- $(ARGS)

stages-accept: install-deps ## accept the instructions that each stage needs now
	@scripts/stages accept

lint: install-deps ## clippy, warnings denied
	@cargo clippy --workspace --all-targets --all-features -- -D warnings

fmt: ## format the code
	@cargo fmt --all

clean: ## remove what was built
	@cargo clean

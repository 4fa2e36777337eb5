#!/bin/sh
# Runs the tests of the crate `dpdk` under a memory checker:
#
#   dpdk-bindings/memcheck.sh valgrind   memcheck over Rust, the shim, DPDK and its drivers as they are installed
#   dpdk-bindings/memcheck.sh asan       AddressSanitizer in the Rust code (needs a nightly toolchain)
#
# As root, as all tests of that crate. What neither sees: the inside of a mempool, which is mapped as a whole, so that a
# freed mbuf stays readable. They see the heap, the stack, and pool memory touched after the EAL has unmapped it.
set -eu
cd "$(dirname "$0")/.."

tests() { # the paths of the test programs, built with the given cargo command
    "$@" --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

case "${1:-}" in
valgrind)
    programs=$(tests cargo test -p dpdk --tests)
    # Tests spin on queues, which takes a fair scheduler.
    checker="valgrind --quiet --error-exitcode=99 --fair-sched=yes"
    ;;
asan)
    export RUSTFLAGS=-Zsanitizer=address
    programs=$(tests cargo +nightly test -p dpdk --tests --target "$(rustc -vV | sed -n 's/host: //p')")
    # DPDK keeps what it allocates at its start until the process ends; leaks of mbufs the tests count themselves.
    checker="env ASAN_OPTIONS=detect_leaks=0"
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

for program in $programs; do
    echo "$program"
    (cd dpdk-bindings/dpdk && $checker "$program" --test-threads=1)
done

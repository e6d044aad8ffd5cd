#!/usr/bin/env bash
# The operator as it is shipped: built by itself, in a target directory of its own (a workspace build unites features).
# Its binary must hold neither the simulator's clock and randomness (predictable keys would be a security hole) nor
# tokio's test clock.
set -euo pipefail
target=${1:-target/operator-alone}

dependencies=$(cargo tree --locked -p multigres-operator -e normal,features --prefix none)
if grep -E '^sim-[a-z]+ |^scenario-[a-z]+ ' <<<"$dependencies"; then
    echo "the operator depends on the simulator (above)" >&2
    exit 1
fi
if grep -E '^tokio feature "test-util"' <<<"$dependencies"; then
    echo "the operator enables tokio's test clock" >&2
    exit 1
fi
grep -qE '^tokio v' <<<"$dependencies" || { echo "cargo tree does not list tokio: the check above looked at nothing" >&2; exit 1; }

CARGO_TARGET_DIR=$target cargo build --locked --release -p multigres-operator
binary=$target/release/multigres-operator
test -x "$binary" || { echo "$binary was not built" >&2; exit 1; }

# Defined (not merely imported) symbols of the C library that sim-clock answers in its stead.
symbols=$(nm --defined-only "$binary")
grep -qE ' [Tt] main$' <<<"$symbols" || { echo "nm lists no symbols of $binary: the check below would look at nothing" >&2; exit 1; }
if grep -E ' [TtWwi] (clock_gettime|getrandom|syscall)$' <<<"$symbols"; then
    echo "the operator's binary defines symbols of the simulated clock (above)" >&2
    exit 1
fi
echo "operator alone: no simulator, no test clock, no interposed symbols in $binary"

#!/usr/bin/env bash
# The same scenarios by two builds and by two processes: the same bytes.
#
#   ci/tools/check-determinism.sh [target directory]
set -euo pipefail
target=${1:-target}
reports=$target/determinism
rm -rf "$reports"
mkdir -p "$reports"

run() { # name binary arguments…
    local name=$1 binary=$2
    shift 2
    "$binary" run --report "$reports/$name" "$@" > "$reports/$name.txt" 2>&1 || {
        # With another seed an expectation may fail; that a report is written is all that is asked.
        if [ "$name" != other-seed ]; then
            tail -n 60 "$reports/$name.txt" >&2
            exit 1
        fi
    }
    test -s "$reports/$name/report.json" || { echo "$name: no report was written" >&2; tail -n 20 "$reports/$name.txt" >&2; exit 1; }
}
run debug "$target/debug/multigres-sim"
run release "$target/release/multigres-sim"
run one-job "$target/release/multigres-sim" --jobs 1
run other-seed "$target/release/multigres-sim" --seed 4242

for other in debug one-job; do
    diff --recursive --brief "$reports/release" "$reports/$other" || {
        diff --recursive "$reports/release" "$reports/$other" | head -n 40 || true
        echo "the report of $other differs from that of release" >&2
        exit 1
    }
done
if diff --recursive --brief "$reports/release" "$reports/other-seed" > /dev/null; then
    echo "another seed gives the same report: the comparison above proves nothing" >&2
    exit 1
fi
echo "determinism: debug, release and one job wrote the same bytes ($(wc -c < "$reports/release/report.json") in report.json); another seed did not"

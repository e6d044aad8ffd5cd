#!/usr/bin/env bash
# The dependency arrows of ARCHITECTURE.md: no part of the simulated world knows another part, nothing in sim/ knows the
# operator, the operator knows nothing of the simulator. (What tests use is not looked at.)
set -euo pipefail

wrong=0
ours() { # the workspace's own crates that $1 depends on, itself left out
    cargo tree --locked -p "$1" -e normal,build --prefix none |
        grep -oE '^(sim-[a-z-]+|scenario-[a-z]+|multigres-[a-z]+|etcd-api) ' | sort -u | grep -vx "$1 " || true
}
allow() { # crate, then what it may depend on
    local crate=$1 found
    shift
    for found in $(ours "$crate"); do
        case " $* " in
            *" $found "*) ;;
            *) echo "$crate depends on $found: not among the arrows of ARCHITECTURE.md" >&2; wrong=1 ;;
        esac
    done
}

leaves="sim-clock sim-net sim-loopback sim-wire etcd-api"
allow etcd-api
allow multigres-operator etcd-api
allow sim-clock
allow sim-wire
allow sim-net sim-clock
allow sim-loopback sim-clock sim-net
allow sim-kube-schemas
allow sim-kube-cel
# shellcheck disable=SC2086 # a list of words
allow sim-kube $leaves sim-kube-schemas sim-kube-cel
for part in etcd dataplane collector tempo controllers; do
    # shellcheck disable=SC2086 # a list of words
    allow "sim-$part" $leaves
done
allow sim-template sim-clock
for part in prometheus alertmanager; do
    # shellcheck disable=SC2086 # a list of words
    allow "sim-$part" $leaves sim-template
done
# shellcheck disable=SC2086
allow sim-world $leaves sim-kube sim-kube-schemas sim-kube-cel sim-etcd sim-dataplane sim-collector sim-prometheus sim-alertmanager sim-template sim-tempo sim-controllers
[ "$wrong" -eq 0 ] && echo "arrows: every crate depends only on what stands to its right"
exit "$wrong"

#!/usr/bin/env bash
# Provides a container engine where none answers: Debian's docker.io, started if no service manager has started it.
#
#   ci/tools/docker.sh
#
# Needs root. Ends when the engine answers, at most a minute later.
set -euo pipefail

answers() { docker version >/dev/null 2>&1; }

answers && exit 0
[ "$(id -u)" -eq 0 ] || { echo "docker.sh: installing and starting an engine needs root" >&2; exit 1; }
if ! command -v dockerd >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends docker.io iptables
fi
# Where the package's service does not start (no service manager), the engine is started here.
answers || service docker start >/dev/null 2>&1 || true
answers || { dockerd >/var/log/dockerd.log 2>&1 & }
for _ in $(seq 60); do
    answers && exit 0
    sleep 1
done
echo "docker.sh: no engine answers after a minute" >&2
tail -n 20 /var/log/dockerd.log >&2 || true
exit 1

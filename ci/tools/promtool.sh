#!/usr/bin/env bash
# Provides a current promtool (Prometheus 3.5) on a machine whose own release has an older one.
#
#   ci/tools/promtool.sh [DIRECTORY]     default: target/tools
#
# PROMTOOL_SUITE (default forky) is the Debian suite it is taken from. Prints the program's path; see debian-tool.sh.
set -euo pipefail
exec "$(dirname "$0")/debian-tool.sh" "${1:-target/tools}" "${PROMTOOL_SUITE:-forky}" promtool promtool

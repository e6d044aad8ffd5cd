#!/usr/bin/env bash
# Provides a current kubectl on a machine whose own release has an older one or none.
#
#   ci/tools/kubectl.sh [DIRECTORY]     default: target/tools
#
# KUBECTL_SUITE (default forky) is the Debian suite it is taken from. Prints the program's path; see debian-tool.sh.
set -euo pipefail
exec "$(dirname "$0")/debian-tool.sh" "${1:-target/tools}" "${KUBECTL_SUITE:-forky}" kubectl kubectl version --client

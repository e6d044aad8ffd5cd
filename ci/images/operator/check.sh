#!/usr/bin/env bash
# The operator's image as a cluster would start it (not root, read-only root, no capability) where no cluster is: it says so in one
# clear line and ends with an error.
set -euo pipefail
image=$(sed -n 's/^ *image: \(.*multigres-operator:.*\)$/\1/p' "$(dirname "$0")/../../../deploy/operator/manager.yaml")
start() {
    timeout 60 docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --user 65532:65532 --network none \
        --env POD_NAMESPACE=multigres-operator --env POD_SERVICE_ACCOUNT=multigres-operator-controller-manager "$image" "$@"
}
start --version
status=0
said=$(start 2>&1) || status=$?
echo "$said"
[ "$status" -ne 0 ] && [ "$status" -ne 124 ] || { echo "check.sh: status $status without a cluster" >&2; exit 1; }
[ "$(printf '%s\n' "$said" | wc -l)" -eq 1 ] || { echo "check.sh: more than one line" >&2; exit 1; }
printf '%s' "$said" | grep -qi 'kubeconfig\|KUBERNETES_SERVICE_HOST\|cluster' || { echo "check.sh: it does not say what is missing" >&2; exit 1; }

#!/usr/bin/env bash
# Prints the rule file inside a PrometheusRule manifest, as the Prometheus Operator hands it to Prometheus.
#
#   ci/tools/extract-rules.sh deploy/monitoring/prometheus-rules.yaml > rules.yaml
#
# The manifest holds one PrometheusRule whose `spec:` is its last top-level key.
set -euo pipefail
awk '/^spec:/ { inside = 1; next } inside && /^[^ #]/ { inside = 0 } inside { sub(/^  /, ""); print }' "$1"

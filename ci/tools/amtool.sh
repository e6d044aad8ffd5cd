#!/usr/bin/env bash
# Provides a current amtool and Alertmanager on a machine whose own release has an older one or none.
#
#   ci/tools/amtool.sh [DIRECTORY]     default: target/tools
#
# ALERTMANAGER_SUITE (default forky) is the Debian suite they are taken from. Both come from one package; prints amtool's
# path, and prometheus-alertmanager lies beside it. Debian's build reads its default templates from /usr/share: where they
# are not there a link is made, which needs root. See debian-tool.sh.
set -euo pipefail
directory=${1:-target/tools}
suite=${ALERTMANAGER_SUITE:-forky}
tool=$(dirname "$0")/debian-tool.sh
"$tool" "$directory" "$suite" prometheus-alertmanager prometheus-alertmanager > /dev/null
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ]; then
    mkdir -p "$(dirname "$templates")"
    ln -sfn "$(cd "$directory" && pwd)/prometheus-alertmanager-root$templates" "$templates"
fi
exec "$tool" "$directory" "$suite" prometheus-alertmanager amtool

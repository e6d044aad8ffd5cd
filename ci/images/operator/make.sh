#!/usr/bin/env bash
# Makes the operator's image out of a local build, without a registry: what deploy/operator/Dockerfile makes, linked against glibc.
#
#   ci/images/operator/make.sh [BINARY]     default: target/release/multigres-operator
#
# The image holds the binary without its symbols, the shared libraries that it needs with their loader, and the certificates
# of public authorities if this machine has them; it runs as user 65532. It must stay below 30 MB.
set -euo pipefail
binary=${1:-target/release/multigres-operator}
image=$(sed -n 's/^ *image: \(.*multigres-operator:.*\)$/\1/p' "$(dirname "$0")/../../../deploy/operator/manager.yaml")
most=$((30 * 1000 * 1000))
[ -x "$binary" ] || { echo "make.sh: no $binary (cargo build --release -p multigres-operator)" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/ssl/certs" "$root/tmp"
chmod 1777 "$root/tmp"
objcopy --strip-all "$binary" "$root/multigres-operator"
# `ldd` names each library as "name => path (address)", and the loader by its path alone.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp --dereference "$library" "$root$library"
done
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
echo 'nonroot:x:65532:65532:nonroot:/:/none' > "$root/etc/passwd"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
tar --create --directory "$root" --sort=name --numeric-owner --owner=0 --group=0 . | docker import \
    --change 'ENTRYPOINT ["/multigres-operator"]' --change 'USER 65532:65532' - "$image" >/dev/null
size=$(docker image inspect --format '{{.Size}}' "$image")
echo "$image: $size bytes"
[ "$size" -lt "$most" ] || { echo "make.sh: the image has $size bytes, $most are the limit" >&2; exit 1; }

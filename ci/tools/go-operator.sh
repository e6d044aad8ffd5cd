#!/usr/bin/env bash
# Builds the operator in Go of ci/clients/go with client-go, both from a newer Debian suite (GO_SUITE, default sid).
#
#   ci/tools/go-operator.sh [DIRECTORY]     default: target/tools
#
# Needs root (debootstrap and chroot); the machine's own packages stay as they are, debootstrap is installed if missing.
# Writes DIRECTORY/bin/site-operator, a static binary, and prints its path.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
suite=${GO_SUITE:-sid}
directory=${1:-target/tools}
mkdir -p "$directory/bin"
directory=$(cd "$directory" && pwd)
binary=$directory/bin/site-operator
root=$directory/go-root
source=$here/ci/clients/go/main.go

if [ -x "$binary" ] && [ "$binary" -nt "$source" ]; then
    echo "$binary"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || { echo "go-operator.sh: debootstrap and chroot need root" >&2; exit 1; }
command -v debootstrap >/dev/null || { apt-get update -qq >&2; apt-get install -y -qq --no-install-recommends debootstrap >&2; }

# The mirror this machine is configured with: the first archive that offers Debian's main component.
mirror=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)' \
    | awk -F'|' '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $4 !~ /security/ && !found { print $4; found = 1 }')
[ -n "$mirror" ] || { echo "go-operator.sh: no Debian mirror among this machine's apt sources (run apt-get update first)" >&2; exit 1; }

# A run that was killed leaves it mounted, and what is mounted cannot be removed.
mountpoint -q "$root/proc" && umount "$root/proc"
if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=golang-go,golang-k8s-client-go-dev,golang-k8s-api-dev "$suite" "$root" "$mirror" > "$directory/go-root.log" 2>&1 || {
        tail -n 20 "$directory/go-root.log" >&2
        exit 1
    }
    touch "$root/made"
fi
rm -rf "$root/build"
mkdir -p "$root/build"
cp "$source" "$root/build/"
# Where a container may not mount, Go finds itself by GOROOT.
if mount -t proc proc "$root/proc"; then
    trap 'umount "$root/proc"' EXIT
fi
chroot "$root" /bin/sh -c 'cd /build && HOME=/root GOROOT=/usr/lib/go GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=/tmp/go CGO_ENABLED=0 go build -o site-operator .' >&2
cp "$root/build/site-operator" "$binary"
echo "$binary"

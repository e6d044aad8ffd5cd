#!/usr/bin/env bash
# Unpacks packages of a newer Debian suite into a directory, on a machine whose own release has older ones or none.
#
#   ci/tools/debian-packages.sh ROOT SUITE PACKAGE…
#
# The packages come from the mirror that this machine's apt already uses, through a private apt configuration: the
# machine's own sources, lists and packages stay as they are. Only what is named is unpacked; no dependency is followed.
# Prints a line `PACKAGE VERSION` for each.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: debian-packages.sh ROOT SUITE PACKAGE..." >&2
    exit 2
fi
root=$1 suite=$2
shift 2
for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "debian-packages.sh: $tool is needed (a Debian machine)" >&2; exit 1; }
done
mkdir -p "$root"
root=$(cd "$root" && pwd)

# The mirror this machine is configured with: the first archive that offers Debian's main component.
mirror=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)' \
    | awk -F'|' '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $4 !~ /security/ && !found { print $4; found = 1 }')
if [ -z "$mirror" ]; then
    echo "debian-packages.sh: no Debian mirror among this machine's apt sources (run apt-get update first)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
architecture=$(dpkg --print-architecture)

# Beside the root, so that neither a failure nor another suite's lists are left in it. The lists are kept: the next
# packages of the suite need no second download of them.
apt=$root/../.apt-$suite
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty"
: > "$apt/status"
echo "deb [signed-by=$keyring arch=$architecture] $mirror $suite main" > "$apt/sources.list"
options=(
    -o "Dir::Etc::SourceList=$apt/sources.list"
    -o "Dir::Etc::SourceParts=$apt/empty"
    -o "Dir::Etc::PreferencesParts=$apt/empty"
    -o "Dir::State::Lists=$apt/lists"
    -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt/cache"
    -o "APT::Architecture=$architecture"
    -o "APT::Architectures=$architecture"
    -o "APT::Sandbox::User=root"
    -o "Acquire::Languages=none"
    -o "Acquire::Retries=3"
)
apt-get "${options[@]}" update -qq >&2
packages=$(mktemp -d "$root/../.packages-XXXXXX")
trap 'rm -rf "$packages"' EXIT
(cd "$packages" && apt-get "${options[@]}" download -qq "$@" >&2)
for package in "$packages"/*.deb; do
    dpkg-deb --extract "$package" "$root"
    dpkg-deb --show --showformat '${Package} ${Version}\n' "$package"
done

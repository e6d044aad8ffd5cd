#!/usr/bin/env bash
# Provides a current promtool (Prometheus 3.5) on a machine whose own release has an older one.
#
#   ci/tools/promtool.sh [DIRECTORY]     default: target/tools
#
# The package comes from a newer Debian suite (PROMTOOL_SUITE, default forky), from the same mirror
# that this machine's apt already uses, through a private apt configuration: the machine's own
# sources, lists and packages stay as they are. Go links promtool against the C library only, so the
# newer libc6 is unpacked beside it and promtool is started by that library's own loader.
#
# Writes DIRECTORY/bin/promtool (a wrapper that passes all arguments through) and prints its path.
set -euo pipefail

suite=${PROMTOOL_SUITE:-forky}
directory=${1:-target/tools}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
wrapper=$directory/bin/promtool

if [ -x "$wrapper" ] && "$wrapper" --version >/dev/null 2>&1; then
    echo "$wrapper"
    exit 0
fi

for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "promtool.sh: $tool is needed (a Debian machine)" >&2; exit 1; }
done

# The mirror this machine is configured with: the first archive that offers Debian's main component.
mirror=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)' \
    | awk -F'|' '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $4 !~ /security/ && !found { print $4; found = 1 }')
if [ -z "$mirror" ]; then
    echo "promtool.sh: no Debian mirror among this machine's apt sources (run apt-get update first)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
architecture=$(dpkg --print-architecture)

apt=$directory/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty" "$apt/packages"
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
apt-cache "${options[@]}" policy promtool >&2

root=$directory/promtool-root
rm -rf "$root" "$apt/packages"
mkdir -p "$root" "$apt/packages" "$directory/bin"
(cd "$apt/packages" && apt-get "${options[@]}" download -qq promtool libc6 >&2)
for package in "$apt"/packages/*.deb; do
    dpkg-deb --extract "$package" "$root"
done
rm -rf "$apt"

# The loader's name differs by architecture (ld-linux-x86-64.so.2, ld-linux-aarch64.so.1).
loader=$(find "$root" -name 'ld-linux-*.so.*' | sort | head -n 1)
libraries=$(dirname "$(find "$root" -name 'libc.so.6' | sort | head -n 1)")
cat > "$wrapper" <<WRAPPER
#!/bin/sh
exec "$loader" --library-path "$libraries" "$root/usr/bin/promtool" "\$@"
WRAPPER
chmod +x "$wrapper"
"$wrapper" --version >&2
echo "$wrapper"

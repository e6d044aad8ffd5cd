#!/usr/bin/env bash
# Provides one program of a newer Debian suite on a machine whose own release has an older one or none.
#
#   ci/tools/debian-tool.sh DIRECTORY SUITE PACKAGE PROGRAM [VERSION-ARGUMENT…]
#
# The package comes from the mirror that this machine's apt already uses, through a private apt configuration: the
# machine's own sources, lists and packages stay as they are. Programs written in Go are linked against the C library at
# most, so the suite's libc6 is unpacked beside it and the program is started by that library's own loader.
#
# Writes DIRECTORY/bin/PROGRAM (a wrapper that passes all arguments through) and prints its path. VERSION-ARGUMENT… (by default
# --version) must make the program end with status 0.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: debian-tool.sh DIRECTORY SUITE PACKAGE PROGRAM [VERSION-ARGUMENT...]" >&2
    exit 2
fi
directory=$1 suite=$2 package=$3 program=$4
shift 4
version=("${@:---version}")
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
wrapper=$directory/bin/$program

if [ -x "$wrapper" ] && "$wrapper" "${version[@]}" >/dev/null 2>&1; then
    echo "$wrapper"
    exit 0
fi

for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "debian-tool.sh: $tool is needed (a Debian machine)" >&2; exit 1; }
done

# The mirror this machine is configured with: the first archive that offers Debian's main component.
mirror=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)' \
    | awk -F'|' '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $4 !~ /security/ && !found { print $4; found = 1 }')
if [ -z "$mirror" ]; then
    echo "debian-tool.sh: no Debian mirror among this machine's apt sources (run apt-get update first)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
architecture=$(dpkg --print-architecture)

apt=$directory/apt-$program
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
apt-cache "${options[@]}" policy "$package" >&2

root=$directory/$program-root
rm -rf "$root" "$apt/packages"
mkdir -p "$root" "$apt/packages" "$directory/bin"
(cd "$apt/packages" && apt-get "${options[@]}" download -qq "$package" libc6 >&2)
for package in "$apt"/packages/*.deb; do
    dpkg-deb --extract "$package" "$root"
done
rm -rf "$apt"

# The loader's name differs by architecture (ld-linux-x86-64.so.2, ld-linux-aarch64.so.1).
loader=$(find "$root" -name 'ld-linux-*.so.*' | sort | head -n 1)
libraries=$(dirname "$(find "$root" -name 'libc.so.6' | sort | head -n 1)")
cat > "$wrapper" <<WRAPPER
#!/bin/sh
exec "$loader" --library-path "$libraries" "$root/usr/bin/$program" "\$@"
WRAPPER
chmod +x "$wrapper"
"$wrapper" "${version[@]}" >&2
echo "$wrapper"

#!/usr/bin/env bash
# Provides one program of a newer Debian suite on a machine whose own release has an older one or none.
#
#   ci/tools/debian-tool.sh DIRECTORY SUITE PACKAGE PROGRAM [VERSION-ARGUMENT…]
#
# The package is unpacked by debian-packages.sh. Programs written in Go are linked against the C library at most, so the
# suite's libc6 is unpacked beside it and the program is started by that library's own loader.
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

root=$directory/$program-root
rm -rf "$root"
mkdir -p "$directory/bin"
"$(dirname "$0")/debian-packages.sh" "$root" "$suite" "$package" libc6 >&2

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

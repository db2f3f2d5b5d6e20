#!/bin/sh
# Runs every example of every crate, each in an empty home: an example that does not run is not one.
#
# An example takes no arguments and ends by itself within a minute. It may ask the embedded model, which is in the cache.
# Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

passed=0
failed=0

# Of a crate folder: its package's name.
package() {
    sed -n '/^\[package\]/,/^\[/s/^name = "\(.*\)"/\1/p' "$1/Cargo.toml"
}

# The names of a crate's examples: by file, by folder with a main.rs, and by [[example]] with a path of its own.
examples() {
    for file in "$1"/examples/*.rs; do
        [ -e "$file" ] && basename "$file" .rs
    done
    for file in "$1"/examples/*/main.rs; do
        [ -e "$file" ] && basename "$(dirname "$file")"
    done
    sed -n '/^\[\[example\]\]/,/^\[/s/^name = "\(.*\)"/\1/p' "$1/Cargo.toml"
}

for crate in crates/*; do
    [ -f "$crate/Cargo.toml" ] || continue
    name=$(package "$crate")
    names=$(examples "$crate" | sort -u)
    [ -n "$names" ] || continue
    cargo build --quiet --locked -p "$name" --examples --all-features
    for example in $names; do
        home=$scratch/$example
        mkdir -p "$home"
        # Settings and agents of whoever runs this must not answer instead: only what a program needs to start is handed on.
        if (cd "$home" && env -i PATH=/usr/bin:/bin HOME="$home" XDG_CACHE_HOME="$cache_home" TMPDIR="$scratch" \
            timeout 60 "$CARGO_TARGET_DIR/debug/examples/$example") </dev/null >"$home/out" 2>&1; then
            passed=$((passed + 1))
            say "ok    $name $example"
        else
            failed=$((failed + 1))
            say "FAIL  $name $example"
            sed 's/^/      /' "$home/out" >&2
        fi
    done
done

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

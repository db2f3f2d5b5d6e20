#!/bin/sh
# The documents agree with the tree: every relative link leads to a file, every path named in the map exists.
#
# That generated references (docs/environment.md, docs/configuration.md) equal the tables they are made from is a test of crates/core.
# Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

root=${1:-.}
passed=0
failed=0

check() {
    if [ -e "$root/$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "FAIL  $1 names $2, which does not exist"
    fi
}

for document in "$root"/*.md "$root"/docs/*.md "$root"/docs/*/*.md; do
    [ -e "$document" ] || continue
    name=${document#"$root"/}
    folder=$(dirname "$name")
    # Inline links outside fenced blocks, without fragments; whole addresses are not asked for.
    # shellcheck disable=SC2013 # a link holds no space
    for link in $(awk '/^```/ { fenced = !fenced } !fenced' "$document" | grep -o '](\([^)]*\))' | sed 's/^](//; s/)$//; s/#.*//' | sort -u); do
        case $link in
        *://* | mailto:*) ;;
        *) check "$name" "$folder/$link" ;;
        esac
    done
done

# `crates/…` and `scripts/…` in backquotes.
for document in "$root"/*.md "$root"/docs/*.md "$root"/docs/*/*.md; do
    [ -e "$document" ] || continue
    # shellcheck disable=SC2013,SC2016 # a path holds no space; the backquotes are the document's
    for path in $(grep -Eo '`(crates|scripts|tests)/[A-Za-z0-9_./-]*`' "$document" | tr -d '`' | sort -u); do
        check "${document#"$root"/}" "$path"
    done
done

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

#!/bin/sh
# Runs the blocks of the README that say they run: what a reader types first must work as it is printed.
#
# A block runs when the line `<!-- runs -->` stands before its ```sh fence. Each runs in a folder and a home of its own, with the built
# program and the system's on PATH, and no setting or agent of whoever runs this. Another document is named as the first argument.
# Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

document=${1:-README.md}
blocks=$scratch/blocks
mkdir "$blocks"

# One file a block, named by the line of its fence.
awk -v folder="$blocks" '
    /^<!-- runs -->$/           { marked = 1; next }
    !inside && /^```sh$/ && marked { inside = 1; marked = 0; file = sprintf("%s/%05d.sh", folder, NR); print "set -eu" > file; next }
    inside && /^```$/           { inside = 0; close(file); next }
    inside                      { print > file; next }
    NF                          { marked = 0 }
' "$document"

passed=0
failed=0
program=$CARGO_TARGET_DIR/debug
for block in "$blocks"/*.sh; do
    [ -e "$block" ] || die "$document has no block that runs (<!-- runs --> before \`\`\`sh)"
    line=$(basename "$block" .sh | sed 's/^0*//')
    home=$scratch/home-$line
    mkdir "$home"
    if (cd "$home" && env -i PATH="$program:/usr/bin:/bin" HOME="$home" XDG_CACHE_HOME="$cache_home" TMPDIR="$scratch" \
        timeout 120 sh "$block") </dev/null >"$home/.out" 2>&1; then
        passed=$((passed + 1))
        say "ok    $document:$line"
    else
        failed=$((failed + 1))
        say "FAIL  $document:$line"
        sed 's/^/      /' "$block" "$home/.out" >&2
    fi
done

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

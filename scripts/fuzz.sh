#!/bin/sh
# Builds the fuzz targets and runs each for FUZZ_SECONDS (60) with all that earlier runs found: `scripts/fuzz.sh [TARGET...]`.
#
# No C++ of ours is compiled, llama.cpp included. The stable compiler has what coverage needs; no nightly one, no cargo-fuzz. What makes a target fail is left in fuzz/artifacts/TARGET/, and the
# inputs worth keeping lie in the cache folder. Ends with 1 if any target failed.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

seconds=${FUZZ_SECONDS:-60}
corpus=$cache_home/ipfs-llm-router-build/fuzz-corpus
host=$(rustc -vV | sed -n 's/^host: //p')
all=$(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | tail -n +2)
targets=${*:-$all}
set --
for target in $targets; do
    set -- "$@" --bin "$target"
done
# The versions that everything else is built with; what only fuzzing needs is added.
[ -e fuzz/Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
# With --target the flags do not reach build scripts, which have no fuzzer to link.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions" \
    cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" "$@"

programs=${CARGO_TARGET_DIR:-target}/fuzz/$host/release
failed=
for target in $targets; do
    mkdir -p "$corpus/$target" "fuzz/artifacts/$target"
    printf '=== %s\n' "$target"
    # Fixtures are where interesting inputs begin, and templates those of the one that reads them.
    seeds=crates/core/tests/fixtures
    [ "$target" != chat_template ] || seeds=crates/local/tests/golden/templates
    "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "$corpus/$target" "$seeds" 2>"$corpus/$target.log" || failed="$failed $target"
    grep -E '^(stat::number_of_executed_units|SUMMARY|==[0-9]+==)' "$corpus/$target.log" || true
done
[ -z "$failed" ] || { echo "failed:$failed; the inputs are in fuzz/artifacts/"; exit 1; }

#!/bin/sh
# Every test: the crates, their documentation, the examples, the blocks of the README, the documents' links, these scripts.
#
# All steps run even when one fails, so that one run tells everything; the exit status says whether all passed, and the last lines hold
# what each test runner said and one total.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

passed=0
failed=0
lines=

# step NAME COMMAND...: runs it, shows what it prints, and counts the tests it names, or itself as one where it names none.
step() {
    name=$1
    shift
    say ""
    say "==> $name"
    start=$(now)
    # POSIX sh has no pipefail: the status travels by a file.
    { "$@" 2>&1 && echo 0 >"$scratch/status" || echo $? >"$scratch/status"; } | tee "$scratch/log"
    status=$(cat "$scratch/status")
    took=$(($(now) - start))
    counts=$(awk -f scripts/count-tests.awk "$scratch/log")
    step_passed=${counts% *}
    step_failed=${counts#* }
    if [ "$status" != 0 ] && [ "$step_failed" = 0 ]; then
        step_failed=1
    elif [ "$status" = 0 ] && [ "$step_passed" = 0 ]; then
        step_passed=1
    fi
    passed=$((passed + step_passed))
    failed=$((failed + step_failed))
    lines="$lines
  $name: $step_passed passed, $step_failed failed, ${took} s"
}

crates() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked --no-fail-fast
    else
        say 'cargo-nextest is not here: cargo test runs instead, one program after the other'
        cargo test --workspace --locked --lib --bins --tests --no-fail-fast
    fi
}

# The default model, which the tests of the engine, the examples and the README ask.
model() {
    cargo build --locked -p llm-router-cli &&
        "$CARGO_TARGET_DIR/debug/llm-router" pull
}

scripts/tools.sh
step 'default model' model
step 'crates' crates
step 'documentation tests' cargo test --workspace --locked --doc
step 'examples' scripts/examples.sh
step 'README' scripts/readme.sh
step 'documents' scripts/docs.sh
step 'scripts' scripts/test-scripts.sh

say ""
say "tests:$lines"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

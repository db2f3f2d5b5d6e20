#!/bin/sh
# Builds the program, gets the default model, and prints the model's answer to PROMPT: the first thing a person does here.
#
# Nothing but the answer goes to standard output. A second run builds nothing and fetches nothing.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

scripts/tools.sh
cargo build --release --locked -p llm-router-cli
program=$CARGO_TARGET_DIR/release/llm-router
"$program" pull >/dev/null
exec "$program" generate --provider local --prompt="${PROMPT:-Say hello to somebody who has just built you, in one sentence.}"

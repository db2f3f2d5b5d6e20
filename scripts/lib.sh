# shellcheck shell=sh
# What every script here shares: where things are, and how to say things. Sourced, never run.
# It sets no option of the shell and changes no folder; each script opens with `set -eu` and `cd` by itself.

# Rust installed for this user counts even where the login shell has not been started anew.
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
fi

# One answer to "where is the program", whatever a configuration file of cargo says.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR

# Models, answers and the tools of these scripts; the program uses the same folder.
cache_home=${XDG_CACHE_HOME:-$HOME/.cache}
# shellcheck disable=SC2034 # read by the scripts that source this file
model_cache=$cache_home/ipfs-llm-router
# shellcheck disable=SC2034
tool_cache=$cache_home/ipfs-llm-router-build/tools

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}

# Seconds since the epoch: for the time a step took.
now() {
    date +%s
}

# A folder that ends with the script. Sets `scratch`.
make_scratch() {
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/llm-router.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

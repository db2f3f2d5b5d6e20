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

# Run again what needs the network, which now and then is not there: three times in all.
retried() {
    for pause in 5 20; do
        "$@" && return
        say "that failed; again in $pause s"
        sleep "$pause"
    done
    "$@"
}

# installed NAME INSTALL FILE...: sets `tools` to the folder of the cache with the tools whose versions and digests are in the files. A new
# one is made by the function INSTALL in that folder, for which `set -e` does not hold. One that nobody used for a month goes.
installed() {
    name=$1
    install=$2
    shift 2
    tools=$tool_cache/$name-$(cat "$@" | sha256sum | cut -c1-16)
    mkdir -p "$tool_cache"
    # Two scripts at once install once.
    exec 9>"$tool_cache/lock"
    flock 9
    if ! [ -e "$tools/.complete" ]; then
        say "installing $name into $tools"
        retried anew || die "$name could not be installed: is the registry of its packages within reach?"
        touch "$tools/.complete"
    fi
    exec 9>&-
    touch "$tools"
    find "$tool_cache" -mindepth 1 -maxdepth 1 -name "$name-*" -mtime +30 -exec rm -rf {} +
}

# A half-made folder is no start.
anew() {
    rm -rf "$tools" && mkdir "$tools" && "$install"
}

# Packages of npm by their lock; none of them needs a script of its own to run.
from_npm() {
    (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
}

# from_pip FILE: packages of Python in an environment of their own, by their digests.
from_pip() {
    python3 -m venv "$tools/venv" >&2 &&
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement "$1" >&2
}

# The program of a debug build, or one that is built already, which LLM_ROUTER or PROGRAM names. Sets `program`.
debug_program() {
    program=${LLM_ROUTER:-${PROGRAM:-}}
    if [ -z "$program" ]; then
        program=$CARGO_TARGET_DIR/debug/llm-router
        cargo build --locked -p llm-router-cli
    elif ! [ -x "$program" ]; then
        die "$program is no program: LLM_ROUTER and PROGRAM name one that is built already"
    fi
}

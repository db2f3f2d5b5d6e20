#!/bin/sh
# The official SDKs of OpenAI, Anthropic and Google, Python's and Node's, against a running server: `tests/sdks/run.py` with everything it needs.
#
#     scripts/test-sdks.sh [NAME...]      NAME is a program under tests/sdks, without which all run
#
# The SDKs are installed into the cache folder, once for each set of versions; that needs the network, the tests do not. Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

for tool in python3 node npm; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here; the SDKs need Python 3.10 or later with venv, Node 20 or later, and npm"
done

versions=$(cat tests/sdks/requirements.txt tests/sdks/package-lock.json | sha256sum | cut -c1-16)
sdks=$cache_home/ipfs-llm-router-build/sdks-$versions
if ! [ -e "$sdks/.complete" ]; then
    say "installing the SDKs into $sdks"
    rm -rf "$sdks"
    mkdir -p "$sdks"
    python3 -m venv "$sdks/venv"
    "$sdks/venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/sdks/requirements.txt >&2
    cp tests/sdks/package.json tests/sdks/package-lock.json "$sdks/"
    # None of them needs a script of its own to run at its installation.
    (cd "$sdks" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
    touch "$sdks/.complete"
fi

# LLM_ROUTER names a program that is built already.
program=${LLM_ROUTER:-$CARGO_TARGET_DIR/debug/llm-router}
[ -n "${LLM_ROUTER:-}" ] || cargo build --locked -p llm-router-cli
"$program" pull >&2
PYTHONDONTWRITEBYTECODE=1 exec "$sdks/venv/bin/python" tests/sdks/run.py "$program" "$sdks/node_modules" "$@"

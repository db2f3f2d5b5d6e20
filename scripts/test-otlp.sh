#!/bin/sh
# What the program exports, read by somebody else: a collector of the messages of opentelemetry-proto, which judges names and types by OpenTelemetry's own lists.
#
# Both are installed once, into a Python environment of their own in the cache folder of these scripts. Prints `N passed, 0 failed`, N checks.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v python3 >/dev/null 2>&1 || die 'python3 is not here: the collector needs Python 3.11 or later with venv'
opentelemetry() {
    from_pip tests/otlp/requirements.txt
}
installed opentelemetry opentelemetry tests/otlp/requirements.txt

debug_program
"$tools/venv/bin/python" tests/otlp/collect.py "$program"

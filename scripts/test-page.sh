#!/bin/sh
# The page at `/` in a real browser: `tests/page/page.mjs` with everything it needs, which is Chromium, Node 20 or later, and Python for the upstream of
# `tests/sdks`. None of them is installed here. Prints `N passed, 0 failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch
. scripts/serve.sh

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || die 'Chromium is not here; apt-get install -y chromium'
for tool in python3 node; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here"
done

debug_program
serve upstream env PYTHONDONTWRITEBYTECODE=1 python3 tests/sdks/upstream
upstream=$address
config=$scratch/router.toml
cat >"$config" <<CONFIG
[server]
drain = "1ms"
api_keys = [{ name = "page", key = "the-routers-key" }]

[providers.chat]
base_url = "$upstream/v1"
dialect = "openai_chat"
api_key = "the-upstreams-key"
models = ["scripted", "other"]
CONFIG
chmod 600 "$config"
serve_router "$program"

HOME="$scratch/home" timeout 300 node tests/page/page.mjs "$chromium" "$scratch/browser" "$address" "$upstream" the-routers-key >"$scratch/out" || {
    cat "$scratch/out" >&2
    die 'the page does not do what it should'
}
cat "$scratch/out"
printf '%s passed, 0 failed\n' "$(grep -c '^ok' "$scratch/out")"

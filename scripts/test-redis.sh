#!/bin/sh
# State that replicas share, with a real redis-server: the store and the limits of crates/redis, replicas of the program over one server, and the program killed under load.
#
# Each test starts a redis-server of its own, on a socket in a folder of its own, and ends it. Without the program redis-server they fail. Prints what the test runner says.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v redis-server >/dev/null 2>&1 || die 'redis-server is not here: install the Debian package redis-server, or Valkey with its program under that name'

if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --locked --no-fail-fast -p llm-router-redis -p llm-router-cli --features llm-router-redis/server,llm-router-cli/replicas \
        -E 'package(llm-router-redis) + binary(replicas)'
fi
cargo test --locked -p llm-router-redis --features server --no-fail-fast
exec cargo test --locked -p llm-router-cli --features replicas --test replicas --no-fail-fast

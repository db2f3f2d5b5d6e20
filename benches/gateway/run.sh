#!/bin/sh
# Measures the server beside nginx, and what a request costs it; every part prints to standard output.
#
#   benches/gateway/run.sh [run] [--quick] [--rounds N] [--json FILE]    the table (nginx)
#   benches/gateway/run.sh turns PROGRAM... [--turns N]                  CPU per request of other builds beside this one's
#   benches/gateway/run.sh instructions [--keep FOLDER]                  instructions per request (valgrind)
#   benches/gateway/run.sh syscalls                                      system calls per request; fails if one touches a file (strace)
#
# Builds both programs first; PROGRAM names a router that is built already.
set -eu
cd "$(dirname "$0")/../.."
. scripts/lib.sh

case ${1:-run} in
    run | turns | instructions | syscalls) part=${1:-run} ;;
    -*) part=run && set -- run "$@" ;;
    *) die "no such part: $1 (run, turns, instructions, syscalls)" ;;
esac
[ $# = 0 ] || shift

case $part in
    run) tool=nginx package=nginx-light ;;
    turns) tool=sh package=dash ;;
    instructions) tool=valgrind package=valgrind ;;
    syscalls) tool=strace package=strace ;;
esac
# Debian has nginx where only root looks.
PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null 2>&1 ||
    die "$tool is not here: on Debian, apt-get install --no-install-recommends $package"

cargo build --release --locked --quiet -p bench-gateway
if [ -z "${PROGRAM:-}" ]; then
    cargo build --release --locked --quiet -p llm-router-cli
    PROGRAM=$CARGO_TARGET_DIR/release/llm-router
fi
exec "$CARGO_TARGET_DIR/release/bench-gateway" "$part" --program "$PROGRAM" "$@"

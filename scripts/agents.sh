#!/bin/sh
# The genuine coding agents through the router: every case of `tests/agents/cases.py` with each provider that drives one.
#
#     scripts/agents.sh [WORD...]            WORDs choose providers and cases, without which all are played
#     scripts/agents.sh figures [WORD...]    measures what the router costs beside them; WORDs choose providers, and `--memory N` how long its memory is watched
#     scripts/agents.sh record [WORD...]     writes what each agent says in each case to the fixtures that `make test` replays
#
# The four agents and the Node that they use are installed into the cache folder, once for each set of versions; that needs the network. The tests have
# none: they run in a network namespace of their own with nothing but its loopback, where a scripted upstream stands for every vendor.
# PROGRAM=PATH takes a router that is built already, a release build for figures. Prints a table of what was played, then `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

for tool in python3 npm openssl; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here: npm brings the agents, python3 plays the cases, openssl makes the certificate of those who stand for the vendors"
done
# Root makes a network namespace as it is; anybody else in a user namespace of his own, where the system lets him.
apart='unshare --net'
[ "$(id -u)" = 0 ] || apart='unshare --map-root-user --net'
$apart true 2>/dev/null || die "no network namespace can be made ($apart): run this as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"

# One of them links its program in a script of its own; the link is all that the script would do.
agents() {
    cp tests/agents/package.json tests/agents/package-lock.json "$tools/" && from_npm &&
        ln -f "$tools/node_modules/@anthropic-ai/claude-code-linux-x64/claude" "$tools/node_modules/@anthropic-ai/claude-code/bin/claude.exe"
}
installed agents agents tests/agents/package-lock.json

play=run.py
case "${1:-}" in
record) play=transcripts.py && shift ;;
figures) play=figures.py && shift ;;
esac
debug_program
"$program" pull >&2
PYTHONDONTWRITEBYTECODE=1 exec $apart python3 "tests/agents/$play" "$program" "$tools/node_modules/.bin" "$@"

#!/bin/sh
# Times whole processes of the program: the figures that no bench inside it can give.
#
#   scripts/measure.sh [PROGRAM]      default: the release build
#
# `--version` is the floor: a process that starts and ends. `providers` is to take 15 ms and 25 MB at most, an answer from the disk 20 ms.
# The commands take turns, so that all see the same machine; medians. Memory is the peak that the
# kernel counted, which for a child of this script is never less than what Python itself takes: an upper bound.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

program=${1:-$CARGO_TARGET_DIR/release/llm-router}
[ -x "$program" ] || die "there is no program at $program: build it with cargo build --release -p llm-router-cli, or name one"

python3 - "$program" "$scratch" <<'PYTHON'
import os, statistics, subprocess, sys, time

program, home = sys.argv[1:]
rounds = 31
environment = {"PATH": "/usr/bin:/bin", "HOME": home, "IPFS_KIT_ROUTER_RESPONSE_CACHE": "1"}
config = os.path.join(home, ".config/ipfs-llm-router")
os.makedirs(config)
with open(os.path.join(config, "config.toml"), "w") as file:
    file.write('[providers.echo]\ncommand = "cat"\n')
generate = ["generate", "--json", "--provider", "echo", "-p", "an answer to keep"]


def run(arguments):
    began = time.perf_counter()
    child = subprocess.Popen([program, *arguments], env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{arguments} ended with {child.returncode}")
    return took * 1000, usage.ru_maxrss / 1024, said


run(generate)
if b'"cached": true' not in run(generate)[2].replace(b'":true', b'": true'):
    sys.exit("the second answer did not come from the disk")
cases = {"--version": ["--version"], "providers": ["providers"], "an answer from the disk": generate}
figures = {name: [] for name in cases}
for _ in range(rounds):
    for name, arguments in cases.items():
        figures[name].append(run(arguments)[:2])
floor = statistics.median(took for took, _ in figures["--version"])
for name, found in figures.items():
    took = statistics.median(took for took, _ in found)
    quickest = min(took for took, _ in found)
    memory = statistics.median(memory for _, memory in found)
    print(f"{name}: median {took:.1f} ms, quickest {quickest:.1f} ms, {took - floor:+.1f} ms over --version, at most {memory:.1f} MB")
PYTHON

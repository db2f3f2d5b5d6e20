"""What the router costs beside the genuine agents: its own processor time a run, how much sooner a warm agent answers, and whether its memory grows.

    python figures.py LLM_ROUTER BIN [--memory N] [WORD...]     WORDs choose providers; N runs are before the first look at the memory and N between the two (200), 0 for none

For each provider `llm-router serve` is started anew some times and asked over HTTP, one request after the other; the upstream answers at once. Processor time
is that of the router's own process, without the agents', from /proc. A figure belongs to its machine: this prints, and people compare with the bound beside it.
What the router adds to the time of an answer is measured with programs that replay recorded transcripts: `cargo bench -p ipfs-llm-router --bench agents`.
It plays only where nothing can leave the machine, as `run.py` does: `scripts/agents.sh figures` gives it such a place.
"""

import argparse
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

from agents import AGENTS
from abilities import chat
from run import alone
from stage import Stage, Try

# Servers started for the first answers, and answers of one of them after those.
STARTS, RUNS = 5, 20
TICK = 1 / os.sysconf("SC_CLK_TCK")
# The bounds: milliseconds of the router's own processor time for a run, and how many times faster a warm agent answers than a cold one.
CPU, WARM = 30, 3
# Providers whose program stays between requests.
STAY = ("codex_cli", "copilot_sdk")


def computed(pid):
    """Seconds of processor time of a process itself."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def resident(pid):
    """MiB of memory of a process."""
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def asked(url, who):
    """The seconds of one answer."""
    began = time.monotonic()
    status, _, text = chat(url, f"{who.id}/swift")
    assert status == 200, (status, text)
    return time.monotonic() - began


def measured(stage, who, memory):
    """The lines of one provider, each as soon as it is known: the last takes long."""
    cold, warm = [], []
    starts = STARTS if who.id in STAY else 1
    for start in range(starts):
        this = Try(stage, who, "figures")
        env = {**this.environment("upstream"), **who.own(stage.upstream)}
        with this.serving("", env) as url:
            cold.append(asked(url, who))
            warm.append(asked(url, who))
            if start + 1 < starts:
                continue
            if who.id in STAY:
                first, second = statistics.median(cold) * 1e3, statistics.median(warm) * 1e3
                yield f"first answer {first:.0f} ms, second {second:.0f} ms, medians of {STARTS}: {first / second:.1f} times (bound {WARM} times)"
            before = computed(this.child.pid)
            later = [asked(url, who) for _ in range(RUNS)]
            own = (computed(this.child.pid) - before) / RUNS * 1e3
            yield f"own CPU {own:.1f} ms a run of {RUNS} (bound {CPU} ms), an answer in {statistics.median(later) * 1e3:.0f} ms"
            if memory:
                # What is kept of the first requests (pools, bounded records) has its place once that many have been.
                for _ in range(memory):
                    asked(url, who)
                first = resident(this.child.pid)
                for _ in range(memory):
                    asked(url, who)
                yield f"resident {first:.2f} MiB after {memory + RUNS + 2} runs, {resident(this.child.pid):.2f} MiB after {memory} more (bound: no growth)"
        this.close()


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("program")
    words.add_argument("bin")
    words.add_argument("--memory", type=int, default=200)
    words.add_argument("wanted", nargs="*", metavar="WORD")
    given = words.parse_intermixed_args()
    if unknown := set(given.wanted) - {who.id for who in AGENTS}:
        raise SystemExit(f"error: no provider: {', '.join(sorted(unknown))}; there are {', '.join(who.id for who in AGENTS)}")
    alone()
    # Ended from outside, it ends what it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The same program under another name costs the same.
    chosen = [who for who in AGENTS if who.id in given.wanted] or [who for who in AGENTS if not who.id.endswith("_py")]
    with tempfile.TemporaryDirectory(prefix="llm-router-agents.") as folder:
        stage = Stage(given.program, given.bin, folder)
        try:
            stage.start()
            for who in chosen:
                for line in measured(stage, who, given.memory):
                    print(f"{who.id}: {line}", flush=True)
        finally:
            stage.end()


if __name__ == "__main__":
    sys.exit(main())

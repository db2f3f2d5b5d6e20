"""Plays every case with every agent, prints what came of it as a table, then `N passed, N failed`.

    python run.py LLM_ROUTER BIN [--jobs N] [WORD...]     BIN is the folder of the agents; WORDs choose providers and cases, without which all are played

It plays only where nothing can leave the machine: in a network namespace with nothing but its own loopback, which it brings up. `scripts/agents.sh` gives it one.
"""

import argparse
import concurrent.futures
import fcntl
import os
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback

from agents import AGENTS
from cases import CASES
from stage import Stage, Try


def alone():
    """Brings the loopback up, and makes sure that there is nothing else."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise SystemExit(f"error: {', '.join(others)} could lead out of this machine: start this by scripts/agents.sh, which gives it a network of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(probe, 0x8913, request))[1]
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def chosen(wanted):
    """The agents and the names of the cases that words choose."""
    known = {*(who.id for who in AGENTS), *(who.program for who in AGENTS), *CASES}
    if unknown := [word for word in wanted if word not in known]:
        raise SystemExit(f"error: neither a provider nor a case: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    agents = [who for who in AGENTS if {who.id, who.program} & set(wanted)] or AGENTS
    return agents, [name for name in CASES if name in wanted] or list(CASES)


def play(stage, who, name):
    """Plays one case with one agent; what is wrong, and the seconds it took."""
    began = time.monotonic()
    if reason := who.excused.get(name):
        return None, reason, 0
    this = Try(stage, who, name)
    wrong = []
    try:
        CASES[name](this)
    except AssertionError as failed:
        wrong.append(str(failed) or "an assertion failed")
    except Exception:
        wrong.append(traceback.format_exc())
    if this.child and not this.bare:
        wrong += this.invariants()
    this.close()
    return wrong, "", time.monotonic() - began


def finished(pool, playing):
    """Each play as it ends; whoever is ended in the midst of it begins no more of them."""
    try:
        yield from concurrent.futures.as_completed(playing)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def table(results, agents, names):
    """The results as lines: a row a case, a column an agent."""
    wide = max(len(name) for name in names) + 2
    columns = [max(len(who.id), 6) + 2 for who in agents]
    lines = [" " * wide + "".join(who.id.ljust(size) for who, size in zip(agents, columns, strict=True))]
    for name in names:
        cells = []
        for who in agents:
            wrong, _, took = results[who.id, name]
            cells.append("excused" if wrong is None else "FAIL" if wrong else f"{took:.1f} s")
        lines.append(name.ljust(wide) + "".join(cell.ljust(size) for cell, size in zip(cells, columns, strict=True)))
    return lines


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("program")
    words.add_argument("bin")
    words.add_argument("--jobs", type=int, default=max(2, (os.cpu_count() or 2)))
    words.add_argument("wanted", nargs="*", metavar="WORD")
    given = words.parse_intermixed_args()
    alone()
    agents, names = chosen(given.wanted)
    # Ended from outside, it ends what it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = {}
    with tempfile.TemporaryDirectory(prefix="llm-router-agents.") as folder:
        stage = Stage(given.program, given.bin, folder)
        try:
            stage.start()
            with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
                playing = {pool.submit(play, stage, who, name): (who, name) for name in names for who in agents}
                for done in finished(pool, playing):
                    who, name = playing[done]
                    results[who.id, name] = wrong, reason, _ = done.result()
                    for one in wrong or []:
                        print(f"FAIL  {who.id}: {name}: {one}", flush=True)
                    if reason:
                        print(f"      {who.id}: {name}: excused: {reason}", flush=True)
        finally:
            stage.end()
    print("\n" + "\n".join(table(results, agents, names)) + "\n")
    passed = sum(wrong == [] for wrong, *_ in results.values())
    failed = sum(bool(wrong) for wrong, *_ in results.values())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs one command and writes what it said, line by line with its times, as a transcript that the tests of the drivers replay.

    record.py OUT.jsonl [--stdin FILE] [--version WORDS] [--deadline SECONDS] -- COMMAND...

The first line of a transcript is {"argv":[...],"version":"..."}, then one line for each line of output, {"ms":12,"out":"..."} or
{"ms":13,"err":"..."} with the milliseconds since the start, and last {"exit":0,"ms":900} or {"signal":15,"ms":900}. What differs from one run to
the next (ids, dates, ports, temporary folders, keys) is written as something that does not: see `Stable`. Without --stdin the command
finds its standard input at its end. With `--ask FILE` the conversation goes both ways: FILE holds one message a line to write, and
`{"wait":"WORDS"}` lines that hold the next back until a line of output has the words; what is written is kept as {"ms":14,"in":"..."}.
`--framed` says that messages go in frames of Content-Length instead of lines.

It is a recorder only: what the words mean is for the drivers to say.
"""

import argparse
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

LONGEST = 64 * 1024
"""Characters of a line that are kept; no agent's line for a short answer is longer."""


class Stable:
    """Writes what differs between two runs as something that does not, the same thing always in the same way."""

    def __init__(self, secrets, folders):
        self.ids = {}
        self.fixed = [(word, "test") for word in secrets if word]
        # The longer first: one folder may hold the other.
        self.fixed += [(word, "/tmp/agent") for word in sorted(folders, key=len, reverse=True) if len(word) > 1]

    def __call__(self, line):
        for word, instead in self.fixed:
            line = line.replace(word, instead)
        line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", self.id, line)
        line = re.sub(r"(?<!\d)20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", "2026-01-01T00:00:00.000Z", line)
        line = re.sub(r"\b(127\.0\.0\.1|localhost):\d{4,5}\b", r"\1:1", line)
        line = re.sub(r"\b(pid|processId)([\":= ]+)\d+", r"\g<1>\g<2>1", line)
        return line[:LONGEST]

    def id(self, found):
        number = self.ids.setdefault(found[0], len(self.ids) + 1)
        return f"00000000-0000-0000-0000-{number:012d}"


def lines_of(pipe):
    """Each line of the pipe, without its end."""
    for line in pipe:
        yield line.decode("utf-8", "replace").rstrip("\n").rstrip("\r")


def frames_of(pipe):
    """The body of each frame of Content-Length."""
    length = None
    while line := pipe.readline():
        words = line.strip()
        if words.lower().startswith(b"content-length:"):
            length = int(words.split(b":")[1])
        elif not words and length is not None:
            yield pipe.read(length).decode("utf-8", "replace")
            length = None


def record(command, stdin=None, ask=None, framed=False, version="", deadline=120, stable=None, env=None, cwd=None):
    """The transcript of one run, a list of the objects that its lines are."""
    stable = stable or Stable([], [])
    started = time.monotonic()
    events = queue.Queue()

    def at():
        return int((time.monotonic() - started) * 1000)

    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if ask is not None or stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=env,
        cwd=cwd,
    )

    def pump(pipe, name, split):
        for line in split(pipe):
            events.put((name, at(), line))
        events.put((name, at(), None))

    threading.Thread(target=pump, args=(child.stdout, "out", frames_of if framed else lines_of), daemon=True).start()
    threading.Thread(target=pump, args=(child.stderr, "err", lines_of), daemon=True).start()
    if stdin is not None:
        threading.Thread(target=feed, args=(child.stdin, stdin), daemon=True).start()

    kept = [{"argv": [os.path.basename(command[0])] + [stable(word) for word in command[1:]], "version": version}]
    waiting = list(ask) if ask is not None else []
    awaited = None
    overdue = threading.Timer(deadline, os.killpg, (child.pid, signal.SIGKILL))
    overdue.start()
    open_pipes = 2
    while open_pipes:
        while waiting and awaited is None:
            message = waiting.pop(0)
            if "wait" in message and len(message) == 1:
                awaited = message["wait"]
                break
            body = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
            data = body.encode()
            feed_some(child.stdin, b"Content-Length: %d\r\n\r\n%s" % (len(data), data) if framed else data + b"\n")
            kept.append({"ms": at(), "in": stable(body)})
        if ask is not None and not waiting and awaited is None:
            ask = None
            child.stdin.close()
        name, ms, line = events.get()
        if line is None:
            open_pipes -= 1
            continue
        kept.append({"ms": ms, name: stable(line)})
        if awaited is not None and awaited in line:
            awaited = None
    code = child.wait()
    overdue.cancel()
    kept.append({"signal": -code, "ms": at()} if code < 0 else {"exit": code, "ms": at()})
    return kept


def beside(program, name, out, version, stable):
    """Stands before a program for whoever started this one: hands everything on both ways as it comes, and writes the transcript to `out` at the end."""
    started = time.monotonic()
    kept = [{"argv": [name] + [stable(word) for word in sys.argv[1:]], "version": version}]
    lock = threading.Lock()
    child = subprocess.Popen([program, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # The whole group is told to end; the transcript is written all the same.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))

    def keep(which, line):
        with lock:
            kept.append({"ms": int((time.monotonic() - started) * 1000), which: stable(line)})

    def pump(source, sink, which):
        """Bytes as they come to the one side, lines or frames as they are whole to the transcript."""
        waiting, framed = b"", None
        while data := os.read(source, 65536):
            waiting += data
            framed = waiting.startswith(b"Content-Length:") if framed is None else framed
            lines, waiting = split_frames(waiting) if framed else split_lines(waiting)
            # Kept before it is handed on: the answer to a line must not stand before it.
            for line in lines:
                keep(which, line.decode("utf-8", "replace"))
            feed_some(sink, data)
        if waiting:
            keep(which, waiting.decode("utf-8", "replace"))
        if which == "in":
            try:
                child.stdin.close()
            except (BrokenPipeError, OSError):
                pass

    threading.Thread(target=pump, args=(0, child.stdin, "in"), daemon=True).start()
    pumps = [
        threading.Thread(target=pump, args=(child.stdout.fileno(), sys.stdout.buffer, "out"), daemon=True),
        threading.Thread(target=pump, args=(child.stderr.fileno(), sys.stderr.buffer, "err"), daemon=True),
    ]
    for one in pumps:
        one.start()
    for one in pumps:
        one.join()
    code = child.wait()
    with lock:
        ms = int((time.monotonic() - started) * 1000)
        write(out, [*kept, {"signal": -code, "ms": ms} if code < 0 else {"exit": code, "ms": ms}])
    # Whoever waits for this one learns how the program ended.
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def split_lines(data):
    """The whole lines of what came, and what is left."""
    *lines, rest = data.split(b"\n")
    return [line.rstrip(b"\r") for line in lines], rest


def split_frames(data):
    """The bodies of the whole frames of what came, and what is left."""
    bodies = []
    while True:
        head, mark, rest = data.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not mark or not found or len(rest) < int(found[1]):
            return bodies, data
        bodies.append(rest[: int(found[1])])
        data = rest[int(found[1]) :]


def feed(pipe, data):
    feed_some(pipe, data)
    try:
        pipe.close()
    except BrokenPipeError:
        pass


def feed_some(pipe, data):
    try:
        pipe.write(data)
        pipe.flush()
    except (BrokenPipeError, ValueError):
        pass


def write(path, kept):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        for line in kept:
            out.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")


def main():
    mine, _, command = sys.argv[1:], None, []
    if "--" in mine:
        cut = mine.index("--")
        mine, command = mine[:cut], mine[cut + 1 :]
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("out", metavar="OUT.jsonl")
    words.add_argument("--stdin", metavar="FILE")
    words.add_argument("--ask", metavar="FILE")
    words.add_argument("--framed", action="store_true")
    words.add_argument("--version", default="")
    words.add_argument("--deadline", type=float, default=120)
    words.add_argument("--secret", action="append", default=[], help="written as `test`")
    words.add_argument("--folder", action="append", default=[], help="written as /tmp/agent")
    asked = words.parse_args(mine)
    if not command:
        words.error("what is to be run comes after `--`")
    ask = None
    if asked.ask:
        with open(asked.ask, encoding="utf-8") as lines:
            ask = [json.loads(line) for line in lines if line.strip()]
    stdin = None
    if asked.stdin:
        with open(asked.stdin, "rb") as data:
            stdin = data.read()
    folders = asked.folder + [os.environ.get(name, "") for name in ("HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME", "COPILOT_HOME", "TMPDIR", "PWD")]
    kept = record(command, stdin, ask, asked.framed, asked.version, asked.deadline, Stable(asked.secret, folders))
    write(asked.out, kept)
    last = kept[-1]
    print(json.dumps(last), file=sys.stderr)


if __name__ == "__main__":
    main()

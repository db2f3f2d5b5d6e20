"""Starts the scripted upstream and two routers, runs the programs against them, ends all that it started, and counts.

    python run.py LLM_ROUTER NODE_MODULES [NAME…]     NAME is a program of `python/` or `node/`, without which all run

One router has the scripted upstream behind it and wants a key; the other has no configuration at all and answers from the embedded model, which
must be in the cache. `scripts/test-sdks.sh` calls this with the SDKs installed.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
KEY = "the-routers-key"
READY = re.compile(r"listening on (http://\S+)")
TIMEOUT = 600


def start(command, stream, **options):
    """Starts a server and waits for the line that says where it listens."""
    pipes = {stream: subprocess.PIPE, "stdin": subprocess.DEVNULL}
    child = subprocess.Popen([str(word) for word in command], text=True, **pipes, **options)
    said = []
    for line in getattr(child, stream):
        said.append(line)
        if found := READY.search(line):
            # What it says from now on is read to its end, so that it never waits for a reader.
            rest = threading.Thread(target=lambda: [sys.stderr.write(line) for line in getattr(child, stream)], daemon=True)
            rest.start()
            return child, found[1]
    child.wait()
    raise SystemExit(f"{command[0]} ended before it listened:\n{''.join(said)}")


def main():
    program, modules, *wanted = sys.argv[1:]
    children, passed, failed = [], 0, 0
    with tempfile.TemporaryDirectory(prefix="llm-router-sdks.") as folder:
        # Settings and keys of whoever runs this must not answer instead.
        home = pathlib.Path(folder)
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache")
        clean = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, "XDG_CACHE_HOME": cache, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            upstream, at = start([sys.executable, HERE / "upstream.py"], "stdout", env=clean)
            children.append(upstream)
            config = home / "config.toml"
            config.write_text((HERE / "config.toml").read_text().replace("UPSTREAM", at))
            config.chmod(0o600)
            scripted, scripted_at = start([program, "serve", "--port", "0", "--config", config], "stderr", env=clean)
            children.append(scripted)
            embedded, embedded_at = start([program, "serve", "--port", "0"], "stderr", env=clean)
            children.append(embedded)

            env = {**clean, "SCRIPTED_URL": scripted_at, "EMBEDDED_URL": embedded_at, "ROUTER_KEY": KEY, "NODE_MODULES": modules}
            programs = [(sys.executable, path) for path in sorted((HERE / "python").glob("*_sdk.py"))]
            programs += [("node", path) for path in sorted((HERE / "node").glob("*_sdk.mjs"))]
            for runner, path in programs:
                if wanted and path.stem not in wanted and path.name not in wanted:
                    continue
                try:
                    ran = subprocess.run([runner, str(path)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
                    out, status = ran.stdout, ran.returncode
                except subprocess.TimeoutExpired as late:
                    out, status = f"{(late.stdout or b'').decode()}\n{path.name} did not end in {TIMEOUT} s\n", 1
                counted = re.search(r"^(\d+) passed, (\d+) failed$", out, re.MULTILINE)
                print(out if counted is None else out[: counted.start()], end="", flush=True)
                good, bad = (int(counted[1]), int(counted[2])) if counted else (0, 1)
                passed, failed = passed + good, failed + (bad or (1 if status else 0))
        finally:
            for child in children:
                child.send_signal(signal.SIGTERM)
            for child in children:
                try:
                    child.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    child.kill()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

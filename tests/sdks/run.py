"""Starts the scripted upstream and two routers, runs the programs against them, ends all that it started, and prints what was tried as a table.

    python run.py LLM_ROUTER NODE NODE_MODULES [NAME…]     NAME is a program of `python/` or `node/`, without which all run

One router has the scripted upstream behind it, the other has no provider but the embedded model, which must be in the cache. A place of the table
(`table.py`) that no case fills is a failure. `scripts/test-sdks.sh` calls this with the SDKs installed.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

import table

HERE = pathlib.Path(__file__).resolve().parent
KEY = "the-routers-key"
READY = re.compile(r"listening on (http://\S+)")
TIMEOUT = 600


def start(children, command, stream, **options):
    """Starts a server and waits for the line that says where it listens."""
    pipes = {stream: subprocess.PIPE, "stdin": subprocess.DEVNULL}
    child = subprocess.Popen([str(word) for word in command], text=True, **pipes, **options)
    children.append(child)
    said = []
    for line in getattr(child, stream):
        said.append(line)
        if found := READY.search(line):
            # What it says from now on is read to its end, so that it never waits for a reader.
            rest = threading.Thread(target=lambda: [sys.stderr.write(line) for line in getattr(child, stream)], daemon=True)
            rest.start()
            return found[1]
    child.wait()
    raise SystemExit(f"{command[0]} ended before it listened:\n{''.join(said)}")


def end(children):
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def tried(runner, path, env):
    """Runs a program; its output, and how many of its cases failed."""
    try:
        ran = subprocess.run([runner, str(path)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
        out, status = ran.stdout, ran.returncode
    except subprocess.TimeoutExpired as late:
        out, status = f"{(late.stdout or b'').decode()}\nFAIL  {path.name} did not end in {TIMEOUT} s\n", 1
    counted = re.search(r"^(\d+) passed, (\d+) failed$", out, re.MULTILINE)
    print(out if counted is None else out[: counted.start()], end="", flush=True)
    if counted is None:
        print(f"FAIL  {path.name} ended with {status} before it had counted")
        return out, 0, 1
    return out, int(counted[1]), int(counted[2]) or (1 if status else 0)


def main():
    program, node, modules, *wanted = sys.argv[1:]
    # Ended from outside, it ends what it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    children, passed, failed, said = [], 0, 0, ""
    with tempfile.TemporaryDirectory(prefix="llm-router-sdks.") as folder:
        # Settings and keys of whoever runs this must not answer instead.
        home = pathlib.Path(folder)
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache")
        clean = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, "XDG_CACHE_HOME": cache, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            upstream = start(children, [sys.executable, HERE / "upstream"], "stdout", env=clean)
            scripted, alone = home / "scripted.toml", home / "embedded.toml"
            scripted.write_text((HERE / "config.toml").read_text().replace("UPSTREAM", upstream))
            alone.write_text(f'[server]\ndrain = "1ms"\napi_keys = [{{ name = "sdks", key = "{KEY}" }}]\n')
            urls = []
            for config in (scripted, alone):
                config.chmod(0o600)
                urls.append(start(children, [program, "--config", config, "serve", "--port", "0"], "stderr", env=clean))

            env = {**clean, "SCRIPTED_URL": urls[0], "EMBEDDED_URL": urls[1], "ROUTER_KEY": KEY, "NODE_MODULES": modules}
            programs = [(sys.executable, path) for path in sorted((HERE / "python").glob("*_sdk.py"))]
            programs += [(node, path) for path in sorted((HERE / "node").glob("*_sdk.mjs"))]
            for runner, path in programs:
                if wanted and path.stem not in wanted and path.name not in wanted:
                    continue
                out, good, bad = tried(runner, path, env)
                said, passed, failed = said + out, passed + good, failed + bad
        finally:
            end(children)
    lines, empty = table.of(said)
    print("\n" + "\n".join(lines) + "\n")
    for place in empty:
        print(f"FAIL  nothing tried: {place}")
    failed += len(empty)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

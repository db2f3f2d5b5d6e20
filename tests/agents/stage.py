"""What the cases play on: the scripted upstream, the router before it, a home with everything planted in it, and one run of the router under test.

`Stage` is there once, a `Try` once for each case and provider. A `Try` watches whatever its run starts and, at its end, holds what must be so in every run
(`Try.invariants`). Which cases there are, and what each expects, is in `cases.py`; who the agents are, in `agents.py`.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import planted
from relay import Relay

HERE = pathlib.Path(__file__).resolve().parent
READY = re.compile(r"listening on (http://\S+)")
# How soon after its end nothing of a run may be left, in seconds.
GONE = 1.0
# The router's own folders of a home, which are its to write.
OWN = (".local/share/ipfs-llm-router", ".config/ipfs-llm-router", ".cache/ipfs-llm-router")


class Stage:
    """The servers, and where the programs are. `program` is the router under test, `bin` the folder of the agents."""

    def __init__(self, program, bin, folder):
        self.program, self.bin, self.folder = os.path.realpath(program), str(bin), pathlib.Path(folder)
        self.modules = pathlib.Path(self.bin).parent
        self.cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache")
        self.children = []
        # The runs of tries, each the head of a group of its own.
        self.runs = []
        self.number = iter(range(1_000_000))
        self.clean = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": folder, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self):
        subprocess.run([HERE / "certificate.sh", self.folder], check=True)
        self.certificate, self.authority = self.folder / "vendors.pem", self.folder / "authority.pem"
        self.upstream = self.server([sys.executable, HERE / "upstream", "--record", self.folder / "upstream.jsonl"], "stdout")
        config = self.folder / "gateway.toml"
        config.write_text((HERE / "gateway.toml").read_text().replace("UPSTREAM", self.upstream))
        config.chmod(0o600)
        self.gateway = self.server([self.program, "--config", config, "serve", "--port", "0"], "stderr")
        self.alone = threading.Lock()
        self.small = None

    def embedded(self):
        """A router that has nothing but the embedded model, which is in the cache already. Started for the first who wants it."""
        with self.alone:
            if not self.small:
                config = self.folder / "embedded.toml"
                hosts = [line for line in (HERE / "gateway.toml").read_text().splitlines() if line.startswith("hosts")]
                patience = ["[router]", 'timeouts = { first_event = "290s", idle = "290s", whole = "290s" }']
                config.write_text("\n".join(["[server]", 'drain = "1ms"', *hosts, *patience]))
                config.chmod(0o600)
                self.small = self.server([self.program, "--config", config, "serve", "--port", "0"], "stderr", XDG_CACHE_HOME=self.cache)
            return self.small

    def server(self, command, stream, **more):
        """Starts a server and waits for the line that says where it listens."""
        pipes = {stream: subprocess.PIPE, "stdin": subprocess.DEVNULL}
        child = subprocess.Popen([str(word) for word in command], text=True, env={**self.clean, **more}, **pipes)
        self.children.append(child)
        said = []
        for line in getattr(child, stream):
            said.append(line)
            if found := READY.search(line):
                # What it says from now on is read to its end, so that it never waits for a reader.
                threading.Thread(target=lambda: [None for _ in getattr(child, stream)], daemon=True).start()
                return found[1]
        child.wait()
        raise SystemExit(f"{command[0]} ended before it listened:\n{''.join(said)}")

    def left(self):
        """How many stalled answers of the upstream somebody has left."""
        with urllib.request.urlopen(f"{self.upstream}/left", timeout=10) as answer:
            return json.load(answer)["left"]

    def end(self):
        for child in self.children:
            child.terminate()
        # Those that are under way, where all of it is ended from outside: in their turn they end what they started.
        for run in [run for run in self.runs if run.poll() is None]:
            run.terminate()
        for child in self.children:
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Answer:
    """What a run said and when: `pieces` are (seconds, bytes) of standard output."""

    def __init__(self, status, pieces, err, took):
        self.status, self.pieces, self.err, self.took = status, pieces, err, took
        # Decoded as a whole: a piece may end within a letter.
        self.out = b"".join(data for _, data in pieces).decode("utf-8", "replace")

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"that is no JSON object: {self.out[:500]!r}, on standard error {self.err[-500:]!r}") from None

    @property
    def text(self):
        return self.json.get("text")

    @property
    def kind(self):
        return (self.json.get("error") or {}).get("kind")

    def __str__(self):
        return f"status {self.status} after {self.took:.1f} s, out {self.out[:600]!r}, err {self.err[-600:]!r}"


class Try:
    """One run of one agent: its folders, its relays, and what was seen of it."""

    def __init__(self, stage, who, name):
        self.stage, self.who, self.name = stage, who, name
        self.folder = stage.folder / f"try-{next(stage.number)}"
        self.home, self.work, self.temporary = (self.folder / part for part in ("home", "work", "tmp"))
        for folder in (self.home, self.work, self.temporary):
            folder.mkdir(parents=True)
        self.wire, self.lock = [], threading.Lock()
        self.relays = {}
        self.marker = self.folder / "obeyed"
        planted.plant(self.home, self.work, self.marker)
        # On a machine with other work an agent takes long to say its first word, and that is nobody's failure here.
        own = self.home / ".config/ipfs-llm-router/config.toml"
        own.parent.mkdir(parents=True)
        own.write_text('[router]\ntimeouts = { first_event = "90s", whole = "290s" }\n')
        own.chmod(0o600)
        self.foreign_seen, self.hosts = set(), set(who.hosts)
        self.changes = set()
        # Who ran before its first run began is none of its own: they are many, and looking at each again and again costs what the agents need.
        self.others = set()
        self.child, self.bare, self.session = None, False, False

    # ---- what it talks to

    def note(self, found):
        with self.lock:
            self.wire.append(found)

    def relay(self, to, certificate=None):
        key = (to, certificate)
        if key not in self.relays:
            self.relays[key] = Relay(to, self.note, certificate).start()
        return self.relays[key].url

    def at(self, target):
        """The address of a target: the gateway, the bare upstream, a gateway with only the embedded model, or a port where nobody is."""
        return "http://127.0.0.1:9" if target == "nobody" else self.relay(self.behind(target))

    def behind(self, target):
        return self.stage.embedded() if target == "embedded" else {"gateway": self.stage.gateway, "upstream": self.stage.upstream}[target]

    def environment(self, target="gateway", key=True, path=None):
        """The whole environment of the router under test: the agent's own variables, everybody else's keys, and a proxy in whose place nobody outside is asked."""
        vendors = "http://127.0.0.1:9" if target == "nobody" else self.relay(self.behind(target), str(self.stage.certificate))
        others = {name: f"canary-of-{name}" for name in planted.KEYS if name not in self.who.keys}
        return {
            "PATH": str(path or "") or f"{self.stage.bin}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            # One for all: Copilot unpacks itself there, a quarter of a gigabyte, and Node keeps what it compiled.
            "XDG_CACHE_HOME": str(self.stage.folder / "cache"),
            "LANG": "C.UTF-8",
            "HTTPS_PROXY": vendors,
            "HTTP_PROXY": vendors,
            "NO_PROXY": "127.0.0.1,localhost",
            "NODE_EXTRA_CA_CERTS": str(self.stage.authority),
            "SSL_CERT_FILE": str(self.stage.authority),
            **others,
            **(self.who.own(self.at(target)) if key else {}),
        }

    # ---- the run

    def ask(self, *words, model="parrot", target="gateway", key=True, env=None, path=None, stdin=None, timeout=100, interrupt=None, more=None, cwd=None):
        """One `llm-router generate`. `interrupt` is asked again and again while it runs; once it says so the run gets a SIGINT. `more` are variables beside those of
        `environment`, `cwd` is where it is started."""
        env = {**(env or self.environment(target, key, path)), **(more or {})}
        command = [self.stage.program, "generate", "--provider", self.who.id, "--timeout", str(timeout)]
        command += ["--model", model] if model else []
        return self.run([*command, *words], env, stdin, timeout + 30, interrupt, cwd)

    def run(self, command, env, stdin=None, limit=130, interrupt=None, cwd=None):
        self.before, self.others = snapshot(self.home), self.others or set(running())
        began = time.monotonic()
        self.child = subprocess.Popen(
            [str(word) for word in command],
            env=env,
            cwd=cwd or self.work,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.stage.runs.append(self.child)
        pieces, err, done = [], [], threading.Event()

        def out_of(pipe):
            while data := os.read(pipe.fileno(), 65536):
                pieces.append((time.monotonic() - began, data))

        def into(pipe):
            try:
                pipe.write(stdin)
                pipe.close()
            except BrokenPipeError:
                pass

        jobs = [
            threading.Thread(target=out_of, args=(self.child.stdout,), daemon=True),
            threading.Thread(target=lambda: err.append(self.child.stderr.read().decode("utf-8", "replace")), daemon=True),
            threading.Thread(target=self.watch, args=(done,), daemon=True),
        ]
        if stdin is not None:
            jobs.append(threading.Thread(target=into, args=(self.child.stdin,), daemon=True))
        self.pieces = pieces
        for job in jobs:
            job.start()
        interrupted = False
        while self.child.poll() is None:
            if time.monotonic() - began > limit:
                os.killpg(self.child.pid, signal.SIGKILL)
                raise AssertionError(f"the router did not end in {limit} s")
            if interrupt and not interrupted and interrupt(self):
                interrupted = True
                self.child.send_signal(signal.SIGINT)
            time.sleep(0.02)
        self.ended = time.monotonic()
        done.set()
        for job in jobs[:2]:
            job.join(timeout=5)
        return Answer(self.child.returncode, pieces, "".join(err), self.ended - began)

    @contextlib.contextmanager
    def serving(self, config, env):
        """`llm-router serve` with this configuration, as the run of this try: gives its address, and ends it politely."""
        self.before, self.others = snapshot(self.home), self.others or set(running())
        command = [self.stage.program, "--config", self.config(f'[server]\ndrain = "1ms"\n{config}'), "serve", "--port", "0"]
        self.child = subprocess.Popen(command, env=env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.stage.runs.append(self.child)
        done = threading.Event()
        threading.Thread(target=self.watch, args=(done,), daemon=True).start()
        try:
            said = []
            for line in self.child.stderr:
                said.append(line)
                if found := READY.search(line):
                    threading.Thread(target=lambda: [None for _ in self.child.stderr], daemon=True).start()
                    yield found[1]
                    break
            else:
                raise AssertionError(f"it ended before it listened: {''.join(said)}")
        finally:
            done.set()
            self.child.terminate()
            try:
                self.child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                raise AssertionError("the server did not end in 30 s") from None
            self.ended = time.monotonic()

    def config(self, text):
        """A file with a configuration."""
        file = self.folder / f"router-{len(list(self.folder.glob('router-*')))}.toml"
        file.write_text(text)
        file.chmod(0o600)
        return str(file)

    def watch(self, done):
        """Looks at what the run starts, until it is over: whose keys are in whose environment."""
        while not done.is_set():
            # Between a fork and what it becomes, a process is still the router itself.
            for process in (one for one in self.processes() if self.bare or one.program != self.stage.program):
                for name in planted.KEYS:
                    if name not in self.who.keys and f"canary-of-{name}".encode() in process.environ:
                        self.foreign_seen.add(f"{name} in the environment of {process.name}")
            done.wait(0.05)

    def processes(self):
        """What runs for this try: everything with its folder in its environment, its arguments or as its folder, but for the router itself."""
        mine = str(self.folder).encode()
        router = self.child.pid if self.child and not self.bare else 0
        found = []
        for pid in running():
            if pid == router or pid in self.others:
                continue
            process = Process.read(pid)
            if process and any(mine in part for part in (process.environ, process.arguments, process.cwd)):
                found.append(process)
        return found

    # ---- what was seen

    def requests(self):
        """The requests that asked a model for an answer."""
        ends = ("/chat/completions", "/responses", "/messages", "/messages?beta=true")
        verbs = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse")
        with self.lock:
            return [one for one in self.wire if one["method"] == "POST" and (one["path"].endswith(ends) or one["path"].split(":")[-1] in verbs)]

    def on_the_wire(self):
        with self.lock:
            return json.dumps(self.wire, ensure_ascii=False)

    def invariants(self):
        """What must be so after every run; a list of what is not."""
        wrong = []
        end = time.monotonic() + GONE
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        if left:
            wrong.append(f"left running after {GONE} s: {', '.join(str(one) for one in left)}")
            for one in left:
                os.kill(one.pid, signal.SIGKILL)
        if not self.session:
            wrong += self.of_a_provider()
        return wrong

    def of_a_provider(self):
        """What must be so where the router drives the agent, and not the user."""
        wrong = []
        if self.marker.exists():
            wrong.append(f"what was planted was obeyed: {self.marker.read_text().split()}")
        wire = self.on_the_wire()
        if found := sorted(set(re.findall(rf"{planted.WORD}[a-z-]*", wire))):
            wrong.append(f"instructions that were planted are on the wire: {found}")
        if found := sorted(set(re.findall(r"canary-of-[A-Z_]+", wire))):
            wrong.append(f"keys of others are on the wire: {found}")
        wrong += [f"a key of another provider: {one}" for one in sorted(self.foreign_seen)]
        after = snapshot(self.home)
        changed = {path for path in {*self.before, *after} if self.before.get(path) != after.get(path)} - self.changes
        if changed:
            wrong.append(f"written into the user's home: {sorted(changed)[:8]}")
        if left := sorted(str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*"))[:8]:
            wrong.append(f"left behind in the folder for temporary files: {left}")
        with self.lock:
            asked = {one["host"] for one in self.wire if one["method"] == "CONNECT"} - self.hosts
        if asked:
            wrong.append(f"asked for hosts it had no business with: {sorted(asked)}")
        return wrong

    def close(self):
        for relay in self.relays.values():
            relay.shutdown()
            relay.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)


def post(url, body, key=None, timeout=100):
    """What is answered to a POST of JSON: status, headers in small letters, and the JSON."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = direct.open(asked, timeout=timeout)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)


def running():
    """The number of every process."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class Process:
    """What /proc says of a process."""

    @classmethod
    def read(cls, pid):
        self = cls()
        folder = pathlib.Path(f"/proc/{pid}")
        try:
            before = os.readlink(folder / "exe")
            self.environ, self.arguments = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            self.cwd, self.program = os.readlink(folder / "cwd").encode(), os.readlink(folder / "exe")
        except OSError:
            return None
        # It became another program meanwhile, and what was read is of either: it is looked at again.
        if before != self.program:
            return cls.read(pid)
        self.pid, self.name = pid, self.arguments.replace(b"\0", b" ").decode("utf-8", "replace")[:80].strip()
        return self

    def __str__(self):
        return f"{self.pid} {self.name}"


def snapshot(home):
    """Every file of a home with its digest, but for the router's own."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if any(name == own or name.startswith(f"{own}/") or own.startswith(f"{name}/") for own in OWN):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = ""
    return found

"""The scripted upstream of the agents: a server of four dialects on 127.0.0.1 whose answers are decided by the model that is asked for.

    python upstream [--record FILE] [--port N]     says where it listens, and answers until it is ended

Each request is a line of FILE: {"at": seconds, "method", "path", "headers", "body"}. `GET /left` answers at once how many answers somebody has left that
stalled: how a test sees that a call was cancelled. Beside `tests/sdks/upstream`, which is asked by the text of a prompt, stands this one because an agent
rewrites its user's prompt and hands the model's name on as it is.
"""

import argparse
import http.server
import json
import pathlib
import select
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

import accounts
from dialects import Chat, Gemini, Messages, Responses, failure, is_wait
from script import FAILURES, steps_of
from scripted import Wire

# Longer than any test waits, so that a broken one does not leave a thread behind.
PATIENCE = 300
DIALECTS = {"/v1/chat/completions": Chat, "/v1/messages": Messages, "/v1/responses": Responses}
GEMINI = ("/v1beta/models/", "/v1/models/")
# Google's own door for those who are logged in instead of having a key: the same bodies, each in a wrapper.
ASSIST = "/v1internal:"
ASSISTED = {
    "loadCodeAssist": {"currentTier": {"id": "standard-tier", "name": "scripted"}, "allowedTiers": [{"id": "standard-tier", "isDefault": True}], "cloudaicompanionProject": "scripted"},
    "onboardUser": {"done": True, "response": {"cloudaicompanionProject": {"id": "scripted", "name": "scripted"}}},
    "countTokens": {"totalTokens": 11},
}


def read(data, kind):
    """A body: JSON, or the fields of a form."""
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(urllib.parse.parse_qsl(data.decode()))
    return json.loads(data or b"{}")


EXPAND = 'process.stdout.write(require("zlib").zstdDecompressSync(require("fs").readFileSync(0)))'


def expanded(data, encoding):
    """A body without its compression. Codex, logged in, sends zstd, which no Python before 3.14 knows; the Node that is here for another agent does."""
    if encoding != "zstd":
        return data
    return subprocess.run(["node", "-e", EXPAND], input=data, stdout=subprocess.PIPE, check=True, timeout=20).stdout


class State:
    """What the handlers share."""

    lock = threading.Lock()
    record = None
    left = 0

    @classmethod
    def write(cls, entry):
        with cls.lock:
            if cls.record:
                cls.record.write(json.dumps(entry, ensure_ascii=False) + "\n")
                cls.record.flush()


class Handler(Wire):
    timeout = PATIENCE

    def do_GET(self):
        if self.path == "/left":
            return self.answer(200, {"left": State.left})
        self.note(None)
        if (answer := accounts.get(self.path)) is not None:
            return self.answer(200, answer)
        # An agent asks for WebSockets first, and falls back at once where this is what it is told.
        self.answer(426 if "websocket" in (self.headers.get("upgrade") or "").lower() else 404, {"error": {"message": "scripted: nothing here"}})

    def do_HEAD(self):
        self.note(None)
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def note(self, body):
        State.write({"at": round(time.time(), 3), "method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body})

    def do_POST(self):
        try:
            data = expanded(self.read_body(), self.headers.get("content-encoding"))
            body = read(data, self.headers.get("content-type") or "")
        except (ValueError, OSError, subprocess.SubprocessError):
            return self.answer(400, {"error": {"message": "scripted: that is no JSON"}})
        self.note(body)
        path = self.path.split("?")[0]
        if (answer := accounts.post(path, body)) is not None:
            return self.answer(200, answer)
        # Without the first part of its path where a vendor has its doors elsewhere than its API.
        path = accounts.door(path)
        prefix = next((prefix for prefix in GEMINI if path.startswith(prefix)), None)
        wrapped = path.startswith(ASSIST)
        if wrapped:
            verb, model = path.removeprefix(ASSIST), body.get("model", "")
            if not verb.endswith("enerateContent"):
                return self.answer(200, ASSISTED.get(verb, {}))
            dialect, streamed, body = Gemini, verb == "streamGenerateContent", body.get("request", {})
        elif prefix:
            model, _, verb = path.removeprefix(prefix).partition(":")
            if verb == "countTokens":
                return self.answer(200, {"totalTokens": 11})
            dialect, streamed = Gemini, verb == "streamGenerateContent"
        elif path == "/v1/messages/count_tokens":
            return self.answer(200, {"input_tokens": 11})
        elif path in DIALECTS:
            dialect, model, streamed = DIALECTS[path], body.get("model", ""), body.get("stream")
        else:
            return self.answer(404, {"error": {"message": f"scripted: no {path} here"}})
        steps = steps_of(model, dialect.read(body))
        if steps is None:
            steps = [("status", *FAILURES["fails-404"])]
        first = steps[0]
        if first[0] == "status":
            return self.answer(first[1], failure(dialect, first), first[-1])
        if first[0] == "mute":
            return self.stall()
        if streamed:
            events = dialect.stream(model, steps)
            return self.stream((event if is_wait(event) else (None, {"response": event[1]}) for event in events) if wrapped else events)
        if any(step[0] == "fail" for step in steps):
            return self.answer(500, failure(dialect, ("status", *FAILURES["fails-500"])))
        if any(step[0] == "cut" for step in steps):
            return self.cut()
        if any(step[0] == "stall" for step in steps):
            return self.stall()
        if any(step[0] == "pause" for step in steps):
            time.sleep(1)
        answer = dialect.whole(model, steps)
        self.answer(200, {"response": answer} if wrapped else answer)

    def read_body(self):
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status, value, headers=None):
        # A moment in so many seconds.
        moments = {name: str(int(time.time() + int(text))) for name, text in (headers or {}).items() if text.startswith("+")}
        super().answer(status, value, {**(headers or {}), **moments})

    def stream(self, events):
        self.begin_stream()
        between = 0.02
        try:
            for name, data in (event if len(event) == 2 else (event[0], None) for event in events):
                if name == "pause":
                    between = data
                elif name == "stall":
                    return self.stall()
                elif name == "cut":
                    self.close_connection = True
                    return
                else:
                    self.event(name, data)
                    time.sleep(between)
            self.end_stream()
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True

    def stall(self):
        """Until the other side closes the connection, on which it has nothing more to say."""
        self.close_connection = True
        try:
            select.select([self.connection], [], [], PATIENCE)
            self.connection.recv(1)
        except OSError:
            pass
        with State.lock:
            State.left += 1


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        """Whoever leaves in the middle is no news."""


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--record", metavar="FILE")
    words.add_argument("--port", type=int, default=0)
    given = words.parse_args()
    if given.record:
        State.record = open(given.record, "a", encoding="utf-8")
    server = Server(("127.0.0.1", given.port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()

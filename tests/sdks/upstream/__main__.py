"""The scripted upstream: a server of four dialects on 127.0.0.1 whose answers are decided by what it is asked. It knows nothing of the router.

    python upstream/        says where it listens, and answers until it is ended

Each dialect is a file beside this one with a reader and two writers; `script.py` stands between them and says what can be asked for. `GET /left` answers
once somebody has left an answer that waits, and counts down: how a test sees that a call was cancelled.
"""

import http.server
import json
import pathlib
import sys
import threading

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

import chat
import gemini
import messages
import responses
from script import decide, vector
from scripted import Wire

# Longer than any test waits, so that a broken one does not leave a thread behind.
PATIENCE = 120
CODES = {401: "invalid_api_key", 404: "model_not_found", 413: "request_too_large", 429: "rate_limit_exceeded"}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error"}
DIALECTS = {"/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses}
LEFT = threading.Semaphore(0)


def embed(body):
    """OpenAI's embeddings."""
    given = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [{"object": "embedding", "index": at, "embedding": vector(text, body.get("dimensions"))} for at, text in enumerate(given)]
    return {"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": len(given), "total_tokens": len(given)}}


def failed(path, status):
    """A failure in the shape of the dialect: of the first three, one that serves them all."""
    if path.startswith("/v1beta/"):
        return gemini.failed(status)
    message = f"prompt is too long: scripted: {status}" if status == 400 else f"scripted: {status}"
    kind = TYPES.get(status, "api_error" if path == "/v1/messages" else "server_error")
    code = "context_length_exceeded" if status == 400 else CODES.get(status)
    return {"type": "error", "error": {"type": kind, "message": message, "param": None, "code": code}}


class Handler(Wire):
    timeout = PATIENCE

    def do_GET(self):
        left = self.path == "/left" and LEFT.acquire(timeout=PATIENCE)
        self.answer(200 if left else 404, {"left": left})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.split("?")[0]
        model, _, verb = path.removeprefix("/v1beta/models/").partition(":")
        counts = {"/v1/messages/count_tokens": messages.count, "/v1/embeddings": embed}
        verbs = {"countTokens": gemini.count, "batchEmbedContents": gemini.embed}
        if short := counts.get(path) or verbs.get(verb):
            return self.answer(200, short(body))
        dialect = gemini if verb else DIALECTS.get(path)
        if dialect is None:
            return self.answer(404, failed(path, 404))
        model, streamed = (model, verb == "streamGenerateContent") if verb else (body["model"], body.get("stream"))
        answer = decide(dialect.read(body))
        if answer[0] == "status":
            return self.answer(answer[1], failed(path, answer[1]))
        if streamed:
            return self.stream(dialect.stream(model, answer))
        if answer[0] == "later":
            return self.answer(500, failed(path, 500))
        if answer[0] == "cut":
            return self.cut()
        if answer[0] == "wait":
            return self.wait()
        self.answer(200, dialect.whole(model, answer))

    def answer(self, status, value):
        super().answer(status, value, {"retry-after": "20"} if status in (429, 503) else None)

    def stream(self, events):
        self.begin_stream()
        for event in events:
            if event == "wait":
                return self.wait()
            if event == "cut":
                self.close_connection = True
                return
            self.event(*event)
        self.end_stream()

    def wait(self):
        """Until the other side closes the connection, on which it has nothing more to say."""
        self.close_connection = True
        try:
            self.rfile.read(1)
        except ConnectionError:
            pass
        LEFT.release()


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()

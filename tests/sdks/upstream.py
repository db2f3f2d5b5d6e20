"""The scripted upstream: a server of two dialects on 127.0.0.1 whose answers are decided by what it is asked.

It speaks `openai_chat` under /v1/chat/completions and `anthropic` under /v1/messages. Each dialect has a reader and two writers, and `decide`
stands between them: that is the script. It knows nothing of the router. `run.py` starts it.

What the last user's text makes it do:

    say X                  answers X
    describe …             says the type and the bytes of each image it was given
    weather …              calls the tool `get_weather`, where it has one; with the tool's result, says that
    city …                 answers JSON, where it was given a schema
    fail N                 answers with the status N
    fail later             fails in the middle of a stream
    break off              closes the connection in the middle of an answer
"""

import base64
import http.server
import json

USAGE = {"input": 11, "output": 7}
CITY = {"city": "Paris", "degrees": 21}
CODES = {401: "invalid_api_key", 404: "model_not_found", 413: "request_too_large", 429: "rate_limit_exceeded"}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error"}


def decide(asked):
    """What to answer: ("text", str) | ("call", name, arguments) | ("status", int) | ("later",) | ("cut",)."""
    verb, _, rest = asked["text"].partition(" ")
    if verb == "fail":
        return ("later",) if rest == "later" else ("status", int(rest))
    if verb == "break":
        return ("cut",)
    if asked["results"]:
        return ("text", "It is " + " and ".join(asked["results"]) + ".")
    if verb == "weather" and "get_weather" in asked["tools"]:
        return ("call", "get_weather", {"city": rest or "Paris"})
    if asked["schema"]:
        return ("text", json.dumps(CITY))
    if verb == "describe":
        return ("text", ", ".join(f"{kind} of {size} bytes" for kind, size in asked["images"]) or "no image")
    text = rest if verb == "say" else "pong"
    return ("text", text.upper() if "loud" in asked["system"] else text)


def read_chat(body):
    asked = {"text": "", "system": "", "images": [], "results": [], "schema": None, "tools": []}
    for message in body["messages"]:
        parts = message.get("content") or []
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if message["role"] in ("system", "developer"):
            asked["system"] += text
        elif message["role"] == "user":
            asked["text"], asked["results"], asked["images"] = text, [], []
            for part in parts:
                if part["type"] == "image_url":
                    head, data = part["image_url"]["url"].split(",", 1)
                    asked["images"].append((head.removeprefix("data:").removesuffix(";base64"), len(base64.b64decode(data))))
        elif message["role"] == "tool":
            asked["results"].append(text)
    asked["tools"] = [tool["function"]["name"] for tool in body.get("tools", [])]
    asked["schema"] = (body.get("response_format") or {}).get("json_schema")
    return asked


def read_messages(body):
    asked = {"text": "", "system": "", "images": [], "results": [], "schema": None, "tools": []}
    system = body.get("system") or ""
    asked["system"] = system if isinstance(system, str) else "".join(part["text"] for part in system)
    for message in body["messages"]:
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        if message["role"] != "user":
            continue
        results = [part for part in parts if part["type"] == "tool_result"]
        for part in results:
            content = part.get("content") or []
            asked["results"].append(content if isinstance(content, str) else "".join(piece["text"] for piece in content))
        if not results:
            asked["results"] = []
            asked["text"] = "".join(part["text"] for part in parts if part["type"] == "text")
            sources = [part["source"] for part in parts if part["type"] == "image"]
            asked["images"] = [(source["media_type"], len(base64.b64decode(source["data"]))) for source in sources]
    asked["tools"] = [tool["name"] for tool in body.get("tools", [])]
    asked["schema"] = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return asked


def pieces(text):
    """A text in the pieces of a stream."""
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def chat_usage():
    return {"prompt_tokens": USAGE["input"], "completion_tokens": USAGE["output"], "total_tokens": sum(USAGE.values())}


def whole_chat(model, answer):
    message, finish = {"role": "assistant", "content": None}, "stop"
    if answer[0] == "call":
        function = {"name": answer[1], "arguments": json.dumps(answer[2])}
        message["tool_calls"], finish = [{"id": "call_1", "type": "function", "function": function}], "tool_calls"
    else:
        message["content"] = answer[1]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": chat_usage()}


def stream_chat(model, answer):
    """The events of a stream, each (name, data); None where the connection is cut."""

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return (None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    if answer[0] == "call":
        yield chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": answer[1], "arguments": ""}}]})
        for piece in pieces(json.dumps(answer[2])):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, "tool_calls")
    else:
        for piece in pieces(answer[1] if answer[0] == "text" else "half a sen"):
            yield chunk({"content": piece})
        if answer[0] == "later":
            yield (None, {"error": {"message": "scripted: failed later", "type": "server_error", "code": "server_error"}})
            return
        if answer[0] == "cut":
            yield None
            return
        yield chunk({}, "stop")
    yield (None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": chat_usage()})
    yield (None, "[DONE]")


def messages_usage():
    return {"input_tokens": USAGE["input"], "output_tokens": USAGE["output"]}


def whole_messages(model, answer):
    block, stop = {"type": "text", "text": answer[1]}, "end_turn"
    if answer[0] == "call":
        block, stop = {"type": "tool_use", "id": "toolu_1", "name": answer[1], "input": answer[2]}, "tool_use"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model}
    return {**head, "content": [block], "stop_reason": stop, "stop_sequence": None, "usage": messages_usage()}


def stream_messages(model, answer):
    def event(name, **fields):
        return (name, {"type": name, **fields})

    whole = whole_messages(model, answer if answer[0] in ("text", "call") else ("text", ""))
    yield event("message_start", message={**whole, "content": [], "stop_reason": None})
    if answer[0] == "call":
        yield event("content_block_start", index=0, content_block={**whole["content"][0], "input": {}})
        for piece in pieces(json.dumps(answer[2])):
            yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
    else:
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in pieces(answer[1] if answer[0] == "text" else "half a sen"):
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        if answer[0] == "later":
            yield event("error", error={"type": "api_error", "message": "scripted: failed later"})
            return
        if answer[0] == "cut":
            yield None
            return
    yield event("content_block_stop", index=0)
    yield event("message_delta", delta={"stop_reason": whole["stop_reason"], "stop_sequence": None}, usage=messages_usage())
    yield event("message_stop")


DIALECTS = {
    "/v1/chat/completions": (read_chat, whole_chat, stream_chat),
    "/v1/messages": (read_messages, whole_messages, stream_messages),
}


def texts(messages):
    for message in messages:
        content = message["content"]
        yield from [content] if isinstance(content, str) else (part.get("text", "") for part in content)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.split("?")[0]
        if path == "/v1/messages/count_tokens":
            # A token a word: near enough to be told from nothing.
            return self.answer(200, {"input_tokens": sum(len(text.split()) for text in texts(body["messages"]))})
        if path not in DIALECTS:
            return self.fail(404, "nothing here")
        read, whole, stream = DIALECTS[path]
        answer = decide(read(body))
        if answer[0] == "status":
            return self.fail(answer[1], f"scripted: {answer[1]}")
        if body.get("stream"):
            return self.stream(stream(body["model"], answer))
        if answer[0] == "later":
            return self.fail(500, "scripted: failed later")
        if answer[0] == "cut":
            return self.cut()
        self.answer(200, whole(body["model"], answer))

    def fail(self, status, message):
        kind = TYPES.get(status, "server_error" if "chat" in self.path else "api_error")
        code = "context_length_exceeded" if status == 400 else CODES.get(status)
        message = f"prompt is too long: {message}" if status == 400 else message
        self.answer(status, {"type": "error", "error": {"type": kind, "message": message, "param": None, "code": code}})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status in (429, 503):
            self.send_header("retry-after", "20")
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            if event is None:
                self.close_connection = True
                return
            name, data = event
            text = f"event: {name}\n" if name else ""
            text += f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
            self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"id":"half a')
        self.close_connection = True

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()

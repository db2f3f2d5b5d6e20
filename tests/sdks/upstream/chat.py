"""OpenAI's chat completions, as an upstream speaks them: a reader of requests and two writers of answers. What is answered is decided in `script.py`."""

import base64
import json

from script import USAGE, nothing, pieces


def read(body):
    asked = nothing()
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


def usage():
    return {"prompt_tokens": USAGE["input"], "completion_tokens": USAGE["output"], "total_tokens": sum(USAGE.values())}


def whole(model, answer):
    message, finish = {"role": "assistant", "content": None}, "stop"
    if answer[0] == "call":
        function = {"name": answer[1], "arguments": json.dumps(answer[2])}
        message["tool_calls"], finish = [{"id": "call_1", "type": "function", "function": function}], "tool_calls"
    else:
        message["content"] = answer[1]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage()}


def stream(model, answer):
    """The events of a stream, each (name, data); or "cut", or "wait"."""

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return (None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    if answer[0] == "call":
        yield chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": answer[1], "arguments": ""}}]})
        for piece in pieces(("text", json.dumps(answer[2]))):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, "tool_calls")
    else:
        for piece in pieces(answer):
            yield chunk({"content": piece})
        if answer[0] == "later":
            yield (None, {"error": {"message": "scripted: failed later", "type": "server_error", "code": "server_error"}})
            return
        if answer[0] in ("cut", "wait"):
            yield answer[0]
            return
        yield chunk({}, "stop")
    yield (None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": usage()})
    yield (None, "[DONE]")

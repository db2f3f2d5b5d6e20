"""Anthropic's messages, as an upstream speaks them: a reader of requests and two writers of answers. What is answered is decided in `script.py`."""

import base64
import json

from script import USAGE, nothing, pieces


def read(body):
    asked = nothing()
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


def usage():
    return {"input_tokens": USAGE["input"], "output_tokens": USAGE["output"]}


def whole(model, answer):
    block, stop = {"type": "text", "text": answer[1]}, "end_turn"
    if answer[0] == "call":
        block, stop = {"type": "tool_use", "id": "toolu_1", "name": answer[1], "input": answer[2]}, "tool_use"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model}
    return {**head, "content": [block], "stop_reason": stop, "stop_sequence": None, "usage": usage()}


def stream(model, answer):
    def event(name, **fields):
        return (name, {"type": name, **fields})

    end = whole(model, answer if answer[0] in ("text", "call") else ("text", ""))
    yield event("message_start", message={**end, "content": [], "stop_reason": None})
    if answer[0] == "call":
        yield event("content_block_start", index=0, content_block={**end["content"][0], "input": {}})
        for piece in pieces(("text", json.dumps(answer[2]))):
            yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
    else:
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in pieces(answer):
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        if answer[0] == "later":
            yield event("error", error={"type": "api_error", "message": "scripted: failed later"})
            return
        if answer[0] in ("cut", "wait"):
            yield answer[0]
            return
    yield event("content_block_stop", index=0)
    yield event("message_delta", delta={"stop_reason": end["stop_reason"], "stop_sequence": None}, usage=usage())
    yield event("message_stop")


def count(body):
    """A token a word: near enough to be told from nothing."""
    texts = [message["content"] if isinstance(message["content"], str) else " ".join(part.get("text", "") for part in message["content"]) for message in body["messages"]]
    return {"input_tokens": sum(len(text.split()) for text in texts)}

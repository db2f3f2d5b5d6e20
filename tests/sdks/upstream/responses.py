"""OpenAI's responses, as an upstream speaks them: a reader of requests and two writers of answers. What is answered is decided in `script.py`."""

import base64
import json

from script import HALF, USAGE, nothing, pieces


def read(body):
    asked = nothing()
    asked["system"] = body.get("instructions") or ""
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("type") == "function_call_output":
            output = item["output"]
            asked["results"].append(output if isinstance(output, str) else "".join(part["text"] for part in output))
        parts = item.get("content") or []
        parts = [{"type": "input_text", "text": parts}] if isinstance(parts, str) else parts
        text = "".join(part.get("text", "") for part in parts)
        if item.get("role") in ("system", "developer"):
            asked["system"] += text
        elif item.get("role") == "user":
            asked["text"], asked["results"] = text, []
            pictures = [part["image_url"].split(",", 1) for part in parts if part["type"] == "input_image"]
            asked["images"] = [(head.removeprefix("data:").removesuffix(";base64"), len(base64.b64decode(data))) for head, data in pictures]
    asked["tools"] = [tool["name"] for tool in body.get("tools", []) if tool["type"] == "function"]
    asked["schema"] = ((body.get("text") or {}).get("format") or {}).get("schema")
    return asked


def part_of(text):
    return {"type": "output_text", "text": text, "annotations": []}


def item_of(answer, status="completed"):
    if answer[0] == "call":
        return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": answer[1], "arguments": json.dumps(answer[2]), "status": status}
    text = answer[1] if answer[0] == "text" else HALF
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part_of(text)]}


def response(model, status, output):
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": status, "output": output}
    usage = {"input_tokens": USAGE["input"], "output_tokens": USAGE["output"], "total_tokens": sum(USAGE.values())}
    return {**head, "error": None, "incomplete_details": None, "usage": usage if status == "completed" else None}


def whole(model, answer):
    return response(model, "completed", [item_of(answer)])


def stream(model, answer):
    """The events of a stream, each (name, data); or "cut", or "wait"."""
    number = iter(range(1000))

    def event(name, **fields):
        return (name, {"type": name, "sequence_number": next(number), **fields})

    yield event("response.created", response=response(model, "in_progress", []))
    item = item_of(answer, "in_progress")
    if answer[0] == "call":
        yield event("response.output_item.added", output_index=0, item={**item, "arguments": ""})
        for piece in pieces(("text", item["arguments"])):
            yield event("response.function_call_arguments.delta", item_id="fc_1", output_index=0, delta=piece)
        yield event("response.function_call_arguments.done", item_id="fc_1", output_index=0, arguments=item["arguments"])
    else:
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        yield event("response.output_item.added", output_index=0, item={**item, "content": []})
        yield event("response.content_part.added", **at, part=part_of(""))
        for piece in pieces(answer):
            yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
        if answer[0] == "later":
            yield event("error", code="server_error", message="scripted: failed later", param=None)
            return
        if answer[0] in ("cut", "wait"):
            yield answer[0]
            return
        yield event("response.output_text.done", **at, text=answer[1], logprobs=[])
        yield event("response.content_part.done", **at, part=part_of(answer[1]))
    yield event("response.output_item.done", output_index=0, item=item_of(answer))
    yield event("response.completed", response=whole(model, answer))

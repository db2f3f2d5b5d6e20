"""The four dialects, as an upstream speaks them: what it reads from a request, and the writers of an answer. What is answered is decided in `script.py`.

Each dialect has `read(body)`, which tells what the user says, his texts and pictures, the tools and their results; `whole(model, steps)`; and `stream(model, steps)`, which gives
(name, data) for each event, or a step that is no event: ("pause", s), ("stall",), ("cut",).
"""

import json
import time

from script import RESET, USAGE, pieces

WAITS = ("pause", "stall", "cut", "mute")


def is_wait(event):
    """Whether what a writer gave is a step of the script, and no event of a stream."""
    return event[0] in WAITS


def text_of(content):
    """The text of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [] if part.get("type", "text") in ("text", "input_text"))


def picture(url):
    """The media type and the base64 of a picture that a dialect sends as a `data:` address."""
    head, _, data = url.removeprefix("data:").partition(";base64,")
    return (head, data)


def said(steps, kind="say"):
    return "".join(step[1] for step in steps if step[0] in (kind, "refuse"))


def find(steps, kind):
    return next((step for step in steps if step[0] == kind), None)


def number(call):
    """Which call of a tool this is; agents confuse two of the same id."""
    return call[3] if len(call) > 3 else 1


def finish(steps):
    return (find(steps, "finish") or (None, "stop"))[1]


# What Google adds where it is a quota and no busy minute.
USED_UP = [
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "QUOTA_EXHAUSTED", "domain": "cloudcode-pa.googleapis.com", "metadata": {}},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RESET}s"},
]


def failure(dialect, steps):
    """The body of a failure in a dialect's own shape."""
    _, status, openai, anthropic, google, message, _ = steps
    if dialect is Messages:
        return {"type": "error", "error": {"type": anthropic, "message": message}, "request_id": "req_scripted"}
    if dialect is Gemini:
        return {"error": {"code": status, "message": message, "status": google, **({"details": USED_UP} if openai == "usage_limit_reached" else {})}}
    if openai == "usage_limit_reached":
        return {"error": {"type": openai, "message": message, "plan_type": "pro", "resets_at": int(time.time()) + RESET}}
    kind = "insufficient_quota" if openai == "insufficient_quota" else "invalid_request_error" if status < 429 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": openai}}


LATER = ("status", 500, "server_error", "api_error", "INTERNAL", "scripted: failed later", {})


class Chat:
    FINISH = {"stop": "stop", "length": "length", "call": "tool_calls", "refusal": "stop", "filter": "content_filter"}

    @staticmethod
    def read(body):
        asked = {"texts": [], "pictures": [], "tools": [], "results": []}
        for message in body["messages"]:
            if message["role"] == "user":
                asked["texts"].append(text_of(message.get("content")))
                parts = [part for part in message.get("content") or [] if isinstance(part, dict) and part.get("type") == "image_url"]
                asked["pictures"] += [picture(part["image_url"]["url"]) for part in parts]
            elif message["role"] == "tool":
                asked["results"].append(text_of(message.get("content")))
        asked["tools"] = [tool["function"]["name"] for tool in body.get("tools") or [] if "function" in tool]
        return asked

    @staticmethod
    def usage():
        return {
            "prompt_tokens": USAGE["input"],
            "completion_tokens": USAGE["output"],
            "total_tokens": USAGE["input"] + USAGE["output"],
            "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
            "completion_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
        }

    @classmethod
    def whole(cls, model, steps):
        message = {"role": "assistant", "content": said(steps) or None}
        if thought := said([step for step in steps if step[0] == "think"], "think"):
            message["reasoning_content"] = thought
        if refusal := find(steps, "refuse"):
            message |= {"content": None, "refusal": refusal[1]}
        if call := find(steps, "call"):
            message["tool_calls"] = [{"id": f"call_{number(call)}", "type": "function", "function": {"name": call[1], "arguments": json.dumps(call[2])}}]
        choice = {"index": 0, "message": message, "finish_reason": cls.FINISH[finish(steps)]}
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": cls.usage()}

    @classmethod
    def stream(cls, model, steps):
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

        def chunk(delta, reason=None):
            return (None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

        yield chunk({"role": "assistant", "content": ""})
        for step in steps:
            if step[0] in WAITS:
                yield step
            elif step[0] in ("say", "think", "refuse"):
                field = {"say": "content", "think": "reasoning_content", "refuse": "refusal"}[step[0]]
                for piece in pieces(step[1]):
                    yield chunk({field: piece})
            elif step[0] == "call":
                yield chunk({"tool_calls": [{"index": 0, "id": f"call_{number(step)}", "type": "function", "function": {"name": step[1], "arguments": json.dumps(step[2])}}]})
            elif step[0] == "fail":
                yield (None, failure(cls, LATER))
                return
            elif step[0] == "finish":
                yield chunk({}, cls.FINISH[step[1]])
        yield (None, {**head, "choices": [], "usage": cls.usage()})
        yield (None, "[DONE]")


class Responses:
    @staticmethod
    def read(body):
        asked = {"texts": [], "pictures": [], "tools": [], "results": []}
        given = body["input"]
        for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
            if item.get("type") in ("function_call_output", "custom_tool_call_output"):
                asked["results"].append(text_of(item.get("output")))
            elif item.get("role") == "user":
                asked["texts"].append(text_of(item.get("content")))
                parts = [part for part in item.get("content") or [] if isinstance(part, dict) and part.get("type") == "input_image"]
                asked["pictures"] += [picture(part["image_url"]) for part in parts]
        asked["tools"] = [tool["name"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
        return asked

    @staticmethod
    def response(model, status, output, why=None):
        usage = {
            "input_tokens": USAGE["input"],
            "input_tokens_details": {"cached_tokens": USAGE["cached"]},
            "output_tokens": USAGE["output"],
            "output_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
            "total_tokens": USAGE["input"] + USAGE["output"],
        }
        head = {"id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": status, "output": output}
        details = {"reason": why} if why else None
        return {**head, "error": None, "incomplete_details": details, "usage": None if status == "in_progress" else usage}

    @staticmethod
    def items(steps):
        items = []
        for step in steps:
            if step[0] == "think":
                items.append({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": step[1]}]})
            elif step[0] == "say":
                part = {"type": "output_text", "text": step[1], "annotations": []}
                items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
            elif step[0] == "refuse":
                part = {"type": "refusal", "refusal": step[1]}
                items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
            elif step[0] == "call":
                items.append({"type": "function_call", "id": f"fc_{number(step)}", "call_id": f"call_{number(step)}", "name": step[1], "arguments": json.dumps(step[2]), "status": "completed"})
        return items

    @classmethod
    def whole(cls, model, steps):
        why = {"length": "max_output_tokens", "filter": "content_filter"}.get(finish(steps))
        return cls.response(model, "incomplete" if why else "completed", cls.items(steps), why)

    @classmethod
    def stream(cls, model, steps):
        number = iter(range(10000))

        def event(name, **fields):
            return (name, {"type": name, "sequence_number": next(number), **fields})

        yield event("response.created", response=cls.response(model, "in_progress", []))
        items = cls.items(steps)
        at = -1
        for step in steps:
            if step[0] in WAITS:
                yield step
            elif step[0] == "fail":
                body = cls.response(model, "failed", [])
                yield event("response.failed", response={**body, "error": {"code": "server_error", "message": "scripted: failed later"}})
                return
            elif step[0] in ("think", "say", "refuse", "call"):
                at += 1
                item = items[at]
                where = {"item_id": item["id"], "output_index": at}
                bare = {key: value for key, value in item.items() if key not in ("content", "summary", "arguments")}
                empty = {"summary": []} if step[0] == "think" else {"arguments": ""} if step[0] == "call" else {"content": []}
                yield event("response.output_item.added", output_index=at, item={**bare, **empty})
                if step[0] == "think":
                    yield event("response.reasoning_summary_part.added", **where, summary_index=0, part={"type": "summary_text", "text": ""})
                    for piece in pieces(step[1]):
                        yield event("response.reasoning_summary_text.delta", **where, summary_index=0, delta=piece)
                    yield event("response.reasoning_summary_text.done", **where, summary_index=0, text=step[1])
                    yield event("response.reasoning_summary_part.done", **where, summary_index=0, part={"type": "summary_text", "text": step[1]})
                elif step[0] == "call":
                    yield event("response.function_call_arguments.delta", **where, delta=item["arguments"])
                    yield event("response.function_call_arguments.done", **where, arguments=item["arguments"])
                else:
                    kind, field = ("output_text", "text") if step[0] == "say" else ("refusal", "refusal")
                    part = {**item["content"][0], field: ""}
                    yield event("response.content_part.added", **where, content_index=0, part=part)
                    for piece in pieces(step[1]):
                        yield event(f"response.{kind}.delta", **where, content_index=0, delta=piece)
                    yield event(f"response.{kind}.done", **where, content_index=0, **{field: step[1]})
                    yield event("response.content_part.done", **where, content_index=0, part=item["content"][0])
                yield event("response.output_item.done", output_index=at, item=item)
        last = cls.whole(model, steps)
        yield event(f"response.{last['status']}", response=last)


class Messages:
    STOP = {"stop": "end_turn", "length": "max_tokens", "call": "tool_use", "refusal": "refusal", "filter": "refusal"}

    @staticmethod
    def read(body):
        asked = {"texts": [], "pictures": [], "tools": [], "results": []}
        for message in body["messages"]:
            if message["role"] != "user":
                continue
            parts = message["content"]
            results = [part for part in parts if isinstance(part, dict) and part.get("type") == "tool_result"]
            if results:
                asked["results"] += [text_of(part.get("content")) for part in results]
            else:
                asked["texts"].append(text_of(parts))
            sources = [part["source"] for part in parts if isinstance(part, dict) and part.get("type") == "image"]
            asked["pictures"] += [(source["media_type"], source["data"]) for source in sources]
        asked["tools"] = [tool["name"] for tool in body.get("tools") or []]
        return asked

    @staticmethod
    def usage():
        fresh = USAGE["input"] - USAGE["cached"]
        return {"input_tokens": fresh, "cache_creation_input_tokens": 0, "cache_read_input_tokens": USAGE["cached"], "output_tokens": USAGE["output"]}

    @staticmethod
    def blocks(steps):
        blocks = []
        for step in steps:
            if step[0] == "think":
                blocks.append({"type": "thinking", "thinking": step[1], "signature": "c2lnbmVk"})
            elif step[0] in ("say", "refuse"):
                blocks.append({"type": "text", "text": step[1]})
            elif step[0] == "call":
                blocks.append({"type": "tool_use", "id": f"toolu_{number(step)}", "name": step[1], "input": step[2]})
        return blocks

    @classmethod
    def whole(cls, model, steps):
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model}
        return {**head, "content": cls.blocks(steps), "stop_reason": cls.STOP[finish(steps)], "stop_sequence": None, "usage": cls.usage()}

    @classmethod
    def stream(cls, model, steps):
        def event(name, **fields):
            return (name, {"type": name, **fields})

        end = cls.whole(model, steps)
        yield event("message_start", message={**end, "content": [], "stop_reason": None})
        blocks = cls.blocks(steps)
        at = -1
        for step in steps:
            if step[0] in WAITS:
                yield step
            elif step[0] == "fail":
                yield event("error", error={"type": "api_error", "message": "scripted: failed later"})
                return
            elif step[0] in ("think", "say", "refuse", "call"):
                at += 1
                block = blocks[at]
                empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}[block["type"]]
                yield event("content_block_start", index=at, content_block={**block, **empty})
                if block["type"] == "tool_use":
                    yield event("content_block_delta", index=at, delta={"type": "input_json_delta", "partial_json": json.dumps(block["input"])})
                else:
                    field = block["type"]
                    for piece in pieces(block[field]):
                        yield event("content_block_delta", index=at, delta={"type": f"{field}_delta", field: piece})
                    if field == "thinking":
                        yield event("content_block_delta", index=at, delta={"type": "signature_delta", "signature": block["signature"]})
                yield event("content_block_stop", index=at)
        yield event("message_delta", delta={"stop_reason": end["stop_reason"], "stop_sequence": None}, usage=cls.usage())
        yield event("message_stop")


class Gemini:
    FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "call": "STOP", "refusal": "SAFETY", "filter": "SAFETY"}

    @staticmethod
    def read(body):
        asked = {"texts": [], "pictures": [], "tools": [], "results": []}
        for content in body["contents"]:
            if content.get("role") == "model":
                continue
            results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
            if results:
                asked["results"] += [" ".join(str(value) for value in result["response"].values()) for result in results]
            else:
                asked["texts"].append("".join(part.get("text", "") for part in content["parts"]))
            inline = [part["inlineData"] for part in content["parts"] if "inlineData" in part]
            asked["pictures"] += [(data["mimeType"], data["data"]) for data in inline]
        asked["tools"] = [one["name"] for tool in body.get("tools") or [] for one in tool.get("functionDeclarations", [])]
        return asked

    @staticmethod
    def chunk(model, parts, reason=None):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **({"finishReason": reason} if reason else {})}
        usage = {
            "promptTokenCount": USAGE["input"],
            "cachedContentTokenCount": USAGE["cached"],
            "candidatesTokenCount": USAGE["output"] - USAGE["reasoning"],
            "thoughtsTokenCount": USAGE["reasoning"],
            "totalTokenCount": USAGE["input"] + USAGE["output"],
        }
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r1"}

    @staticmethod
    def part(step, text):
        if step[0] == "call":
            return {"functionCall": {"name": step[1], "args": step[2]}}
        return {"text": text, "thought": True} if step[0] == "think" else {"text": text}

    @classmethod
    def whole(cls, model, steps):
        parts = [cls.part(step, step[1]) for step in steps if step[0] in ("think", "say", "refuse", "call")]
        return cls.chunk(model, parts, cls.FINISH[finish(steps)])

    @classmethod
    def stream(cls, model, steps):
        for step in steps:
            if step[0] in WAITS:
                yield step
            elif step[0] == "fail":
                yield (None, failure(cls, LATER))
                return
            elif step[0] == "call":
                yield (None, cls.chunk(model, [cls.part(step, "")]))
            elif step[0] in ("think", "say", "refuse"):
                for piece in pieces(step[1]):
                    yield (None, cls.chunk(model, [cls.part(step, piece)]))
            elif step[0] == "finish":
                yield (None, cls.chunk(model, [{"text": ""}], cls.FINISH[step[1]]))

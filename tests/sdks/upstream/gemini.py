"""Google's Gemini API, as an upstream speaks it: a reader of requests and two writers of answers. What is answered is decided in `script.py`."""

import base64
import json

from script import USAGE, nothing, pieces, vector

# A kind of error is in the words as much as in the status.
TEXTS = {
    400: "The input token count (9999) exceeds the maximum number of tokens allowed (100).",
    404: "models/scripted is not found for API version v1beta, or is not supported for generateContent.",
    413: "Request payload size exceeds the limit: 20971520 bytes.",
}
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


def read(body):
    asked = nothing()
    asked["system"] = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", []))
    for content in body["contents"]:
        if content.get("role") == "model":
            continue
        results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        if results:
            asked["results"] += [" ".join(str(value) for value in result["response"].values()) for result in results]
            continue
        asked["text"], asked["results"] = "".join(part.get("text", "") for part in content["parts"]), []
        data = [part["inlineData"] for part in content["parts"] if "inlineData" in part]
        # Google's servers take both spellings, and its SDKs use both.
        asked["images"] = [(one.get("mimeType") or one["mime_type"], len(base64.b64decode(one["data"].replace("-", "+").replace("_", "/")))) for one in data]
    asked["tools"] = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    settings = body.get("generationConfig") or {}
    asked["schema"] = settings.get("responseJsonSchema") or settings.get("responseSchema")
    return asked


def chunk(model, parts, finish=None):
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **({"finishReason": finish} if finish else {})}
    usage = {"promptTokenCount": USAGE["input"], "candidatesTokenCount": USAGE["output"], "totalTokenCount": sum(USAGE.values())}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r1"}


def call(answer):
    return [{"functionCall": {"name": answer[1], "args": answer[2]}}]


def whole(model, answer):
    return chunk(model, call(answer) if answer[0] == "call" else [{"text": answer[1]}], "STOP")


def stream(model, answer):
    """The events of a stream, each (name, data); or "cut", or "wait"."""
    if answer[0] == "call":
        yield (None, chunk(model, call(answer), "STOP"))
        return
    for piece in pieces(answer):
        yield (None, chunk(model, [{"text": piece}]))
    if answer[0] == "later":
        yield (None, failed(500, "scripted: failed later"))
    elif answer[0] in ("cut", "wait"):
        yield answer[0]
    else:
        yield (None, chunk(model, [{"text": ""}], "STOP"))


def failed(status, message=None):
    message = message or TEXTS.get(status) or f"scripted: {status}"
    return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "INTERNAL")}}


def count(body):
    return {"totalTokens": len(json.dumps(body.get("generateContentRequest", body)["contents"]).split())}


def embed(body):
    texts = [("".join(part["text"] for part in one["content"]["parts"]), one.get("outputDimensionality")) for one in body["requests"]]
    return {"embeddings": [{"values": vector(text, dimensions)} for text, dimensions in texts]}

"""The script: what the upstream answers is decided by the model that is asked for, and by nothing else. No dialect is known here.

An agent wraps what its user said into words of its own, so the prompt is a poor place for orders; the model's name arrives as it was given.
`MODELS` is the list. An answer is a list of steps that the writers of `dialects.py` put into a dialect's words.
"""

import base64
import hashlib
import json
import re

USAGE = {"input": 11, "cached": 3, "output": 7, "reasoning": 2}
ANSWER = "One two three four five six seven."
HALF = "Half a sen"
THOUGHT = "The user wants words."
SHELLS = ("Bash", "bash", "exec_command", "shell", "shell_command", "run_shell_command")
COMMAND = "echo made by a tool > made-by-a-tool.txt"
JSON = {"city": "Paris", "degrees": 21}
# The folder that a prompt wants work done in, and what `given.txt` there holds.
FOLDER = re.compile(r"Work in (/[^\s:]+):")
GIVEN = re.compile(r"content-of-[0-9a-f]+")


def shell(words):
    return {"cmd": words}


# How each agent's own tools read a file and write one: by name the arguments for a path, and for a path and a text.
READERS = {
    "Read": lambda path: {"file_path": path},
    "read_file": lambda path: {"file_path": path},
    "view": lambda path: {"path": path},
    "exec_command": lambda path: shell(f"cat '{path}'"),
}
WRITERS = {
    "Write": lambda path, text: {"file_path": path, "content": text},
    "write_file": lambda path, text: {"file_path": path, "content": text},
    "create": lambda path, text: {"path": path, "file_text": text},
    "Edit": lambda path, text: {"file_path": path, "old_string": "", "new_string": text},
    "exec_command": lambda path, text: shell(f"printf %s '{text}' >'{path}'"),
}

# Seconds until a used-up quota is given anew.
RESET = 7380
# A failure: status, kind in the words of OpenAI, Anthropic and Google, what it says, and the headers beside it.
FAILURES = {
    "fails-400": (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "scripted: a bad request", {}),
    "fails-401": (401, "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "scripted: the key is not valid", {}),
    "fails-403": (403, "permission_denied", "permission_error", "PERMISSION_DENIED", "scripted: not allowed", {}),
    "fails-404": (404, "model_not_found", "not_found_error", "NOT_FOUND", "scripted: the model does not exist", {}),
    "fails-429": (429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "scripted: too many requests", {"retry-after": "20"}),
    "fails-429-soon": (429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "scripted: too many requests", {"retry-after": "1"}),
    "fails-429-bare": (429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "scripted: too many requests", {}),
    "fails-500": (500, "server_error", "api_error", "INTERNAL", "scripted: broken", {}),
    "fails-503": (503, "server_error", "api_error", "UNAVAILABLE", "scripted: unavailable", {}),
    "fails-529": (529, "server_error", "overloaded_error", "UNAVAILABLE", "scripted: overloaded", {}),
    "fails-quota": (
        429,
        "insufficient_quota",
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        {},
    ),
    # What a subscription that is used up is told; a header of `+N` is the moment in N seconds.
    "fails-limit": (
        429,
        "usage_limit_reached",
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
        f"You have hit your usage limit. Your quota will reset after {RESET // 3600}h{RESET % 3600 // 60}m.",
        {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": f"+{RESET}",
            "x-codex-primary-used-percent": "100",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": f"+{RESET}",
        },
    ),
    "fails-credit": (400, "billing_not_active", "invalid_request_error", "FAILED_PRECONDITION", "Your credit balance is too low to access the API.", {}),
    "fails-length": (
        400,
        "context_length_exceeded",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "prompt is too long: 250000 tokens > 200000 maximum; the input token count exceeds the maximum number of tokens allowed; maximum context length is 200000 tokens",
        {},
    ),
}

SAID = [("say", ANSWER), ("finish", "stop")]

# Steps: ("think", text), ("say", text), ("echo",), ("call",), ("refuse", text), ("pause", seconds between pieces from here on), ("fail",) in the midst of
# the stream, ("stall",) until the other side closes, ("cut",) the connection, ("mute",) not even a head, ("finish", reason).
MODELS = {
    "parrot": SAID,
    "echo": [("echo",), ("finish", "stop")],
    "thinks": [("think", THOUGHT), *SAID],
    "slow": [("pause", 0.4), *SAID],
    "swift": [("pause", 0), *SAID],
    "stalls": [("say", HALF), ("stall",)],
    "silent": [("mute",)],
    "cuts": [("say", HALF), ("cut",)],
    "fails-later": [("say", HALF), ("fail",)],
    "refuses": [("refuse", "I cannot help with that."), ("finish", "refusal")],
    "filtered": [("say", HALF), ("finish", "filter")],
    "runs-out": [("say", HALF), ("finish", "length")],
    "says-nothing": [("finish", "stop")],
    # Where a tool is there to say it with, by that.
    "says-json": [("json",), ("finish", "stop")],
    # Tells the type and the digest of each picture.
    "sees": [("see",), ("finish", "stop")],
    # Reads `given.txt` of the folder that the prompt names with a tool of the agent's own, writes what stood there into `made.txt` with another, and tells what came of each.
    "works": [("work",), ("finish", "stop")],
    # Calls the first tool it is given that runs commands, then says what came of it; without such a tool it says so.
    "runs-a-command": [("call",), ("finish", "call")],
    **{name: [("status", *failure)] for name, failure in FAILURES.items()},
}


def steps_of(model, asked):
    """The steps for a model, what depends on the request filled in; None for a model that is not on the list."""
    steps = MODELS.get(model)
    if steps == MODELS["echo"]:
        return [("say", "".join(asked["texts"][-1:])), ("finish", "stop")]
    if steps == MODELS["sees"]:
        seen = [f"{mime} {hashlib.sha256(base64.b64decode(data)).hexdigest()[:16]}" for mime, data in asked["pictures"]]
        return [("say", "; ".join(seen) or "I see no picture."), ("finish", "stop")]
    if steps == MODELS["says-json"]:
        if "StructuredOutput" in asked["tools"] and not asked["results"]:
            return [("call", "StructuredOutput", JSON), ("finish", "call")]
        return [("say", json.dumps(JSON)), ("finish", "stop")]
    if steps == MODELS["works"]:
        return work(asked)
    if steps == MODELS["runs-a-command"]:
        if asked["results"]:
            return [("say", "It said: " + " ".join(asked["results"])), ("finish", "stop")]
        shell = next((name for name in SHELLS if name in asked["tools"]), None)
        if shell is None:
            return [("say", "There is no tool here."), ("finish", "stop")]
        argument = {"cmd": COMMAND} if shell == "exec_command" else {"command": COMMAND}
        if shell == "shell":
            argument = {"command": ["sh", "-c", COMMAND]}
        return [("call", shell, {**argument, "description": "make a file"} if shell in ("Bash", "bash") else argument), ("finish", "call")]
    return steps


def work(asked):
    """The next step of a work with tools: read, then write, then tell."""
    folder, results = FOLDER.search(" ".join(asked["texts"])), asked["results"]
    given = GIVEN.search(" ".join(results))
    text = f"copied {given[0]}" if given else "nothing was read"
    for at, (tools, name, more) in enumerate(((READERS, "given.txt", ()), (WRITERS, "made.txt", (text,)))):
        tool = next((tool for tool in tools if tool in asked["tools"]), None)
        if folder and tool and len(results) == at:
            return [("call", tool, tools[tool](f"{folder[1]}/{name}", *more), at + 1), ("finish", "call")]
    return [("say", f"It said: {' | '.join(results)}, of {', '.join(asked['tools'])}"), ("finish", "stop")]


def pieces(text):
    """A text in the pieces of a stream: of six letters, or larger ones where there would be very many."""
    size = max(6, len(text) // 100)
    return [text[at : at + size] for at in range(0, len(text), size)]

"""The script: what the upstream answers is decided by the model that is asked for, and by nothing else. No dialect is known here.

An agent wraps what its user said into words of its own, so the prompt is a poor place for orders; the model's name arrives as it was given.
`MODELS` is the list. An answer is a list of steps that the writers of `dialects.py` put into a dialect's words.
"""

USAGE = {"input": 11, "cached": 3, "output": 7, "reasoning": 2}
ANSWER = "One two three four five six seven."
HALF = "Half a sen"
THOUGHT = "The user wants words."
SHELLS = ("Bash", "bash", "exec_command", "shell", "shell_command", "run_shell_command")
COMMAND = "echo made by a tool > made-by-a-tool.txt"

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
        {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": "4070908800"},
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
    "stalls": [("say", HALF), ("stall",)],
    "silent": [("mute",)],
    "cuts": [("say", HALF), ("cut",)],
    "fails-later": [("say", HALF), ("fail",)],
    "refuses": [("refuse", "I cannot help with that."), ("finish", "refusal")],
    "filtered": [("say", HALF), ("finish", "filter")],
    "runs-out": [("say", HALF), ("finish", "length")],
    "says-nothing": [("finish", "stop")],
    "says-json": [("say", '{"city":"Paris","degrees":21}'), ("finish", "stop")],
    # Calls the first tool it is given that runs commands, then says what came of it; without such a tool it says so.
    "runs-a-command": [("call",), ("finish", "call")],
    **{name: [("status", *failure)] for name, failure in FAILURES.items()},
}


def steps_of(model, asked):
    """The steps for a model, what depends on the request filled in; None for a model that is not on the list."""
    steps = MODELS.get(model)
    if steps == MODELS["echo"]:
        return [("say", asked["text"]), ("finish", "stop")]
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


def pieces(text):
    """A text in the pieces of a stream: of six letters, or larger ones where there would be very many."""
    size = max(6, len(text) // 100)
    return [text[at : at + size] for at in range(0, len(text), size)]

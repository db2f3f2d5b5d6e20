"""The script: what the upstream answers is decided by what it is asked, and by nothing else. No dialect is known here.

What the last user's text makes it do:

    say X                  answers X
    describe …             says the type and the bytes of each image it was given
    weather …              calls the tool `get_weather`, where it has one; with the tool's result, says that
    city …                 answers JSON, where it was given a schema
    fail N                 answers with the status N
    fail later             fails in the middle of a stream
    break off              closes the connection in the middle of an answer
    wait                   says half a sentence and then nothing, until the connection is closed
"""

import json

USAGE = {"input": 11, "output": 7}
CITY = {"city": "Paris", "degrees": 21}
HALF = "half a sen"


def nothing():
    """What a dialect's reader fills from a request."""
    return {"text": "", "system": "", "images": [], "results": [], "schema": None, "tools": []}


def decide(asked):
    """What to answer: ("text", str) | ("call", name, arguments) | ("status", int) | ("later",) | ("cut",) | ("wait",)."""
    verb, _, rest = asked["text"].partition(" ")
    if verb == "fail":
        return ("later",) if rest == "later" else ("status", int(rest))
    if verb == "break":
        return ("cut",)
    if verb == "wait":
        return ("wait",)
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


def pieces(answer):
    """The text of an answer in the pieces of a stream."""
    text = answer[1] if answer[0] == "text" else HALF
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def vector(text, dimensions):
    """What stands for a text: its length, then its words, then nothing."""
    return [float(len(text)), float(len(text.split())), *[0.0] * ((dimensions or 4) - 2)]

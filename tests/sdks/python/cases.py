"""What the three programs in this folder share: a list of cases, how a failure is expected, what is asked, and the run.

A case belongs to a row of the table that `../run.py` prints, an ability or an error, and runs once for each thing behind the router: `chat`,
`responses`, `messages`, `google` are the dialects of the scripted upstream, `router` is what no upstream is asked for, `embedded` is the model in
the router. The function gets the name of the model there.
"""

import json
import os
import struct
import sys
import time
import traceback
import urllib.request
import zlib

SCRIPTED, EMBEDDED, KEY = os.environ["SCRIPTED_URL"], os.environ["EMBEDDED_URL"], os.environ["ROUTER_KEY"]
UPSTREAMS = ["chat", "responses", "messages", "google"]
# What each status of the upstream is for the caller, whose key and request were right: the table of errors. A key of the router's that the upstream
# refuses, and a fault of the upstream's own, are 502.
PASSED_ON = {400: 400, 401: 502, 404: 404, 413: 413, 429: 429, 500: 502, 503: 503}
# Of what is passed through only the refused key is not said as it was: it was not the caller's.
PASSED_THROUGH = {400: 400, 401: 502, 404: 404, 413: 413, 429: 429, 500: 500, 503: 503}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
LARGE = "x" * (33 << 20)

SPOKEN = "Is Paris or Rome the capital of France?"
_cases = []
_raised = []


def embedded_model():
    """The one model that the router with the embedded engine lists."""
    asked = urllib.request.Request(f"{EMBEDDED}/v1/models", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)["data"][0]["id"]


def png():
    """A picture of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


def case(row, *behind, note=""):
    """Adds a function to the list."""

    def add(function):
        _cases.extend((row, one, note, function) for one in behind)
        return function

    return add


def same(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def raises(classes, call, **fields):
    """Calls, wants exactly this class (or one of these) with these fields, and returns the error."""
    classes = classes if isinstance(classes, tuple) else (classes,)
    try:
        got = call()
    except Exception as error:
        assert type(error) in classes, f"raised {type(error).__name__}: {error}"
        for name, wanted in fields.items():
            same(getattr(error, name), wanted)
        _raised.append(f"{type(error).__name__} {getattr(error, 'status_code', None) or getattr(error, 'code', None) or ''}".strip())
        return error
    raise AssertionError(f"raised nothing, answered {got!r}")


def run(sdk):
    """Runs all cases, says a line about each (`../run.py` reads it), and ends the program with 1 if one failed."""
    failed, model = 0, embedded_model()
    for row, behind, note, function in _cases:
        _raised.clear()
        start, story = time.monotonic(), ""
        try:
            function(model if behind == "embedded" else "chat/scripted" if behind == "router" else f"{behind}/scripted")
            verdict = "ok   "
        except Exception:
            failed, verdict, story = failed + 1, "FAIL ", "\n" + traceback.format_exc(limit=-6)
        raised = ", ".join(dict.fromkeys(_raised))
        print(f"{verdict} python {sdk} | {row} | {behind} | {note} | {raised} | {time.monotonic() - start:.2f} s{story}", flush=True)
    print(f"{len(_cases) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)

"""What the three programs in this folder share: a list of cases, how a failure is expected, what is asked, and the run.

A case is a function; with `upstreams` it runs once for each of them and gets the name of the model there.
"""

import functools
import os
import struct
import sys
import traceback
import zlib

SCRIPTED, EMBEDDED, KEY = os.environ["SCRIPTED_URL"], os.environ["EMBEDDED_URL"], os.environ["ROUTER_KEY"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
LARGE = "x" * (33 << 20)

_cases = []


def png():
    """A picture of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


def case(name, upstreams=()):
    """Adds a function to the list."""

    def add(function):
        for upstream in upstreams:
            _cases.append((f"{name}, upstream {upstream}", functools.partial(function, f"{upstream}/scripted")))
        if not upstreams:
            _cases.append((name, function))
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
        return error
    raise AssertionError(f"raised nothing, answered {got!r}")


def run(sdk):
    """Runs all cases and ends the program with 1 if one failed."""
    failed = 0
    for name, function in _cases:
        try:
            function()
            print(f"ok    python {sdk}: {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  python {sdk}: {name}\n{traceback.format_exc(limit=-6)}", flush=True)
    print(f"{len(_cases) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)

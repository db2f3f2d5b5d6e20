"""The table of what was tried: every SDK, every ability and every error, with the scripted upstream and with the embedded model.

It is made from the lines that the programs print about their cases (`python/cases.py` and `node/cases.mjs` write them), and says which of its places are
empty that must not be.
"""

import re

ABILITIES = ["chat", "stream", "tools", "structured output", "images in", "embeddings", "models", "token count", "broken stream"]
STATUSES = [400, 401, 404, 413, 429, 500, 503]
# Who says it: an upstream whose failure the router translates, one whose answer is passed through as it is, the router itself, before any upstream is asked,
# and the router where the embedded model would answer.
SOURCES = ["upstream", "passthrough", "router", "embedded"]
# What cannot be tried, and why.
NEVER = {
    ("embeddings", "anthropic"): "that API has none",
    ("token count", "openai"): "those APIs have none",
    ("broken stream", "embedded"): "nothing lies between the router and this model that could break",
    ("router 429", ""): "the router has no limit of its own yet",
    ("router 500", ""): "the router says it of a defect alone",
    ("embedded 429", ""): "as of the router",
    ("embedded 500", ""): "as of the router",
    ("embedded 503", ""): "it wants a queue of hundreds of questions; the engine's own tests fill it",
}
CASE = re.compile(r"^(ok|FAIL) +(\S+ \S+) \| ([^|]+) \| (\S+) \| ([^|]*) \| ([^|]*) \| ([0-9.]+) s$", re.MULTILINE)
WIDTH = 26


def family(sdk):
    return "openai" if "openai" in sdk else "anthropic" if "anthropic" in sdk else "google"


def rows():
    """The rows of the table: (name, what is behind the router)."""
    abilities = [(row, behind) for row in ABILITIES for behind in ("scripted", "embedded")]
    return abilities + [(f"{source} {status}", "") for status in STATUSES for source in SOURCES]


def excused(row, behind, sdk):
    return any((row, word) in NEVER for word in (behind, family(sdk)))


def of(said):
    """The lines of the table, and the names of the places that nothing filled."""
    cells, sdks = {}, []
    for verdict, sdk, row, behind, _, raised, _ in CASE.findall(said):
        sdks += [] if sdk in sdks else [sdk]
        behind = "" if row not in ABILITIES else "embedded" if behind == "embedded" else "scripted"
        cells.setdefault((row, behind, sdk), []).append((verdict, raised))
    lines, empty = [" ".join(["", *(f"{sdk:{WIDTH}}" for sdk in ["", *sdks])]).rstrip()], []
    for row, behind in rows():
        shown = []
        for sdk in sdks:
            cell = cells.get((row, behind, sdk), [])
            bad = sum(verdict == "FAIL" for verdict, _ in cell)
            classes = " ".join(dict.fromkeys(raised for _, raised in cell if raised))
            if bad:
                text = f"{bad} of {len(cell)} FAILED"
            elif cell:
                text = classes if classes and row != "broken stream" and (behind == "embedded" or not behind) else f"{len(cell)} ok"
            else:
                text = "-"
                if not excused(row, behind, sdk):
                    text = "MISSING"
                    empty.append(f"{row} {behind}".strip() + f", {sdk}")
            shown.append(f"{text:{WIDTH}}")
        lines.append(" ".join(["", f"{f'{row} {behind}'.strip():{WIDTH}}", *shown]).rstrip())
    if sdks:
        lines += ["", *(f" - {' '.join(key).strip()}: {why}" for key, why in NEVER.items())]
    return lines, empty

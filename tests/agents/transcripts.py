"""Plays cases as `run.py` does, and writes what each agent said in them to the fixtures that `make test` replays.

    python transcripts.py LLM_ROUTER BIN [WORD...]      WORDs choose providers and cases

Between the router and each agent stands `record.beside`, so a transcript holds what the router's own driver asked for, argument by argument. The file is
crates/core/tests/fixtures/agents/AGENT/CASE.jsonl, or in the folder that the variable FIXTURES names; `record.py` says what its lines are. What a case expects is not looked at here.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from cases import CASES
from run import alone, chosen
from stage import Stage, Try

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = pathlib.Path(os.environ.get("FIXTURES") or HERE.parent.parent / "crates/core/tests/fixtures/agents")
FOLDERS = {"codex_cli": "codex", "claude_code": "claude", "gemini_cli": "gemini", "copilot_cli": "copilot", "copilot_sdk": "copilot_sdk"}
# Their transcripts would be large, or hold nothing: no agent is started, or what it is asked is all that differs.
LEFT_OUT = ("control", "run", "run: embedded", "embedded", "picture elsewhere", "tools: no key", "prompt: long", "prompt: NUL", "not installed", "nobody there", "deadline", "killed")


def beside(bin, folder, who, name, version):
    """A folder of programs that records the agent, and hands on what else is in `bin`."""
    shims = folder / f"bin-{who.id}-{name}"
    shims.mkdir()
    for there in pathlib.Path(bin).iterdir():
        if there.name != who.program:
            (shims / there.name).symlink_to(there)
    shim, program = shims / who.program, pathlib.Path(bin, who.program)
    shim.write_text(
        f"""#!{sys.executable}
import os, sys
sys.path.insert(0, {str(HERE)!r})
from record import Stable, beside
folders = [os.environ.get(name, "") for name in ("HOME", "TMPDIR", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME", "COPILOT_HOME")]
out = {str(shims)!r} + "/said-" + str(os.getpid()) + ".jsonl"
beside({str(program)!r}, {who.program!r}, out, {version!r}, Stable([], [os.getcwd(), *folders, {str(folder)!r}, {str(pathlib.Path(bin).parent)!r}]))
"""
    )
    shim.chmod(0o755)
    return shims


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("program")
    words.add_argument("bin")
    words.add_argument("wanted", nargs="*", metavar="WORD")
    given = words.parse_args()
    alone()
    written = 0
    with tempfile.TemporaryDirectory(prefix="llm-router-agents.") as folder:
        folder = pathlib.Path(folder)
        stage = Stage(given.program, given.bin, folder)
        try:
            stage.start()
            agents, names = chosen(given.wanted)
            for who in [who for who in agents if who.id in FOLDERS]:
                env = {**stage.clean, "PATH": f"{given.bin}:{os.environ['PATH']}"}
                version = subprocess.run([pathlib.Path(given.bin, who.program), "--version"], env=env, stdout=subprocess.PIPE, text=True, timeout=60).stdout
                version = re.search(r"\d+\.\d+\.\d+", version)[0]
                for name in [name for name in names if name not in LEFT_OUT]:
                    written += record(stage, given.bin, who, name, version)
        finally:
            stage.end()
    print(f"{written} transcripts written under {FIXTURES}")
    return 0 if written else 1


def record(stage, bin, who, name, version):
    """Plays one case and keeps the longest of its transcripts; a program asked for its version says less."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    shims = beside(bin, stage.folder, who, plain, version)
    this = Try(stage, who, name)
    stage.bin = str(shims)
    try:
        CASES[name](this)
    except AssertionError as failed:
        print(f"      {who.id}: {name}: {str(failed)[:200]}")
    finally:
        stage.bin = bin
        this.close()
    said = sorted(shims.glob("said-*.jsonl"), key=lambda path: path.stat().st_size)
    if not said:
        print(f"      {who.id}: {name}: the agent was not started, or not at its end")
        return 0
    target = FIXTURES / FOLDERS[who.id] / f"{plain}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(said[-1].read_bytes())
    return 1


if __name__ == "__main__":
    sys.exit(main())

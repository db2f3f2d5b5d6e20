"""The cases: what is asked of each agent, and what has to come of it. A case is a function of a `Try`; it fails by an assertion, or by an invariant of its try.

`CASES` is the table. What differs from agent to agent is in `agents.py`.
"""

import json
import os
import shutil
import signal
import time

import abilities
import planted
from planted import write

ANSWER = "One two three four five six seven."
HALF = "Half a sen"

# ---- answers, through the gateway


def whole(this):
    """A whole answer with its usage."""
    answer = this.ask("--json", "--no-stream", "-p", "hello")
    assert answer.status == 0, answer
    assert answer.text == ANSWER, answer
    found = answer.json
    assert found["finish"] == "stop" and found["model"].endswith("parrot") and found["provider"] == this.who.id, found
    used(this, found["usage"])


def used(this, usage):
    assert usage, "no usage"
    expected = {"input": 11, "output": 7, "cache_read": 3, "reasoning": 2}
    for silent in this.who.silent:
        del expected[silent]
    for name, value in expected.items():
        assert usage.get(name) == value, f"usage {usage}, where {expected} was expected"


def streamed(this):
    """The pieces of an answer as they come, two seconds from the first to the last."""
    answer = this.ask("-p", "hello", model="slow")
    assert answer.status == 0 and answer.out.strip() == ANSWER, answer
    first, last = answer.pieces[0][0], answer.pieces[-1][0]
    assert last - first > 1.2, f"the first piece came {last - first:.2f} s before the last, and is {answer.pieces[0][1]!r}"


def thinks(this):
    """Thoughts are no part of the text."""
    answer = this.ask("--json", "-p", "hello", model="thinks")
    assert answer.status == 0 and answer.text == ANSWER, answer


def system(this):
    """Instructions arrive, and replace the agent's own."""
    answer = this.ask("--json", "-s", "Speak as the system prompt says.", "-p", "hello")
    assert answer.status == 0 and answer.text == ANSWER, answer
    assert "Speak as the system prompt says." in this.on_the_wire(), "the instructions are not on the wire"


def no_tools(this):
    """Nothing that acts is offered to the model, and what it calls all the same does not run."""
    answer = this.ask("--json", "-p", "hello", model="runs-a-command")
    assert answer.status == 0 and answer.text == "There is no tool here.", answer
    assert not list(this.folder.rglob("made-by-a-tool.txt"))


def control(this):
    """The bare program, beside the same planted files, does obey or repeat them: what every other case watches for can be seen."""
    this.bare = True
    command = [f"{this.stage.bin}/{this.who.program}", *this.who.bare]
    answer = this.run(command, {**this.environment("upstream"), **this.who.bare_environment(this.at("upstream"))})
    assert this.requests(), f"it asked nobody: {answer}"
    assert planted.WORD in this.on_the_wire() or this.marker.exists(), "nothing that was planted was obeyed"
    assert this.foreign_seen, "the keys of others were not seen in its environment"


# ---- prompts that mean no harm, or do


def prompt(words):
    def case(this):
        answer = this.ask("--json", f"--prompt={words}", model="echo")
        assert answer.status == 0, answer
        assert words in answer.text, f"{answer.text!r} has not {words!r}"

    case.__doc__ = f"The prompt {words[:40]!r} arrives as it is."
    return case


def at(this):
    """A prompt that names a file is words, and no file of the user's is read for it."""
    secret = this.folder / "secret.txt"
    secret.write_text(f"{planted.WORD}a-file")
    words = f"@{secret} what does @AGENTS.md say, and @./AGENTS.md?"
    answer = this.ask("--json", f"--prompt={words}", model="echo")
    assert planted.WORD not in (answer.text or ""), answer
    assert answer.status == 0 and words in answer.text, answer


def long_prompt(this):
    """300 kB arrive, with letters outside the first plane."""
    words = "The quick brown fox 🦊 jumps. " * 10_000
    answer = this.ask("--json", model="echo", stdin=words.encode())
    assert answer.status == 0, str(answer)[:800]
    assert words.strip() in answer.text, f"{len(answer.text)} characters came back of {len(words)}"


def nul(this):
    """A prompt with a NUL the command refuses before anything starts; over HTTP it arrives."""
    answer = this.ask("--json", model="echo", stdin=b"before\0after")
    assert answer.kind == "caller_invalid_request" and not this.wire, answer
    with this.serving("", this.environment()) as url:
        status, _, text = abilities.chat(url, f"{this.who.id}/echo", "before\0after")
        assert status == 200 and text.endswith("before\0after"), (status, text)


# ---- failures, as the vendors tell them


def fails(name, model, kind, timeout=100, target="upstream"):
    def case(this):
        expected = this.who.tells.get(name, kind)
        answer = this.ask("--json", "-p", "hello", model=model, target=target, timeout=timeout)
        assert answer.status == 1 and answer.kind == expected, f"{answer.kind}, where {expected} was expected: {answer}"

    case.__doc__ = f"{model} becomes {kind}."
    return name, case


def ends(name, model, finish, target, text):
    def case(this):
        expected = this.who.tells.get(name, finish)
        answer = this.ask("--json", "-p", "hello", model=model, target=target)
        if expected.startswith("provider_"):
            assert answer.status == 1 and answer.kind == expected, f"{answer.kind}, where {expected} was expected: {answer}"
            return
        assert answer.status == 0 and answer.json["finish"] == expected, f"an end of {expected} was expected: {answer}"
        assert answer.text in text, answer

    case.__doc__ = f"{model} ends with {finish}."
    return name, case


def limit(this):
    """A subscription that is used up says when it is given anew."""
    file = this.who.login(this.home)
    this.hosts |= set(this.who.login_hosts)
    answer = this.ask("--json", "-p", "hello", key=False, model="fails-limit", target="upstream")
    assert answer.kind == "provider_quota_exhausted", answer
    wait = answer.json["error"].get("retry_after")
    assert wait and 7200 < wait <= 7380, f"{wait} s: {answer}"
    assert file.exists()


def not_installed(this):
    """Without the program the command that installs it is said."""
    # Where npx is, what the original's command fetches would serve who names the provider: see `npx`.
    answer = this.ask("--json", "-p", "hello", path=this.folder / "nothing")
    assert answer.kind == "provider_unavailable", answer
    assert "npm install -g" in answer.json["error"]["hint"], answer
    assert not this.wire, this.on_the_wire()


def npx(this):
    """The original's command has npx find the program: without the program in PATH for who names the provider, and with it where the variable says so."""
    line, variable, more = this.who.npx
    # As the user himself runs it, so that it writes where it likes; npx takes what is installed in a folder above, and asks no registry.
    this.session = True
    (this.folder / "node_modules").symlink_to(this.stage.modules)
    folder, bin = this.folder / "project", this.folder / "bin"
    folder.mkdir()
    bin.mkdir()
    (bin / "node").symlink_to(f"{this.stage.bin}/node")
    write(this.home / ".gemini/trustedFolders.json", {str(folder): "TRUST_FOLDER"})
    path = f"{bin}:{os.path.dirname(shutil.which('npx'))}:/usr/bin:/bin"
    for path, said in ((path, {}), (f"{bin}:{this.stage.bin}:{path}", {variable: line})):
        before = len(this.requests())
        answer = this.ask("--json", "-p", "hello", model=None, path=path, more={**more, **said, "npm_config_offline": "true"}, cwd=folder)
        assert answer.status == 0 and ANSWER in answer.text and answer.json["provider"] == this.who.id, answer
        # It is the program as it stands, in the user's folder, and not the one that the router drives in a folder of its own.
        asked = json.dumps([one["body"] for one in this.requests()[before:]])
        assert str(folder) in asked, asked[-800:]
    assert not this.foreign_seen, this.foreign_seen


def not_logged_in(this):
    """Without key and login it says so, and how to log in; nobody is asked for an answer."""
    answer = this.ask("--json", "-p", "hello", key=False, target="upstream", timeout=40)
    assert answer.kind == "provider_auth", answer
    assert answer.json["error"].get("hint"), answer
    assert not [one for one in this.requests() if "uthorization" in "".join(one["headers"])], this.on_the_wire()[:800]


def nobody_there(this):
    """A refused connection is told as one, and not waited for."""
    answer = this.ask("--json", "-p", "hello", target="nobody", timeout=60)
    assert answer.kind == "provider_connection", answer


# ---- ends


def began(this):
    """Whether the upstream was asked and has had time to say its half sentence."""
    asked = this.requests()
    return bool(asked) and time.time() - asked[0]["at"] > 1


def cancelled(this):
    """Ctrl-C in the middle of an answer: the router is gone, and all that it started."""
    answer = this.ask("-p", "hello", model="stalls", target="upstream", interrupt=began)
    assert answer.status == 130, answer
    asked = this.requests()[0]["at"]
    assert time.time() - asked < 8, f"{time.time() - asked:.1f} s from the request to the end"


def deadline(this):
    """An agent that waits for ever is ended at the deadline."""
    answer = this.ask("--json", "-p", "hello", model="silent", target="upstream", timeout=8)
    assert answer.kind == "provider_timeout" and answer.took < 11, answer


def killed(this):
    """An agent that is killed has failed, whatever it had said."""

    def kill(_):
        if began(this):
            for process in this.processes():
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return False

    answer = this.ask("--json", "-p", "hello", model="stalls", target="upstream", interrupt=kill, timeout=40)
    assert answer.status == 1 and answer.kind == "provider_server_error" and "SIGKILL" in answer.json["error"]["message"], answer


# ---- logins


def login(this):
    """The login of the user's home is seen on the wire, with no key in the environment and at the vendor's own address."""
    file = this.who.login(this.home)
    this.hosts |= set(this.who.login_hosts)
    before = file.read_bytes()
    answer = this.ask("--json", "-p", "hello", key=False, target="upstream")
    assert answer.status == 0 and answer.text == ANSWER, answer
    asked = [one for one in this.requests() if f"Bearer {this.who.token}" in one["headers"].values()]
    assert asked, f"no request with the login: {[(one['host'], one['path']) for one in this.wire]}"
    assert file.read_bytes() == before, "the login was changed, with no reason to"


def refreshed(this):
    """A login that has run out is renewed, and the new one reaches the user's own file."""
    file = this.who.login(this.home, stale=True)
    this.hosts |= set(this.who.login_hosts)
    # Codex locks the file that its login is in by one beside it.
    this.changes |= {str(path.relative_to(this.home)) for path in (file, file.with_name(f"{file.name}.lock"))}
    answer = this.ask("--json", "-p", "hello", key=False, target="upstream")
    assert answer.status == 0 and answer.text == ANSWER, answer
    assert "-refreshed" in file.read_text() or "-again" in file.read_text(), f"{file.name} still holds {file.read_text()[:200]}"


# ---- the embedded model, and the other way round


def embedded(this):
    """The embedded model answers, with the flags that are safe."""
    # So small a model does not always find an end; Copilot would have it go on, where the others are content.
    short = {"COPILOT_PROVIDER_MAX_OUTPUT_TOKENS": "48"}
    answer = this.ask("--json", "-p", "Name a colour.", model="local", target="embedded", timeout=300, more=short)
    assert answer.status == 0 and answer.text.strip(), answer


def run(this):
    """`llm-router run` starts the agent at a router of its own, whose model answers it."""
    config = this.folder / "router.toml"
    config.write_text(
        f'[router]\nprovider = "scripted"\nfallback = false\n[providers.scripted]\nbase_url = "{this.at("upstream")}/v1"\n'
        'dialect = "openai_chat"\napi_key = "key-of-the-upstream"\nmodels = ["parrot"]\ndefault_model = "parrot"\n'
    )
    config.chmod(0o600)
    # The user's own session of his own agent: what it does to his home is its business.
    this.session = True
    command = [this.stage.program, "--config", config, "run", this.who.program, "--model", "scripted/parrot", "--", *this.who.session]
    answer = this.run(command, this.environment("upstream", key=False))
    assert answer.status == 0 and ANSWER in answer.out, answer
    asked = this.requests()
    assert asked and all(one["path"] == "/v1/chat/completions" for one in asked), [one["path"] for one in asked]
    assert "key-of-the-upstream" in this.on_the_wire()


def run_embedded(this):
    """`llm-router run` on the embedded model, with no tools: what it says of a colour is its own business."""
    this.session = True
    words = [word.replace("hello", "Name a colour.") for word in this.who.session]
    # So small a model does not always find an end: the run gives it one.
    # On a machine with other work it takes long to read a prompt of two thousand tokens, in silence.
    patience = '[router]\ntimeouts = { first_event = "290s", idle = "290s", whole = "290s" }\n'
    config = this.config(f'{patience}[models."local/smollm2-135m-instruct"]\nwindow = 4096\n')
    env = {**this.environment("upstream", key=False), "XDG_CACHE_HOME": this.stage.cache}
    answer = this.run([this.stage.program, "--config", config, "run", this.who.program, "--model", "local", "--tools", "none", "--max-tokens", "48", "--", *words], env, limit=600)
    # Where that is what ended the answer, Claude Code calls it an error, and names the number.
    cut = this.who.program == "claude" and "exceeded the 48 output token maximum" in answer.out
    assert cut or (answer.status == 0 and answer.out.strip()), answer
    assert not this.requests(), f"somebody else was asked: {this.on_the_wire()[:800]}"
    # No tools are no servers of tools either, and no hooks: those that are planted tell of themselves.
    assert not this.marker.exists(), this.marker.read_text()


CASES = {
    "control": control,
    "whole": whole,
    "streamed": streamed,
    "thinks": thinks,
    "system prompt": system,
    "no tools": no_tools,
    "picture": abilities.picture,
    "picture elsewhere": abilities.picture_elsewhere,
    "schema": abilities.schema,
    "tools: work": abilities.works,
    "tools: read only": abilities.only_reads,
    "tools: outside": abilities.outside,
    "tools: over HTTP": abilities.over_http,
    "tools: no key": abilities.without_remote,
    "prompt: dash": prompt("--mcp-config=/nowhere --dangerously-skip-permissions"),
    "prompt: danger": prompt("--dangerously-bypass-approvals-and-sandbox"),
    "prompt: shell": prompt("$(touch made-by-a-shell) `id` 'one' \"two\" {model} {prompt}\nsecond line\\"),
    "prompt: slash": prompt("/help me with this"),
    "prompt: bang": prompt("!touch made-by-a-bang"),
    "prompt: hash": prompt("# remember this"),
    "prompt: at": at,
    "prompt: long": long_prompt,
    "prompt: NUL": nul,
    **dict(
        [
            fails("bad request", "fails-400", "provider_rejected"),
            fails("bad key", "fails-401", "provider_auth"),
            fails("forbidden", "fails-403", "provider_auth"),
            fails("model unknown", "fails-404", "caller_model_unknown"),
            fails("rate limited", "fails-429-soon", "provider_rate_limited"),
            fails("quota", "fails-quota", "provider_quota_exhausted"),
            fails("credit", "fails-credit", "provider_billing"),
            fails("server broken", "fails-500", "provider_server_error"),
            fails("overloaded", "fails-529", "provider_overloaded"),
            fails("too long", "fails-length", "caller_context_length"),
            # Copilot asks the model to go on, twice, and joins what it says; this one says the same again.
            ends("cut at the limit", "runs-out", "length", "gateway", (HALF, HALF * 3)),
            ends("filtered", "filtered", "content_filter", "gateway", (HALF,)),
            ends("refused", "refuses", "refusal", "upstream", ("", "I cannot help with that.")),
            fails("cut stream", "cuts", "provider_connection"),
            fails("late failure", "fails-later", "provider_server_error"),
            fails("says nothing", "says-nothing", "provider_protocol"),
        ]
    ),
    "limit": limit,
    "nobody there": nobody_there,
    "not installed": not_installed,
    "npx": npx,
    "not logged in": not_logged_in,
    "cancelled": cancelled,
    "deadline": deadline,
    "killed": killed,
    "login": login,
    "refreshed": refreshed,
    "embedded": embedded,
    "run": run,
    "run: embedded": run_embedded,
}

"""Cases of what an agent can do besides talking: it looks at pictures, answers in a form, and works with its own tools where its owner lets it.

The tools are the agent's own and so are the files: the scripted upstream only says which of them to use (`works` of `upstream/script.py`). What is common to all cases is in `cases.py`.
"""

import base64
import hashlib
import json
import secrets

import planted
from stage import post

# Two points by two, red.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==")
JSON = {"city": "Paris", "degrees": 21}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
IN_A_FORM = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}


def scripted(this, **models):
    """A provider of the configuration beside the agent: the upstream itself; and a route for each name, first the agent and then that provider."""
    provider = f'[providers.scripted]\nbase_url = "{this.stage.upstream}/v1"\ndialect = "openai_chat"\napi_key = "key-of-the-upstream"\nmodels = ["*"]\n'
    routes = [f'[routes.{name}]\ngroups = [["{this.who.id}/{model}"], ["scripted/{model}"]]\n' for name, model in models.items()]
    return "".join([provider, *routes])


def chat(url, model, content="hello", key=None, **more):
    """Asks in OpenAI's words; status, headers, and the text or the error."""
    status, headers, answer = post(f"{url}/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": content}], **more}, key)
    return status, headers, answer["choices"][0]["message"]["content"] if status == 200 else answer["error"]


# ---- pictures


def picture(this):
    """A picture arrives at the model as it was."""
    file = this.folder / "red.png"
    file.write_bytes(PNG)
    answer = this.ask("--json", "--image", file, "-p", "What is this?", model="sees")
    assert answer.status == 0, answer
    assert answer.text == f"image/png {hashlib.sha256(PNG).hexdigest()[:16]}", answer


def picture_elsewhere(this):
    """A picture that is only an address no agent fetches: it is refused, or the next of a route looks at it."""
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://example.com/red.png"}}]
    with this.serving(scripted(this, sight="parrot"), this.environment()) as url:
        status, _, error = chat(url, f"{this.who.id}/sees", content)
        assert status == 400 and error["code"] == "caller_unsupported", (status, error)
        assert not this.wire, this.on_the_wire()
        status, headers, text = chat(url, "sight", content)
        assert (status, headers["x-llm-router-provider"], text) == (200, "scripted", "One two three four five six seven."), (status, headers, text)


# ---- answers in a form


def schema(this):
    """An answer has the form that was asked for; who knows no forms is passed over, and refuses where only he is asked."""
    with this.serving(scripted(this, weather="says-json"), this.environment()) as url:
        if this.who.takes_schema:
            status, headers, text = chat(url, f"{this.who.id}/says-json", "Paris?", response_format=IN_A_FORM)
            assert status == 200 and json.loads(text) == JSON, (status, text)
            assert headers["x-llm-router-provider"] == this.who.id, headers
            assert '"degrees"' in this.on_the_wire(), "the form is not on the wire"
            return
        status, _, error = chat(url, f"{this.who.id}/says-json", "Paris?", response_format=IN_A_FORM)
        assert status == 400 and error["code"] == "caller_unsupported", (status, error)
        assert not this.wire, this.on_the_wire()
        status, headers, text = chat(url, "weather", "Paris?", response_format=IN_A_FORM)
        assert (status, headers["x-llm-router-provider"]) == (200, "scripted") and json.loads(text) == JSON, (status, headers, text)


# ---- tools


def project(this):
    """A folder to work in, with a file of words that nobody can guess, and what would tempt an agent in a folder. Gives the folder and the words."""
    folder = this.folder / "project"
    folder.mkdir()
    if not this.who.trusts_folder:
        planted.plant_folder(folder, this.marker)
    words = f"content-of-{secrets.token_hex(8)}"
    (folder / "given.txt").write_text(words)
    return folder, words


def allowed(this, folder, mode, remote=""):
    """The configuration that lets the agent use its tools there."""
    return f'[providers.{this.who.id}]\nagent = true\nfolder = "{folder}"\npermission_mode = "{mode}"\n{remote}'


def work(this, folder, mode):
    config = this.config(allowed(this, folder, mode))
    return this.ask("--json", "--config", config, "-p", f"Work in {folder}: copy given.txt to made.txt.", model="works")


def works(this):
    """With a mode that allows it, a file of the folder is read and another one is written there, by the agent's own tools."""
    folder, words = project(this)
    answer = work(this, folder, this.who.modes[1])
    assert answer.status == 0, answer
    made = folder / "made.txt"
    assert made.is_file(), f"no file was made: {answer}"
    assert made.read_text().strip() == f"copied {words}", made.read_text()


def only_reads(this):
    """With the mode that is meant where none is named, the file is read and none is written."""
    folder, words = project(this)
    answer = work(this, folder, this.who.modes[0])
    assert answer.status == 0 and words in answer.text, answer
    assert not (folder / "made.txt").exists(), (folder / "made.txt").read_text()


def outside(this):
    """With the mode that is meant where none is named, nothing outside of the folder is read."""
    folder, words = project(this)
    inside = folder / "inside"
    inside.mkdir()
    config = this.config(allowed(this, inside, this.who.modes[0]))
    answer = this.ask("--json", "--config", config, "-p", f"Work in {folder}: copy given.txt to made.txt.", model="works")
    assert answer.status == 0 and words not in answer.text, answer
    assert words not in this.on_the_wire() and not (folder / "made.txt").exists(), answer


def over_http(this):
    """Over HTTP nobody reaches the agent's tools but whose key the owner has named."""
    folder, words = project(this)
    keys = '[[server.api_keys]]\nname = "friend"\nkey = "key-of-a-friend-0123456789"\n[[server.api_keys]]\nname = "other"\nkey = "key-of-another-0123456789"\n'
    asked = f"Work in {folder}: copy given.txt to made.txt.", "key-of-another-0123456789"
    config = keys + allowed(this, folder, this.who.modes[1], 'remote = ["friend"]\n')
    with this.serving(config, this.environment()) as url:
        status, _, error = chat(url, f"{this.who.id}/works", *asked)
        assert status == 403 and error["code"] == "permission_denied", (status, error)
        assert not this.wire and not (folder / "made.txt").exists(), this.on_the_wire()
        status, _, text = chat(url, f"{this.who.id}/works", asked[0], "key-of-a-friend-0123456789")
        assert status == 200 and (folder / "made.txt").read_text().strip() == f"copied {words}", (status, text)


def without_remote(this):
    """A server that asks for no key has nobody whom it lets at the agent's tools."""
    folder, _ = project(this)
    with this.serving(allowed(this, folder, this.who.modes[1]), this.environment()) as url:
        status, _, error = chat(url, f"{this.who.id}/works", f"Work in {folder}: copy given.txt to made.txt.")
        assert status == 403 and error["code"] == "permission_denied", (status, error)
        assert not this.wire and not (folder / "made.txt").exists(), this.on_the_wire()

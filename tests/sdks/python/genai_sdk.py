"""The official Python SDK of Google's Gemini API against a live router."""

import json

from cases import CITY, EMBEDDED, KEY, LARGE, SCRIPTED, WEATHER, case, png, raises, run, same
from google import genai
from google.genai import errors, types


def client_of(url, key):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, timeout=120_000))


client = client_of(SCRIPTED, KEY)
local = client_of(EMBEDDED, "none")
UPSTREAMS = ["chat", "messages"]
FUNCTION = types.FunctionDeclaration(name="get_weather", description="The weather of a city", parameters_json_schema=WEATHER)
TOOLS = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[FUNCTION])])


def ask(model, contents, config=None):
    return client.models.generate_content(model=model, contents=contents, config=config)


def stream(model, contents, config=None):
    return list(client.models.generate_content_stream(model=model, contents=contents, config=config))


@case("chat", UPSTREAMS)
def _(model):
    answer = ask(model, "say hello", {"system_instruction": "Be loud."})
    same((answer.text, answer.candidates[0].finish_reason), ("HELLO", types.FinishReason.STOP))
    same((answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count), (11, 7))


@case("stream", UPSTREAMS)
def _(model):
    chunks = stream(model, "say one two three four")
    texts = [chunk.text for chunk in chunks if chunk.text]
    same("".join(texts), "one two three four")
    assert len(texts) > 1, "the answer came in one piece"
    same(chunks[-1].candidates[0].finish_reason, types.FinishReason.STOP)
    same(chunks[-1].usage_metadata.candidates_token_count, 7)


@case("tools, a round trip", UPSTREAMS)
def _(model):
    first = ask(model, "weather Paris", TOOLS)
    call = first.function_calls[0]
    same((call.name, call.args), ("get_weather", {"city": "Paris"}))
    asked = types.Content(role="user", parts=[types.Part.from_text(text="weather Paris")])
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "21 degrees"}))
    second = ask(model, [asked, first.candidates[0].content, types.Content(role="user", parts=[result])], TOOLS)
    assert second.text.startswith("It is ") and "21 degrees" in second.text, second.text


@case("tools, streamed", UPSTREAMS)
def _(model):
    calls = [call for chunk in stream(model, "weather Oslo", TOOLS) for call in chunk.function_calls or []]
    same([(call.name, call.args) for call in calls], [("get_weather", {"city": "Oslo"})])


@case("tools called by the SDK itself", UPSTREAMS)
def _(model):
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    answer = ask(model, "weather Rome", types.GenerateContentConfig(tools=[get_weather]))
    assert "sunny in Rome" in answer.text, answer.text


@case("JSON schema", UPSTREAMS)
def _(model):
    answer = ask(model, "city", {"response_mime_type": "application/json", "response_json_schema": CITY})
    same(json.loads(answer.text), {"city": "Paris", "degrees": 21})


@case("an image", UPSTREAMS)
def _(model):
    answer = ask(model, [types.Part.from_bytes(data=png(), mime_type="image/png"), "describe this"])
    same(answer.text, f"image/png of {len(png())} bytes")


@case("models: list and one")
def _():
    names = {model.name for model in client.models.list()}
    assert {"models/chat/scripted", "models/messages/scripted"} <= names, names
    same(client.models.get(model="chat/scripted").name, "models/chat/scripted")


@case("token count", UPSTREAMS)
def _(model):
    count = client.models.count_tokens(model=model, contents="one two three")
    assert 3 <= count.total_tokens < 100, count


@case("embedded model: chat, stream, token count")
def _():
    asked = {"model": next(iter(local.models.list())).name, "contents": "Say hello."}
    config = {"max_output_tokens": 8, "temperature": 0}
    answer = local.models.generate_content(**asked, config=config)
    chunks = local.models.generate_content_stream(**asked, config=config)
    same("".join(chunk.text or "" for chunk in chunks), answer.text)
    assert local.models.count_tokens(**asked).total_tokens > 0


# Why the upstream's 401 and 500 are 502 for the caller: see `openai_sdk.py`.
FAILURES = [
    ("fail 400", errors.ClientError, 400),
    ("fail 401", errors.ServerError, 502),
    ("fail 404", errors.ClientError, 404),
    ("fail 413", errors.ClientError, 413),
    ("fail 429", errors.ClientError, 429),
    ("fail 500", errors.ServerError, 502),
    ("fail 503", errors.ServerError, 503),
]
for text, kind, status in FAILURES:

    @case(f"{text} of the upstream", UPSTREAMS)
    def _(model, text=text, kind=kind, status=status):
        raises(kind, lambda: ask(model, text), code=status)
        raises(kind, lambda: stream(model, text), code=status)


@case("400 of the router", UPSTREAMS)
def _(model):
    raises(errors.ClientError, lambda: ask(model, "say hello", {"candidate_count": 1000}), code=400, status="INVALID_ARGUMENT")


@case("401 of the router", UPSTREAMS)
def _(model):
    stranger = client_of(SCRIPTED, "wrong")
    raises(errors.ClientError, lambda: stranger.models.generate_content(model=model, contents="hi"), code=401, status="UNAUTHENTICATED")


@case("404 of the router")
def _():
    raises(errors.ClientError, lambda: ask("nobody-knows", "hi"), code=404, status="NOT_FOUND")


@case("413 of the router", UPSTREAMS)
def _(model):
    raises(errors.ClientError, lambda: ask(model, LARGE), code=413)


@case("an error in the stream", UPSTREAMS)
def _(model):
    error = raises(errors.ServerError, lambda: stream(model, "fail later"))
    assert "failed later" in str(error), error


@case("a cut stream is no normal end", UPSTREAMS)
def _(model):
    raises(errors.ServerError, lambda: stream(model, "break off"))
    raises(errors.ServerError, lambda: ask(model, "break off"), code=502)


run("google-genai")

"""The official Python SDK of Google's Gemini API against a live router: generated content, embeddings, token counts, models."""

import json

from cases import CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER, case, png, raises, run, same
from google import genai
from google.genai import errors, types


def client_of(url, key):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, timeout=120_000))


client = client_of(SCRIPTED, KEY)
local = client_of(EMBEDDED, KEY)
passing = client_of(f"{SCRIPTED}/passthrough/bare", KEY)
FUNCTION = types.FunctionDeclaration(name="get_weather", description="The weather of a city", parameters_json_schema=WEATHER)
TOOLS = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[FUNCTION])])
PICTURE = [types.Part.from_bytes(data=png(), mime_type="image/png"), "describe this"]
SHORT = {"max_output_tokens": 8, "temperature": 0}


def ask(model, contents, config=None, by=client):
    return by.models.generate_content(model=model, contents=contents, config=config)


def stream(model, contents, config=None, by=client):
    return list(by.models.generate_content_stream(model=model, contents=contents, config=config))


@case("chat", *UPSTREAMS)
def _(model):
    answer = ask(model, "say hello", {"system_instruction": "Be loud."})
    same((answer.text, answer.candidates[0].finish_reason), ("HELLO", types.FinishReason.STOP))
    same((answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count), (11, 7))


@case("chat", "embedded")
def _(model):
    answer = ask(model, SPOKEN, SHORT, local)
    assert answer.text and answer.usage_metadata.prompt_token_count > 0, answer


@case("stream", *UPSTREAMS)
def _(model):
    chunks = stream(model, "say one two three four")
    texts = [chunk.text for chunk in chunks if chunk.text]
    same("".join(texts), "one two three four")
    assert len(texts) > 1, "the answer came in one piece"
    same(chunks[-1].candidates[0].finish_reason, types.FinishReason.STOP)
    same(chunks[-1].usage_metadata.candidates_token_count, 7)


@case("stream", "embedded", note="what the whole answer says")
def _(model):
    same("".join(chunk.text or "" for chunk in stream(model, SPOKEN, SHORT, local)), ask(model, SPOKEN, SHORT, local).text)


@case("tools", *UPSTREAMS, note="a round trip")
def _(model):
    first = ask(model, "weather Paris", TOOLS)
    call = first.function_calls[0]
    same((call.name, call.args), ("get_weather", {"city": "Paris"}))
    asked = types.Content(role="user", parts=[types.Part.from_text(text="weather Paris")])
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "21 degrees"}))
    second = ask(model, [asked, first.candidates[0].content, types.Content(role="user", parts=[result])], TOOLS)
    assert second.text.startswith("It is ") and "21 degrees" in second.text, second.text


@case("tools", *UPSTREAMS, note="streamed")
def _(model):
    calls = [call for chunk in stream(model, "weather Oslo", TOOLS) for call in chunk.function_calls or []]
    same([(call.name, call.args) for call in calls], [("get_weather", {"city": "Oslo"})])


@case("tools", *UPSTREAMS, note="called by the SDK itself")
def _(model):
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    answer = ask(model, "weather Rome", types.GenerateContentConfig(tools=[get_weather]))
    assert "sunny in Rome" in answer.text, answer.text


@case("tools", "embedded", note="a model that calls none says so")
def _(model):
    raises(errors.ClientError, lambda: ask(model, "weather Paris", TOOLS, local), code=400)


@case("structured output", *UPSTREAMS)
def _(model):
    answer = ask(model, "city", {"response_mime_type": "application/json", "response_json_schema": CITY})
    same(json.loads(answer.text), {"city": "Paris", "degrees": 21})


@case("structured output", "embedded")
def _(model):
    config = {"response_mime_type": "application/json", "response_json_schema": CITY, "temperature": 0, "max_output_tokens": 80}
    made = json.loads(ask(model, SPOKEN, config, local).text)
    assert isinstance(made["city"], str) and isinstance(made["degrees"], int), made


@case("images in", *UPSTREAMS)
def _(model):
    same(ask(model, PICTURE).text, f"image/png of {len(png())} bytes")


@case("images in", "embedded", note="a model that sees none says so")
def _(model):
    raises(errors.ClientError, lambda: ask(model, PICTURE, None, local), code=400)


@case("embeddings", "chat", "google")
def _(model):
    made = client.models.embed_content(model=model, contents=["one two", "three"])
    same([one.values for one in made.embeddings], [[7, 2, 0, 0], [5, 1, 0, 0]])
    same(client.models.embed_content(model=model, contents="one", config={"output_dimensionality": 6}).embeddings[0].values, [3, 1, 0, 0, 0, 0])


@case("embeddings", "messages", note="of an API that has none")
def _(model):
    raises(errors.ClientError, lambda: client.models.embed_content(model=model, contents="one"), code=400)


@case("embeddings", "embedded", note="a model that makes none says so")
def _(model):
    raises(errors.ClientError, lambda: local.models.embed_content(model=model, contents="one"), code=400)


@case("models", "router")
def _(model):
    names = {model.name for model in client.models.list()}
    assert {f"models/{name}/scripted" for name in UPSTREAMS} <= names, names
    same(client.models.get(model=model).name, f"models/{model}")


@case("models", "embedded")
def _(model):
    same([one.name for one in local.models.list()], [f"models/{model}"])


@case("token count", *UPSTREAMS)
def _(model):
    count = client.models.count_tokens(model=model, contents="one two three")
    assert 3 <= count.total_tokens < 100, count


@case("token count", "embedded")
def _(model):
    assert local.models.count_tokens(model=model, contents="Say hello.").total_tokens > 0


for number, status in PASSED_ON.items():

    @case(f"upstream {number}", *UPSTREAMS)
    def _(model, text=f"fail {number}", status=status):
        kind = errors.ServerError if status >= 500 else errors.ClientError
        raises(kind, lambda: ask(model, text), code=status)
        raises(kind, lambda: stream(model, text), code=status)


@case("router 400", *UPSTREAMS)
def _(model):
    raises(errors.ClientError, lambda: ask(model, "say hello", {"candidate_count": 1000}), code=400, status="INVALID_ARGUMENT")


@case("router 401", "router")
def _(model):
    raises(errors.ClientError, lambda: ask(model, "hi", None, client_of(SCRIPTED, "wrong")), code=401, status="UNAUTHENTICATED")


@case("router 404", "router")
def _(_):
    raises(errors.ClientError, lambda: ask("nobody-knows", "hi"), code=404, status="NOT_FOUND")


@case("router 413", "router")
def _(model):
    raises(errors.ClientError, lambda: ask(model, LARGE), code=413)


@case("router 503", "router")
def _(_):
    raises(errors.ServerError, lambda: ask("gone/scripted", "hi"), code=503, status="UNAVAILABLE")


@case("embedded 400", "embedded")
def _(model):
    raises(errors.ClientError, lambda: ask(model, "hi", {"candidate_count": 1000}, local), code=400, status="INVALID_ARGUMENT")


@case("embedded 401", "embedded")
def _(model):
    raises(errors.ClientError, lambda: ask(model, "hi", None, client_of(EMBEDDED, "wrong")), code=401)


@case("embedded 404", "embedded")
def _(_):
    raises(errors.ClientError, lambda: ask("local/nobody-knows", "hi", None, local), code=404)


@case("embedded 413", "embedded")
def _(model):
    raises(errors.ClientError, lambda: ask(model, LARGE, None, local), code=413)


@case("broken stream", *UPSTREAMS, note="an error in it")
def _(model):
    error = raises(errors.ServerError, lambda: stream(model, "fail later"))
    assert "failed later" in str(error), error


@case("broken stream", *UPSTREAMS, note="cut off")
def _(model):
    raises(errors.ServerError, lambda: stream(model, "break off"))
    raises(errors.ServerError, lambda: ask(model, "break off"), code=502)


for number, status in PASSED_THROUGH.items():

    @case(f"passthrough {number}", "bare")
    def _(_, text=f"fail {number}", status=status):
        raises(errors.ServerError if status >= 500 else errors.ClientError, lambda: ask("scripted", text, None, passing), code=status)


run("google-genai")

"""The official Python SDK of Anthropic against a live router."""

import base64
import json

import anthropic
from cases import CITY, EMBEDDED, KEY, LARGE, SCRIPTED, WEATHER, case, png, raises, run, same

client = anthropic.Anthropic(base_url=SCRIPTED, api_key=KEY, max_retries=0, timeout=60)
local = anthropic.Anthropic(base_url=EMBEDDED, api_key="none", max_retries=0, timeout=120)
TOOL = {"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER}
UPSTREAMS = ["chat"]


def ask(model, content, **options):
    return client.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": content}], **options)


def stream(model, content):
    with client.messages.stream(model=model, max_tokens=100, messages=[{"role": "user", "content": content}]) as events:
        return events.get_final_message()


@case("chat", UPSTREAMS)
def _(model):
    answer = ask(model, "say hello", system="Be loud.")
    same((answer.content[0].text, answer.stop_reason), ("HELLO", "end_turn"))
    same((answer.usage.input_tokens, answer.usage.output_tokens), (11, 7))


@case("stream: events", UPSTREAMS)
def _(model):
    events = list(ask(model, "say one two three four", stream=True))
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    same("".join(deltas), "one two three four")
    assert len(deltas) > 1, "the answer came in one piece"
    same((events[0].type, events[-1].type), ("message_start", "message_stop"))


@case("stream: the helper", UPSTREAMS)
def _(model):
    message = stream(model, "say hello")
    same((message.content[0].text, message.stop_reason, message.usage.output_tokens), ("hello", "end_turn", 7))


@case("tools, a round trip", UPSTREAMS)
def _(model):
    messages = [{"role": "user", "content": "weather Paris"}]
    first = client.messages.create(model=model, max_tokens=100, messages=messages, tools=[TOOL])
    same(first.stop_reason, "tool_use")
    call = next(block for block in first.content if block.type == "tool_use")
    same((call.name, call.input), ("get_weather", {"city": "Paris"}))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(model=model, max_tokens=100, messages=messages, tools=[TOOL])
    same(second.content[0].text, "It is 21 degrees.")


@case("tools, streamed", UPSTREAMS)
def _(model):
    asked = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "weather Oslo"}], "tools": [TOOL]}
    with client.messages.stream(**asked) as events:
        message = events.get_final_message()
    same((message.content[-1].name, message.content[-1].input, message.stop_reason), ("get_weather", {"city": "Oslo"}, "tool_use"))


@case("JSON schema", UPSTREAMS)
def _(model):
    answer = ask(model, "city", output_config={"format": {"type": "json_schema", "schema": CITY}})
    same(json.loads(answer.content[0].text), {"city": "Paris", "degrees": 21})


@case("an image", UPSTREAMS)
def _(model):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
    answer = ask(model, [{"type": "image", "source": source}, {"type": "text", "text": "describe this"}])
    same(answer.content[0].text, f"image/png of {len(png())} bytes")


@case("models: list and one")
def _():
    names = {model.id for model in client.models.list()}
    assert {"chat/scripted", "messages/scripted"} <= names, names
    same(client.models.retrieve("chat/scripted").id, "chat/scripted")


@case("token count", UPSTREAMS)
def _(model):
    count = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "one two three"}])
    assert 3 <= count.input_tokens < 100, count


@case("embedded model: chat, stream, token count")
def _():
    asked = {"model": local.models.list().data[0].id, "messages": [{"role": "user", "content": "Say hello."}]}
    short = {"max_tokens": 8, "extra_body": {"temperature": 0}}
    answer = local.messages.create(**asked, **short)
    with local.messages.stream(**asked, **short) as events:
        same(events.get_final_text(), answer.content[0].text)
    assert local.messages.count_tokens(**asked).input_tokens > 0


# Why the upstream's 401 and 500 are 502 for the caller: see `openai_sdk.py`. Of an overload this dialect has a status of its own, 529.
FAILURES = [
    ("fail 400", anthropic.BadRequestError, 400),
    ("fail 401", anthropic.InternalServerError, 502),
    ("fail 404", anthropic.NotFoundError, 404),
    ("fail 413", anthropic.ContentTooLargeError, 413),
    ("fail 429", anthropic.RateLimitError, 429),
    ("fail 500", anthropic.InternalServerError, 502),
    ("fail 503", anthropic.OverloadedError, 529),
]
for text, kind, status in FAILURES:

    @case(f"{text} of the upstream", UPSTREAMS)
    def _(model, text=text, kind=kind, status=status):
        raises(kind, lambda: ask(model, text), status_code=status)
        raises(kind, lambda: stream(model, text), status_code=status)


@case("400 of the router", UPSTREAMS)
def _(model):
    raises(anthropic.BadRequestError, lambda: ask(model, "say hello", extra_body={"temperature": "hot"}), status_code=400, type="invalid_request_error")


@case("401 of the router", UPSTREAMS)
def _(model):
    stranger = anthropic.Anthropic(base_url=SCRIPTED, api_key="wrong", max_retries=0)
    call = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    raises(anthropic.AuthenticationError, lambda: stranger.messages.create(**call), status_code=401, type="authentication_error")


@case("404 of the router")
def _():
    raises(anthropic.NotFoundError, lambda: ask("nobody-knows", "hi"), status_code=404, type="not_found_error")


@case("413 of the router", UPSTREAMS)
def _(model):
    raises(anthropic.ContentTooLargeError, lambda: ask(model, LARGE), status_code=413, type="request_too_large")


@case("an error in the stream", UPSTREAMS)
def _(model):
    error = raises((anthropic.APIStatusError, anthropic.InternalServerError), lambda: stream(model, "fail later"))
    assert "failed later" in str(error), error


@case("a cut stream is no normal end", UPSTREAMS)
def _(model):
    raises((anthropic.APIStatusError, anthropic.InternalServerError), lambda: stream(model, "break off"))
    raises(anthropic.InternalServerError, lambda: ask(model, "break off"), status_code=502)


run("anthropic")

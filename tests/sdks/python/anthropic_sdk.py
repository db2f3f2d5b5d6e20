"""The official Python SDK of Anthropic against a live router: messages, token counts, models. Its API has no embeddings."""

import base64
import json

import anthropic
from cases import CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER, case, png, raises, run, same

client = anthropic.Anthropic(base_url=SCRIPTED, api_key=KEY, max_retries=0, timeout=60)
local = anthropic.Anthropic(base_url=EMBEDDED, api_key=KEY, max_retries=0, timeout=120)
passing = anthropic.Anthropic(base_url=f"{SCRIPTED}/passthrough/bare", api_key=KEY, max_retries=0, timeout=60)
TOOL = {"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER}
FORMAT = {"format": {"type": "json_schema", "schema": CITY}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
PICTURE = [{"type": "image", "source": SOURCE}, {"type": "text", "text": "describe this"}]


def asked(model, content, **options):
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **options}


def ask(model, content, by=client, **options):
    return by.messages.create(**asked(model, content, **options))


def stream(model, content, by=client, **options):
    with by.messages.stream(**asked(model, content, **options)) as events:
        return events.get_final_message()


@case("chat", *UPSTREAMS)
def _(model):
    answer = ask(model, "say hello", system="Be loud.")
    same((answer.content[0].text, answer.stop_reason), ("HELLO", "end_turn"))
    same((answer.usage.input_tokens, answer.usage.output_tokens), (11, 7))


@case("chat", "embedded")
def _(model):
    answer = ask(model, SPOKEN, local, max_tokens=8)
    assert answer.content[0].text and answer.usage.input_tokens > 0, answer


@case("stream", *UPSTREAMS, note="events")
def _(model):
    events = list(ask(model, "say one two three four", stream=True))
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    same("".join(deltas), "one two three four")
    assert len(deltas) > 1, "the answer came in one piece"
    same((events[0].type, events[-1].type), ("message_start", "message_stop"))


@case("stream", *UPSTREAMS, note="the helper")
def _(model):
    message = stream(model, "say hello")
    same((message.content[0].text, message.stop_reason, message.usage.output_tokens), ("hello", "end_turn", 7))


@case("stream", "embedded", note="what the whole answer says")
def _(model):
    short = {"max_tokens": 8, "extra_body": {"temperature": 0}}
    same(stream(model, SPOKEN, local, **short).content[0].text, ask(model, SPOKEN, local, **short).content[0].text)


@case("tools", *UPSTREAMS, note="a round trip")
def _(model):
    messages = [{"role": "user", "content": "weather Paris"}]
    first = client.messages.create(model=model, max_tokens=100, messages=messages, tools=[TOOL])
    same(first.stop_reason, "tool_use")
    call = next(block for block in first.content if block.type == "tool_use")
    same((call.name, call.input), ("get_weather", {"city": "Paris"}))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(model=model, max_tokens=100, messages=messages, tools=[TOOL])
    assert second.content[0].text.startswith("It is ") and "21 degrees" in second.content[0].text, second


@case("tools", *UPSTREAMS, note="streamed")
def _(model):
    message = stream(model, "weather Oslo", tools=[TOOL])
    same((message.content[-1].name, message.content[-1].input, message.stop_reason), ("get_weather", {"city": "Oslo"}, "tool_use"))


@case("tools", "embedded", note="a model that calls none says so")
def _(model):
    raises(anthropic.BadRequestError, lambda: ask(model, "weather Paris", local, tools=[TOOL]), status_code=400)


@case("structured output", *UPSTREAMS)
def _(model):
    same(json.loads(ask(model, "city", output_config=FORMAT).content[0].text), {"city": "Paris", "degrees": 21})


@case("structured output", "embedded")
def _(model):
    made = json.loads(ask(model, SPOKEN, local, output_config=FORMAT, extra_body={"temperature": 0}).content[0].text)
    assert isinstance(made["city"], str) and isinstance(made["degrees"], int), made


@case("images in", *UPSTREAMS)
def _(model):
    same(ask(model, PICTURE).content[0].text, f"image/png of {len(png())} bytes")


@case("images in", "embedded", note="a model that sees none says so")
def _(model):
    raises(anthropic.BadRequestError, lambda: ask(model, PICTURE, local), status_code=400)


@case("models", "router")
def _(model):
    names = {model.id for model in client.models.list()}
    assert {f"{name}/scripted" for name in UPSTREAMS} <= names, names
    same(client.models.retrieve(model).id, model)


@case("models", "embedded")
def _(model):
    same([one.id for one in local.models.list()], [model])


@case("token count", *UPSTREAMS)
def _(model):
    count = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "one two three"}])
    assert 3 <= count.input_tokens < 100, count


@case("token count", "embedded")
def _(model):
    assert local.messages.count_tokens(model=model, messages=[{"role": "user", "content": "Say hello."}]).input_tokens > 0


CLASSES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    404: anthropic.NotFoundError,
    413: anthropic.ContentTooLargeError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    502: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
    529: anthropic.OverloadedError,
}
for number, status in PASSED_ON.items():

    @case(f"upstream {number}", *UPSTREAMS)
    def _(model, text=f"fail {number}", status=status):
        raises(CLASSES[status], lambda: ask(model, text), status_code=status)
        raises(CLASSES[status], lambda: stream(model, text), status_code=status)


@case("router 400", *UPSTREAMS)
def _(model):
    raises(anthropic.BadRequestError, lambda: ask(model, "say hello", extra_body={"temperature": "hot"}), status_code=400, type="invalid_request_error")


@case("router 401", "router")
def _(model):
    stranger = anthropic.Anthropic(base_url=SCRIPTED, api_key="wrong", max_retries=0)
    raises(anthropic.AuthenticationError, lambda: ask(model, "hi", stranger), status_code=401, type="authentication_error")


@case("router 404", "router")
def _(_):
    raises(anthropic.NotFoundError, lambda: ask("nobody-knows", "hi"), status_code=404, type="not_found_error")


@case("router 413", "router")
def _(model):
    raises(anthropic.ContentTooLargeError, lambda: ask(model, LARGE), status_code=413, type="request_too_large")


@case("router 503", "router")
def _(_):
    raises(anthropic.ServiceUnavailableError, lambda: ask("gone/scripted", "hi"), status_code=503)


@case("embedded 400", "embedded")
def _(model):
    raises(anthropic.BadRequestError, lambda: ask(model, "hi", local, extra_body={"temperature": -1}), status_code=400, type="invalid_request_error")


@case("embedded 401", "embedded")
def _(model):
    stranger = anthropic.Anthropic(base_url=EMBEDDED, api_key="wrong", max_retries=0)
    raises(anthropic.AuthenticationError, lambda: ask(model, "hi", stranger), status_code=401)


@case("embedded 404", "embedded")
def _(_):
    raises(anthropic.NotFoundError, lambda: ask("local/nobody-knows", "hi", local), status_code=404)


@case("embedded 413", "embedded")
def _(model):
    raises(anthropic.ContentTooLargeError, lambda: ask(model, LARGE, local), status_code=413)


@case("broken stream", *UPSTREAMS, note="an error in it")
def _(model):
    error = raises((anthropic.APIStatusError, anthropic.InternalServerError), lambda: stream(model, "fail later"))
    assert "failed later" in str(error), error


@case("broken stream", *UPSTREAMS, note="cut off")
def _(model):
    raises((anthropic.APIStatusError, anthropic.InternalServerError), lambda: stream(model, "break off"))
    raises(anthropic.InternalServerError, lambda: ask(model, "break off"), status_code=502)


for number, status in PASSED_THROUGH.items():

    @case(f"passthrough {number}", "bare")
    def _(_, text=f"fail {number}", status=status):
        raises(CLASSES[status], lambda: ask("scripted", text, passing), status_code=status)


run("anthropic")

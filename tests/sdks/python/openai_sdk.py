"""The official Python SDK of OpenAI against a live router: both dialects of it, chat completions and responses."""

import base64
import json

import openai
from cases import CITY, EMBEDDED, KEY, LARGE, SCRIPTED, WEATHER, case, png, raises, run, same

client = openai.OpenAI(base_url=f"{SCRIPTED}/v1", api_key=KEY, max_retries=0, timeout=60)
local = openai.OpenAI(base_url=f"{EMBEDDED}/v1", api_key="none", max_retries=0, timeout=120)
FUNCTION = {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER, "strict": True}
PICTURE = "data:image/png;base64," + base64.b64encode(png()).decode()
# A dialect is asked where the upstream speaks another one.
CHAT, RESPONSES = ["messages"], ["chat", "messages"]


def chat(model, text, **options):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def respond(model, given, **options):
    return client.responses.create(model=model, input=given, **options)


@case("chat: whole", CHAT)
def _(model):
    messages = [{"role": "system", "content": "Be loud."}, {"role": "user", "content": "say hello"}]
    answer = client.chat.completions.create(model=model, messages=messages)
    same(answer.choices[0].message.content, "HELLO")
    same(answer.choices[0].finish_reason, "stop")
    same((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (11, 7, 18))


@case("chat: stream", CHAT)
def _(model):
    chunks = list(chat(model, "say one two three four", stream=True, stream_options={"include_usage": True}))
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    same("".join(text), "one two three four")
    assert len(text) > 1, "the answer came in one piece"
    same([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    same(chunks[-1].usage.completion_tokens, 7)


@case("chat: stream without usage that nobody asked for", CHAT)
def _(model):
    assert all(chunk.choices and chunk.usage is None for chunk in chat(model, "say one", stream=True))


@case("chat: tools, a round trip", CHAT)
def _(model):
    messages, tools = [{"role": "user", "content": "weather Paris"}], [{"type": "function", "function": FUNCTION}]
    first = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    same(first.finish_reason, "tool_calls")
    call = first.message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
    second = client.chat.completions.create(model=model, messages=messages, tools=tools)
    same(second.choices[0].message.content, "It is 21 degrees.")


@case("chat: tools streamed by the helper", CHAT)
def _(model):
    tools = [{"type": "function", "function": FUNCTION}]
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "weather Oslo"}], tools=tools) as stream:
        choice = stream.get_final_completion().choices[0]
    call = choice.message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments), choice.finish_reason), ("get_weather", {"city": "Oslo"}, "tool_calls"))


@case("chat: JSON schema", CHAT)
def _(model):
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    same(json.loads(chat(model, "city", response_format=schema).choices[0].message.content), {"city": "Paris", "degrees": 21})


@case("chat: an image", CHAT)
def _(model):
    content = [{"type": "text", "text": "describe this"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    same(chat(model, content).choices[0].message.content, f"image/png of {len(png())} bytes")


@case("responses: whole", RESPONSES)
def _(model):
    answer = respond(model, "say hello", instructions="Be loud.", store=False)
    same((answer.output_text, answer.status), ("HELLO", "completed"))
    same((answer.usage.input_tokens, answer.usage.output_tokens), (11, 7))


@case("responses: stream", RESPONSES)
def _(model):
    events = list(respond(model, "say one two three four", stream=True, store=False))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    same("".join(deltas), "one two three four")
    assert len(deltas) > 1, "the answer came in one piece"
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    same(events[-1].response.output_text, "one two three four")


@case("responses: stream by the helper", RESPONSES)
def _(model):
    with client.responses.stream(model=model, input="say hello") as stream:
        same(stream.get_final_response().output_text, "hello")


@case("responses: tools, a round trip", RESPONSES)
def _(model):
    tools, given = [{"type": "function", **FUNCTION}], [{"role": "user", "content": "weather Paris"}]
    first = respond(model, given, tools=tools, store=False)
    call = next(item for item in first.output if item.type == "function_call")
    same((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))
    given += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}]
    same(respond(model, given, tools=tools, store=False).output_text, "It is 21 degrees.")


@case("responses: JSON schema", RESPONSES)
def _(model):
    shape = {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}}
    same(json.loads(respond(model, "city", text=shape).output_text), {"city": "Paris", "degrees": 21})


@case("responses: an image", RESPONSES)
def _(model):
    content = [{"type": "input_text", "text": "describe this"}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]
    same(respond(model, [{"role": "user", "content": content}]).output_text, f"image/png of {len(png())} bytes")


@case("models: list and one")
def _():
    names = {model.id for model in client.models.list()}
    assert {"chat/scripted", "messages/scripted"} <= names, names
    same(client.models.retrieve("chat/scripted").id, "chat/scripted")


@case("embedded model: chat, whole and streamed")
def _():
    asked = {"model": local.models.list().data[0].id, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
    answer = local.chat.completions.create(**asked)
    assert answer.choices[0].message.content and answer.usage.prompt_tokens > 0, answer
    chunks = local.chat.completions.create(**asked, stream=True)
    same("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), answer.choices[0].message.content)


@case("embedded model: responses")
def _():
    answer = local.responses.create(model=local.models.list().data[0].id, input="Say hello.", max_output_tokens=16, temperature=0)
    assert answer.output_text and answer.usage.output_tokens > 0, answer


# What the router answers to each failure of the upstream is in the table of errors: a key of the router's that the upstream refuses, and a fault of
# the upstream's own, are 502 for the caller, whose key and request were right.
FAILURES = [
    ("fail 400", openai.BadRequestError, 400),
    ("fail 401", openai.InternalServerError, 502),
    ("fail 404", openai.NotFoundError, 404),
    ("fail 413", openai.APIStatusError, 413),
    ("fail 429", openai.RateLimitError, 429),
    ("fail 500", openai.InternalServerError, 502),
    ("fail 503", openai.InternalServerError, 503),
]
for doors, ask, label in [(CHAT, chat, "chat"), (RESPONSES, respond, "responses")]:
    for text, kind, status in FAILURES:

        @case(f"{label}: {text} of the upstream", doors)
        def _(model, ask=ask, text=text, kind=kind, status=status):
            raises(kind, lambda: ask(model, text), status_code=status)
            raises(kind, lambda: ask(model, text, stream=True), status_code=status)

    @case(f"{label}: 400 of the router", doors)
    def _(model, ask=ask):
        raises(openai.BadRequestError, lambda: ask(model, "say hello", temperature="hot"), status_code=400)

    @case(f"{label}: 401 of the router", doors)
    def _(model, ask=ask):
        stranger = client.with_options(api_key="wrong")
        call = (lambda: stranger.responses.create(model=model, input="hi")) if ask is respond else (lambda: stranger.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}]))
        raises(openai.AuthenticationError, call, status_code=401)

    @case(f"{label}: 404 of the router")
    def _(ask=ask):
        raises(openai.NotFoundError, lambda: ask("nobody-knows", "hi"), status_code=404, code="model_not_found")

    @case(f"{label}: 413 of the router", doors)
    def _(model, ask=ask):
        raises(openai.APIStatusError, lambda: ask(model, LARGE), status_code=413)


@case("chat: an error in the stream", CHAT)
def _(model):
    error = raises(openai.APIError, lambda: list(chat(model, "fail later", stream=True)))
    assert "failed later" in str(error), error


@case("chat: a cut stream is no normal end", CHAT)
def _(model):
    raises(openai.APIError, lambda: list(chat(model, "break off", stream=True)))
    raises(openai.InternalServerError, lambda: chat(model, "break off"), status_code=502)


@case("responses: an error in the stream", RESPONSES)
def _(model):
    error = raises(openai.APIError, lambda: list(respond(model, "fail later", stream=True)))
    assert "failed later" in str(error), error


@case("responses: a cut stream is no normal end", RESPONSES)
def _(model):
    raises(openai.APIError, lambda: list(respond(model, "break off", stream=True)))
    raises(openai.InternalServerError, lambda: respond(model, "break off"), status_code=502)


run("openai")

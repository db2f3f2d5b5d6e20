"""The official Python SDK of OpenAI against a live router: chat completions, responses, embeddings, models."""

import base64
import json

import openai
from cases import CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER, case, png, raises, run, same

client = openai.OpenAI(base_url=f"{SCRIPTED}/v1", api_key=KEY, max_retries=0, timeout=60)
local = openai.OpenAI(base_url=f"{EMBEDDED}/v1", api_key=KEY, max_retries=0, timeout=120)
passing = client.with_options(base_url=f"{SCRIPTED}/passthrough/bare/v1")
FUNCTION = {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER, "strict": True}
PICTURE = "data:image/png;base64," + base64.b64encode(png()).decode()
SHORT = {"max_tokens": 8, "temperature": 0}
ANSWER = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
SHAPE = {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}}


def chat(model, text, by=client, **options):
    return by.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def respond(model, given, by=client, **options):
    return by.responses.create(model=model, input=given, **options)


@case("chat", *UPSTREAMS, note="chat")
def _(model):
    messages = [{"role": "system", "content": "Be loud."}, {"role": "user", "content": "say hello"}]
    answer = client.chat.completions.create(model=model, messages=messages)
    same(answer.choices[0].message.content, "HELLO")
    same(answer.choices[0].finish_reason, "stop")
    same((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (11, 7, 18))


@case("chat", *UPSTREAMS, note="responses")
def _(model):
    answer = respond(model, "say hello", instructions="Be loud.", store=False)
    same((answer.output_text, answer.status), ("HELLO", "completed"))
    same((answer.usage.input_tokens, answer.usage.output_tokens), (11, 7))


@case("chat", "embedded", note="chat")
def _(model):
    answer = chat(model, SPOKEN, local, **SHORT)
    assert answer.choices[0].message.content and answer.usage.prompt_tokens > 0, answer


@case("chat", "embedded", note="responses")
def _(model):
    answer = respond(model, SPOKEN, local, max_output_tokens=16, temperature=0)
    assert answer.output_text and answer.usage.output_tokens > 0, answer


@case("stream", *UPSTREAMS, note="chat")
def _(model):
    chunks = list(chat(model, "say one two three four", stream=True, stream_options={"include_usage": True}))
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    same("".join(text), "one two three four")
    assert len(text) > 1, "the answer came in one piece"
    same([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    same(chunks[-1].usage.completion_tokens, 7)


@case("stream", *UPSTREAMS, note="chat, without usage that nobody asked for")
def _(model):
    assert all(chunk.choices and chunk.usage is None for chunk in chat(model, "say one", stream=True))


@case("stream", *UPSTREAMS, note="responses")
def _(model):
    events = list(respond(model, "say one two three four", stream=True, store=False))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    same("".join(deltas), "one two three four")
    assert len(deltas) > 1, "the answer came in one piece"
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    same(events[-1].response.output_text, "one two three four")


@case("stream", *UPSTREAMS, note="responses, by the helper")
def _(model):
    with client.responses.stream(model=model, input="say hello") as stream:
        same(stream.get_final_response().output_text, "hello")


@case("stream", "embedded", note="chat: what the whole answer says")
def _(model):
    chunks = chat(model, SPOKEN, local, **SHORT, stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    same(said, chat(model, SPOKEN, local, **SHORT).choices[0].message.content)


@case("stream", "embedded", note="responses")
def _(model):
    events = list(respond(model, SPOKEN, local, max_output_tokens=16, temperature=0, stream=True))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas and deltas == events[-1].response.output_text, events[-1]


@case("tools", *UPSTREAMS, note="chat, a round trip")
def _(model):
    messages, tools = [{"role": "user", "content": "weather Paris"}], [{"type": "function", "function": FUNCTION}]
    first = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    same(first.finish_reason, "tool_calls")
    call = first.message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
    second = client.chat.completions.create(model=model, messages=messages, tools=tools)
    same(second.choices[0].message.content, "It is 21 degrees.")


@case("tools", *UPSTREAMS, note="chat, streamed by the helper")
def _(model):
    tools = [{"type": "function", "function": FUNCTION}]
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "weather Oslo"}], tools=tools) as stream:
        choice = stream.get_final_completion().choices[0]
    call = choice.message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments), choice.finish_reason), ("get_weather", {"city": "Oslo"}, "tool_calls"))


@case("tools", *UPSTREAMS, note="responses, a round trip")
def _(model):
    tools, given = [{"type": "function", **FUNCTION}], [{"role": "user", "content": "weather Paris"}]
    first = respond(model, given, tools=tools, store=False)
    call = next(item for item in first.output if item.type == "function_call")
    same((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))
    given += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}]
    same(respond(model, given, tools=tools, store=False).output_text, "It is 21 degrees.")


@case("tools", "embedded", note="a model that calls none says so")
def _(model):
    raises(openai.BadRequestError, lambda: chat(model, "weather Paris", local, tools=[{"type": "function", "function": FUNCTION}]), status_code=400)


@case("structured output", *UPSTREAMS, note="chat")
def _(model):
    same(json.loads(chat(model, "city", response_format=ANSWER).choices[0].message.content), {"city": "Paris", "degrees": 21})


@case("structured output", *UPSTREAMS, note="responses")
def _(model):
    same(json.loads(respond(model, "city", text=SHAPE).output_text), {"city": "Paris", "degrees": 21})


@case("structured output", "embedded", note="chat")
def _(model):
    made = json.loads(chat(model, SPOKEN, local, temperature=0, max_tokens=80, response_format=ANSWER).choices[0].message.content)
    assert isinstance(made["city"], str) and isinstance(made["degrees"], int), made


@case("images in", *UPSTREAMS, note="chat")
def _(model):
    content = [{"type": "text", "text": "describe this"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    same(chat(model, content).choices[0].message.content, f"image/png of {len(png())} bytes")


@case("images in", *UPSTREAMS, note="responses")
def _(model):
    content = [{"type": "input_text", "text": "describe this"}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]
    same(respond(model, [{"role": "user", "content": content}]).output_text, f"image/png of {len(png())} bytes")


@case("images in", "embedded", note="a model that sees none says so")
def _(model):
    content = [{"type": "text", "text": "describe this"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    raises(openai.BadRequestError, lambda: chat(model, content, local), status_code=400)


@case("embeddings", "chat", "google")
def _(model):
    # The SDK asks for base64 where nobody says otherwise.
    made = client.embeddings.create(model=model, input=["one two", "three"])
    same([one.embedding for one in made.data], [[7, 2, 0, 0], [5, 1, 0, 0]])
    same(client.embeddings.create(model=model, input="one", encoding_format="float", dimensions=6).data[0].embedding, [3, 1, 0, 0, 0, 0])


@case("embeddings", "messages", note="of an API that has none")
def _(model):
    raises(openai.BadRequestError, lambda: client.embeddings.create(model=model, input="one"), status_code=400)


@case("embeddings", "embedded", note="a model that makes none says so")
def _(model):
    raises(openai.BadRequestError, lambda: local.embeddings.create(model=model, input="one"), status_code=400)


@case("models", "router")
def _(model):
    names = {model.id for model in client.models.list()}
    assert {f"{name}/scripted" for name in UPSTREAMS} <= names, names
    same(client.models.retrieve(model).id, model)


@case("models", "embedded")
def _(model):
    same([one.id for one in local.models.list()], [model])
    same(local.models.retrieve(model).id, model)


CLASSES = {400: openai.BadRequestError, 404: openai.NotFoundError, 413: openai.APIStatusError, 429: openai.RateLimitError, 500: openai.InternalServerError, 502: openai.InternalServerError, 503: openai.InternalServerError}
for ask, label in [(chat, "chat"), (respond, "responses")]:
    for number, status in PASSED_ON.items():

        @case(f"upstream {number}", *UPSTREAMS, note=label)
        def _(model, ask=ask, text=f"fail {number}", status=status):
            raises(CLASSES[status], lambda: ask(model, text), status_code=status)
            raises(CLASSES[status], lambda: ask(model, text, stream=True), status_code=status)

    @case("router 400", *UPSTREAMS, note=label)
    def _(model, ask=ask):
        raises(openai.BadRequestError, lambda: ask(model, "say hello", temperature="hot"), status_code=400)

    @case("router 401", "router", note=label)
    def _(model, ask=ask):
        raises(openai.AuthenticationError, lambda: ask(model, "hi", client.with_options(api_key="wrong")), status_code=401)

    @case("router 404", "router", note=label)
    def _(_, ask=ask):
        raises(openai.NotFoundError, lambda: ask("nobody-knows", "hi"), status_code=404, code="model_not_found")

    @case("router 413", "router", note=label)
    def _(model, ask=ask):
        raises(openai.APIStatusError, lambda: ask(model, LARGE), status_code=413)

    @case("router 503", "router", note=label)
    def _(_, ask=ask):
        raises(openai.InternalServerError, lambda: ask("gone/scripted", "hi"), status_code=503)

    @case("embedded 400", "embedded", note=label)
    def _(model, ask=ask):
        raises(openai.BadRequestError, lambda: ask(model, "hi", local, temperature=-1), status_code=400)

    @case("embedded 401", "embedded", note=label)
    def _(model, ask=ask):
        raises(openai.AuthenticationError, lambda: ask(model, "hi", local.with_options(api_key="wrong")), status_code=401)

    @case("embedded 404", "embedded", note=label)
    def _(_, ask=ask):
        raises(openai.NotFoundError, lambda: ask("local/nobody-knows", "hi", local), status_code=404)

    @case("embedded 413", "embedded", note=label)
    def _(model, ask=ask):
        raises(openai.APIStatusError, lambda: ask(model, LARGE, local), status_code=413)

    @case("broken stream", *UPSTREAMS, note=f"{label}, an error in it")
    def _(model, ask=ask):
        error = raises(openai.APIError, lambda: list(ask(model, "fail later", stream=True)))
        assert "failed later" in str(error), error

    @case("broken stream", *UPSTREAMS, note=f"{label}, cut off")
    def _(model, ask=ask):
        raises(openai.APIError, lambda: list(ask(model, "break off", stream=True)))
        raises(openai.InternalServerError, lambda: ask(model, "break off"), status_code=502)


for number, status in PASSED_THROUGH.items():

    @case(f"passthrough {number}", "bare")
    def _(_, text=f"fail {number}", status=status):
        raises(CLASSES[status], lambda: chat("scripted", text, passing), status_code=status)


run("openai")

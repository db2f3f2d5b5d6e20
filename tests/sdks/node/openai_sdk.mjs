// The official Node SDK of OpenAI against a live router: chat completions, responses, embeddings, models.

import assert from "node:assert/strict";
import { CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, PICTURE, PNG, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER } from "./cases.mjs";
import { city, collect, raises, run, same, sdk, test } from "./cases.mjs";

const { default: OpenAI } = await sdk("openai");
const client = new OpenAI({ baseURL: `${SCRIPTED}/v1`, apiKey: KEY, maxRetries: 0, timeout: 60_000 });
const local = new OpenAI({ baseURL: `${EMBEDDED}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120_000 });
const passing = new OpenAI({ baseURL: `${SCRIPTED}/passthrough/bare/v1`, apiKey: KEY, maxRetries: 0, timeout: 60_000 });
const FUNCTION = { name: "get_weather", description: "The weather of a city", parameters: WEATHER, strict: true };
const SHORT = { max_tokens: 8, temperature: 0 };
const ANSWER = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
const SHAPE = { format: { type: "json_schema", name: "city", schema: CITY, strict: true } };
const SEEN = [{ type: "text", text: "describe this" }, { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } }];

const chat = (model, content, options = {}, by = client) => by.chat.completions.create({ model, messages: [{ role: "user", content }], ...options });
const respond = (model, input, options = {}, by = client) => by.responses.create({ model, input, ...options });

test("chat", UPSTREAMS, "chat", async (model) => {
  const messages = [{ role: "system", content: "Be loud." }, { role: "user", content: "say hello" }];
  const answer = await client.chat.completions.create({ model, messages });
  same([answer.choices[0].message.content, answer.choices[0].finish_reason], ["HELLO", "stop"]);
  same([answer.usage.prompt_tokens, answer.usage.completion_tokens], [11, 7]);
});

test("chat", UPSTREAMS, "responses", async (model) => {
  const answer = await respond(model, "say hello", { instructions: "Be loud.", store: false });
  same([answer.output_text, answer.status, answer.usage.output_tokens], ["HELLO", "completed", 7]);
});

test("chat", "embedded", "chat", async (model) => {
  const answer = await chat(model, SPOKEN, SHORT, local);
  assert(answer.choices[0].message.content && answer.usage.prompt_tokens > 0, "an empty answer");
});

test("chat", "embedded", "responses", async (model) => {
  const answer = await respond(model, SPOKEN, { max_output_tokens: 16, temperature: 0 }, local);
  assert(answer.output_text && answer.usage.output_tokens > 0, "an empty answer");
});

test("stream", UPSTREAMS, "chat", async (model) => {
  const chunks = await collect(chat(model, "say one two three four", { stream: true, stream_options: { include_usage: true } }));
  const texts = chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same(chunks.at(-1).usage.completion_tokens, 7);
});

test("stream", UPSTREAMS, "responses", async (model) => {
  const events = await collect(respond(model, "say one two three four", { stream: true }));
  const texts = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
});

test("stream", UPSTREAMS, "responses, by the helper", async (model) => {
  same((await client.responses.stream({ model, input: "say hello" }).finalResponse()).output_text, "hello");
});

test("stream", "embedded", "chat: what the whole answer says", async (model) => {
  const chunks = await collect(chat(model, SPOKEN, { ...SHORT, stream: true }, local));
  const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  same(said, (await chat(model, SPOKEN, SHORT, local)).choices[0].message.content);
});

test("tools", UPSTREAMS, "chat, a round trip", async (model) => {
  const messages = [{ role: "user", content: "weather Paris" }];
  const tools = [{ type: "function", function: FUNCTION }];
  const first = (await client.chat.completions.create({ model, messages, tools })).choices[0];
  const call = first.message.tool_calls[0];
  same([call.function.name, JSON.parse(call.function.arguments), first.finish_reason], ["get_weather", { city: "Paris" }, "tool_calls"]);
  messages.push(first.message, { role: "tool", tool_call_id: call.id, content: "21 degrees" });
  same((await client.chat.completions.create({ model, messages, tools })).choices[0].message.content, "It is 21 degrees.");
});

test("tools", UPSTREAMS, "chat, run by the helper", async (model) => {
  const tool = { type: "function", function: { ...FUNCTION, parse: JSON.parse, function: (asked) => `sunny in ${asked.city}` } };
  const runner = client.chat.completions.runTools({ model, stream: true, messages: [{ role: "user", content: "weather Rome" }], tools: [tool] });
  same(await runner.finalContent(), "It is sunny in Rome.");
});

test("tools", UPSTREAMS, "responses, a round trip", async (model) => {
  const tools = [{ type: "function", ...FUNCTION }];
  const input = [{ role: "user", content: "weather Paris" }];
  const first = await respond(model, input, { tools });
  const call = first.output.find((item) => item.type === "function_call");
  same([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "21 degrees" });
  same((await respond(model, input, { tools })).output_text, "It is 21 degrees.");
});

test("tools", "embedded", "a model that calls none says so", (model) =>
  raises("BadRequestError", () => chat(model, "weather Paris", { tools: [{ type: "function", function: FUNCTION }] }, local), { status: 400 }));

test("structured output", UPSTREAMS, "chat", async (model) => {
  const answer = await client.chat.completions.parse({ model, messages: [{ role: "user", content: "city" }], response_format: ANSWER });
  same(JSON.parse(answer.choices[0].message.content), { city: "Paris", degrees: 21 });
});

test("structured output", UPSTREAMS, "responses", async (model) => {
  same(JSON.parse((await client.responses.parse({ model, input: "city", text: SHAPE })).output_text), { city: "Paris", degrees: 21 });
});

test("structured output", "embedded", "chat", async (model) =>
  city((await chat(model, SPOKEN, { temperature: 0, max_tokens: 80, response_format: ANSWER }, local)).choices[0].message.content));

test("images in", UPSTREAMS, "chat", async (model) => same((await chat(model, SEEN)).choices[0].message.content, PICTURE));

test("images in", UPSTREAMS, "responses", async (model) => {
  const image = { type: "input_image", image_url: `data:image/png;base64,${PNG}`, detail: "auto" };
  const content = [{ type: "input_text", text: "describe this" }, image];
  same((await respond(model, [{ role: "user", content }])).output_text, PICTURE);
});

test("images in", "embedded", "a model that sees none says so", (model) => raises("BadRequestError", () => chat(model, SEEN, {}, local), { status: 400 }));

test("embeddings", ["chat", "google"], "", async (model) => {
  // The SDK asks for base64 where nobody says otherwise.
  const made = await client.embeddings.create({ model, input: ["one two", "three"] });
  same(made.data.map((one) => [...one.embedding]), [[7, 2, 0, 0], [5, 1, 0, 0]]);
  const long = await client.embeddings.create({ model, input: "one", encoding_format: "float", dimensions: 6 });
  same(long.data[0].embedding, [3, 1, 0, 0, 0, 0]);
});

test("embeddings", "messages", "of an API that has none", (model) => raises("BadRequestError", () => client.embeddings.create({ model, input: "one" }), { status: 400 }));
test("embeddings", "embedded", "a model that makes none says so", (model) => raises("BadRequestError", () => local.embeddings.create({ model, input: "one" }), { status: 400 }));

test("models", "router", "", async (model) => {
  const names = (await collect(client.models.list())).map((one) => one.id);
  for (const upstream of UPSTREAMS) assert(names.includes(`${upstream}/scripted`), names.join());
  same((await client.models.retrieve(model)).id, model);
});

test("models", "embedded", "", async (model) => same((await collect(local.models.list())).map((one) => one.id), [model]));

const CLASSES = { 400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 413: "APIError", 429: "RateLimitError" };
const class_of = (status) => CLASSES[status] ?? "InternalServerError";
for (const [ask, label] of [[chat, "chat"], [respond, "responses"]]) {
  for (const [number, status] of Object.entries(PASSED_ON)) {
    test(`upstream ${number}`, UPSTREAMS, label, async (model) => {
      await raises(class_of(status), () => ask(model, `fail ${number}`), { status });
      await raises(class_of(status), () => ask(model, `fail ${number}`, { stream: true }), { status });
    });
  }
  test("router 400", UPSTREAMS, label, (model) => raises("BadRequestError", () => ask(model, "hi", { temperature: "hot" }), { status: 400 }));
  test("router 401", "router", label, (model) => raises("AuthenticationError", () => ask(model, "hi", {}, client.withOptions({ apiKey: "wrong" })), { status: 401 }));
  test("router 404", "router", label, () => raises("NotFoundError", () => ask("nobody-knows", "hi"), { status: 404, code: "model_not_found" }));
  test("router 413", "router", label, (model) => raises("APIError", () => ask(model, LARGE), { status: 413 }));
  test("router 503", "router", label, () => raises("InternalServerError", () => ask("gone/scripted", "hi"), { status: 503 }));
  test("embedded 400", "embedded", label, (model) => raises("BadRequestError", () => ask(model, "hi", { temperature: -1 }, local), { status: 400 }));
  test("embedded 401", "embedded", label, (model) => raises("AuthenticationError", () => ask(model, "hi", {}, local.withOptions({ apiKey: "wrong" })), { status: 401 }));
  test("embedded 404", "embedded", label, () => raises("NotFoundError", () => ask("local/nobody-knows", "hi", {}, local), { status: 404 }));
  test("embedded 413", "embedded", label, (model) => raises("APIError", () => ask(model, LARGE, {}, local), { status: 413 }));

  test("broken stream", UPSTREAMS, `${label}, an error in it`, async (model) => {
    const error = await raises("APIError", () => collect(ask(model, "fail later", { stream: true })));
    assert(error.message.includes("failed later"), error.message);
  });

  test("broken stream", UPSTREAMS, `${label}, cut off`, async (model) => {
    await raises("APIError", () => collect(ask(model, "break off", { stream: true })));
    await raises("InternalServerError", () => ask(model, "break off"), { status: 502 });
  });
}
for (const [number, status] of Object.entries(PASSED_THROUGH)) {
  test(`passthrough ${number}`, "bare", "", () => raises(class_of(status), () => chat("scripted", `fail ${number}`, {}, passing), { status }));
}

await run("openai");

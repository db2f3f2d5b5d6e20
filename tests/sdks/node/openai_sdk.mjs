// The official Node SDK of OpenAI against a live router: both dialects of it, chat completions and responses.

import assert from "node:assert/strict";
import { CITY, EMBEDDED, KEY, LARGE, PICTURE, PNG, SCRIPTED, WEATHER, collect, each, raises, run, same, sdk, test } from "./cases.mjs";

const { default: OpenAI } = await sdk("openai");
const client = new OpenAI({ baseURL: `${SCRIPTED}/v1`, apiKey: KEY, maxRetries: 0, timeout: 60_000 });
const local = new OpenAI({ baseURL: `${EMBEDDED}/v1`, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const FUNCTION = { name: "get_weather", description: "The weather of a city", parameters: WEATHER, strict: true };
// A dialect is asked where the upstream speaks another one.
const CHAT = ["messages"];
const RESPONSES = ["chat", "messages"];

const chat = (model, content, options = {}, by = client) => by.chat.completions.create({ model, messages: [{ role: "user", content }], ...options });
const respond = (model, input, options = {}, by = client) => by.responses.create({ model, input, ...options });

each(CHAT, "chat: whole", async (model) => {
  const messages = [{ role: "system", content: "Be loud." }, { role: "user", content: "say hello" }];
  const answer = await client.chat.completions.create({ model, messages });
  same([answer.choices[0].message.content, answer.choices[0].finish_reason], ["HELLO", "stop"]);
  same([answer.usage.prompt_tokens, answer.usage.completion_tokens], [11, 7]);
});

each(CHAT, "chat: stream", async (model) => {
  const chunks = await collect(chat(model, "say one two three four", { stream: true, stream_options: { include_usage: true } }));
  const texts = chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same(chunks.at(-1).usage.completion_tokens, 7);
});

each(CHAT, "chat: tools, a round trip", async (model) => {
  const messages = [{ role: "user", content: "weather Paris" }];
  const tools = [{ type: "function", function: FUNCTION }];
  const first = (await client.chat.completions.create({ model, messages, tools })).choices[0];
  const call = first.message.tool_calls[0];
  same([call.function.name, JSON.parse(call.function.arguments), first.finish_reason], ["get_weather", { city: "Paris" }, "tool_calls"]);
  messages.push(first.message, { role: "tool", tool_call_id: call.id, content: "21 degrees" });
  same((await client.chat.completions.create({ model, messages, tools })).choices[0].message.content, "It is 21 degrees.");
});

each(CHAT, "chat: tools run by the helper", async (model) => {
  const run = (city) => `sunny in ${city.city}`;
  const tool = { type: "function", function: { ...FUNCTION, parse: JSON.parse, function: run } };
  const runner = client.chat.completions.runTools({ model, stream: true, messages: [{ role: "user", content: "weather Rome" }], tools: [tool] });
  same(await runner.finalContent(), "It is sunny in Rome.");
});

each(CHAT, "chat: JSON schema", async (model) => {
  const response_format = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
  const answer = await client.chat.completions.parse({ model, messages: [{ role: "user", content: "city" }], response_format });
  same(JSON.parse(answer.choices[0].message.content), { city: "Paris", degrees: 21 });
});

each(CHAT, "chat: an image", async (model) => {
  const content = [{ type: "text", text: "describe this" }, { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } }];
  same((await chat(model, content)).choices[0].message.content, PICTURE);
});

each(RESPONSES, "responses: whole", async (model) => {
  const answer = await respond(model, "say hello", { instructions: "Be loud.", store: false });
  same([answer.output_text, answer.status, answer.usage.output_tokens], ["HELLO", "completed", 7]);
});

each(RESPONSES, "responses: stream", async (model) => {
  const events = await collect(respond(model, "say one two three four", { stream: true }));
  const texts = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
});

each(RESPONSES, "responses: stream by the helper", async (model) => {
  same((await client.responses.stream({ model, input: "say hello" }).finalResponse()).output_text, "hello");
});

each(RESPONSES, "responses: tools, a round trip", async (model) => {
  const tools = [{ type: "function", ...FUNCTION }];
  const input = [{ role: "user", content: "weather Paris" }];
  const first = await respond(model, input, { tools });
  const call = first.output.find((item) => item.type === "function_call");
  same([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "21 degrees" });
  same((await respond(model, input, { tools })).output_text, "It is 21 degrees.");
});

each(RESPONSES, "responses: JSON schema", async (model) => {
  const text = { format: { type: "json_schema", name: "city", schema: CITY, strict: true } };
  const answer = await client.responses.parse({ model, input: "city", text });
  same(JSON.parse(answer.output_text), { city: "Paris", degrees: 21 });
});

each(RESPONSES, "responses: an image", async (model) => {
  const image = { type: "input_image", image_url: `data:image/png;base64,${PNG}`, detail: "auto" };
  const content = [{ type: "input_text", text: "describe this" }, image];
  same((await respond(model, [{ role: "user", content }])).output_text, PICTURE);
});

test("models: list and one", async () => {
  const names = (await collect(client.models.list())).map((model) => model.id);
  assert(names.includes("chat/scripted") && names.includes("messages/scripted"), names.join());
  same((await client.models.retrieve("chat/scripted")).id, "chat/scripted");
});

test("embedded model: chat, whole and streamed", async () => {
  const model = (await local.models.list()).data[0].id;
  const options = { max_tokens: 8, temperature: 0 };
  const answer = await chat(model, "Say hello.", options, local);
  assert(answer.choices[0].message.content, "an empty answer");
  const chunks = await collect(chat(model, "Say hello.", { ...options, stream: true }, local));
  same(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), answer.choices[0].message.content);
});

// Why the upstream's 401 and 500 are 502 for the caller: see `../python/openai_sdk.py`.
const FAILURES = [
  ["fail 400", "BadRequestError", 400],
  ["fail 401", "InternalServerError", 502],
  ["fail 404", "NotFoundError", 404],
  ["fail 413", "APIError", 413],
  ["fail 429", "RateLimitError", 429],
  ["fail 500", "InternalServerError", 502],
  ["fail 503", "InternalServerError", 503],
];
for (const [doors, ask, label] of [[CHAT, chat, "chat"], [RESPONSES, respond, "responses"]]) {
  for (const [text, kind, status] of FAILURES) {
    each(doors, `${label}: ${text} of the upstream`, async (model) => {
      await raises(kind, () => ask(model, text), { status });
      await raises(kind, () => ask(model, text, { stream: true }), { status });
    });
  }
  each(doors, `${label}: 400 of the router`, (model) => raises("BadRequestError", () => ask(model, "hi", { temperature: "hot" }), { status: 400 }));
  each(doors, `${label}: 401 of the router`, (model) => raises("AuthenticationError", () => ask(model, "hi", {}, client.withOptions({ apiKey: "wrong" })), { status: 401 }));
  test(`${label}: 404 of the router`, () => raises("NotFoundError", () => ask("nobody-knows", "hi"), { status: 404, code: "model_not_found" }));
  each(doors, `${label}: 413 of the router`, (model) => raises("APIError", () => ask(model, LARGE), { status: 413 }));
}

each(CHAT, "chat: an error in the stream", async (model) => {
  const error = await raises("APIError", () => collect(chat(model, "fail later", { stream: true })));
  assert(error.message.includes("failed later"), error.message);
});

each(CHAT, "chat: a cut stream is no normal end", async (model) => {
  await raises("APIError", () => collect(chat(model, "break off", { stream: true })));
  await raises("InternalServerError", () => chat(model, "break off"), { status: 502 });
});

each(RESPONSES, "responses: an error in the stream", async (model) => {
  const error = await raises("APIError", () => collect(respond(model, "fail later", { stream: true })));
  assert(error.message.includes("failed later"), error.message);
});

each(RESPONSES, "responses: a cut stream is no normal end", async (model) => {
  await raises("APIError", () => collect(respond(model, "break off", { stream: true })));
  await raises("InternalServerError", () => respond(model, "break off"), { status: 502 });
});

await run("openai");

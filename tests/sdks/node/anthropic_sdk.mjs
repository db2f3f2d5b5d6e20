// The official Node SDK of Anthropic against a live router: messages, token counts, models. Its API has no embeddings.

import assert from "node:assert/strict";
import { CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, PICTURE, PNG, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER } from "./cases.mjs";
import { city, collect, raises, run, same, sdk, test } from "./cases.mjs";

const { default: Anthropic } = await sdk("@anthropic-ai/sdk");
const of = (baseURL, apiKey = KEY) => new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const client = of(SCRIPTED);
const local = of(EMBEDDED);
const passing = of(`${SCRIPTED}/passthrough/bare`);
const TOOL = { name: "get_weather", description: "The weather of a city", input_schema: WEATHER };
const FORMAT = { format: { type: "json_schema", schema: CITY } };
const SEEN = [{ type: "image", source: { type: "base64", media_type: "image/png", data: PNG } }, { type: "text", text: "describe this" }];

const asked = (model, content, options) => ({ model, max_tokens: 100, messages: [{ role: "user", content }], ...options });
const ask = (model, content, options = {}, by = client) => by.messages.create(asked(model, content, options));
const stream = (model, content, options = {}, by = client) => by.messages.stream(asked(model, content, options)).finalMessage();

test("chat", UPSTREAMS, "", async (model) => {
  const answer = await ask(model, "say hello", { system: "Be loud." });
  same([answer.content[0].text, answer.stop_reason, answer.usage.output_tokens], ["HELLO", "end_turn", 7]);
});

test("chat", "embedded", "", async (model) => {
  const answer = await ask(model, SPOKEN, { max_tokens: 8 }, local);
  assert(answer.content[0].text && answer.usage.input_tokens > 0, "an empty answer");
});

test("stream", UPSTREAMS, "events", async (model) => {
  const events = await collect(ask(model, "say one two three four", { stream: true }));
  const texts = events.filter((event) => event.type === "content_block_delta").map((event) => event.delta.text);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same([events[0].type, events.at(-1).type], ["message_start", "message_stop"]);
});

test("stream", UPSTREAMS, "the helper", async (model) => {
  const message = await stream(model, "say hello");
  same([message.content[0].text, message.stop_reason, message.usage.output_tokens], ["hello", "end_turn", 7]);
});

test("stream", "embedded", "what the whole answer says", async (model) => {
  const short = { max_tokens: 8, temperature: 0 };
  same((await stream(model, SPOKEN, short, local)).content, (await ask(model, SPOKEN, short, local)).content);
});

test("tools", UPSTREAMS, "a round trip", async (model) => {
  const messages = [{ role: "user", content: "weather Paris" }];
  const first = await client.messages.create({ model, max_tokens: 100, messages, tools: [TOOL] });
  const call = first.content.find((block) => block.type === "tool_use");
  same([call.name, call.input, first.stop_reason], ["get_weather", { city: "Paris" }, "tool_use"]);
  messages.push({ role: "assistant", content: first.content });
  messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "21 degrees" }] });
  const { text } = (await client.messages.create({ model, max_tokens: 100, messages, tools: [TOOL] })).content[0];
  assert(text.startsWith("It is ") && text.includes("21 degrees"), text);
});

test("tools", UPSTREAMS, "streamed", async (model) => {
  const message = await stream(model, "weather Oslo", { tools: [TOOL] });
  same([message.content.at(-1).name, message.content.at(-1).input], ["get_weather", { city: "Oslo" }]);
});

test("tools", "embedded", "a model that calls none says so", (model) => raises("BadRequestError", () => ask(model, "weather Paris", { tools: [TOOL] }, local), { status: 400 }));

test("structured output", UPSTREAMS, "", async (model) => {
  same(JSON.parse((await ask(model, "city", { output_config: FORMAT })).content[0].text), { city: "Paris", degrees: 21 });
});

test("structured output", "embedded", "", async (model) => city((await ask(model, SPOKEN, { output_config: FORMAT, temperature: 0 }, local)).content[0].text));

test("images in", UPSTREAMS, "", async (model) => same((await ask(model, SEEN)).content[0].text, PICTURE));
test("images in", "embedded", "a model that sees none says so", (model) => raises("BadRequestError", () => ask(model, SEEN, {}, local), { status: 400 }));

test("models", "router", "", async (model) => {
  const names = (await collect(client.models.list())).map((one) => one.id);
  for (const upstream of UPSTREAMS) assert(names.includes(`${upstream}/scripted`), names.join());
  same((await client.models.retrieve(model)).id, model);
});

test("models", "embedded", "", async (model) => same((await collect(local.models.list())).map((one) => one.id), [model]));

test("token count", UPSTREAMS, "", async (model) => {
  const count = await client.messages.countTokens({ model, messages: [{ role: "user", content: "one two three" }] });
  assert(count.input_tokens >= 3 && count.input_tokens < 100, `${count.input_tokens} tokens`);
});

test("token count", "embedded", "", async (model) => {
  const count = await local.messages.countTokens({ model, messages: [{ role: "user", content: "Say hello." }] });
  assert(count.input_tokens > 0, `${count.input_tokens} tokens`);
});


const CLASSES = {
  400: "BadRequestError",
  401: "AuthenticationError",
  404: "NotFoundError",
  413: "ContentTooLargeError",
  429: "RateLimitError",
  503: "ServiceUnavailableError",
  529: "OverloadedError",
};
const class_of = (status) => CLASSES[status] ?? "InternalServerError";
for (const [number, status] of Object.entries(PASSED_ON)) {
  test(`upstream ${number}`, UPSTREAMS, "", async (model) => {
    await raises(class_of(status), () => ask(model, `fail ${number}`), { status });
    await raises(class_of(status), () => stream(model, `fail ${number}`), { status });
  });
}
for (const [number, status] of Object.entries(PASSED_THROUGH)) {
  test(`passthrough ${number}`, "bare", "", () => raises(class_of(status), () => ask("scripted", `fail ${number}`, {}, passing), { status }));
}
test("router 400", UPSTREAMS, "", (model) => raises("BadRequestError", () => ask(model, "hi", { temperature: "hot" }), { status: 400 }));
test("router 401", "router", "", (model) => raises("AuthenticationError", () => ask(model, "hi", {}, of(SCRIPTED, "wrong")), { status: 401 }));
test("router 404", "router", "", () => raises("NotFoundError", () => ask("nobody-knows", "hi"), { status: 404 }));
test("router 413", "router", "", (model) => raises("ContentTooLargeError", () => ask(model, LARGE), { status: 413 }));
test("router 503", "router", "", () => raises("ServiceUnavailableError", () => ask("gone/scripted", "hi"), { status: 503 }));
test("embedded 400", "embedded", "", (model) => raises("BadRequestError", () => ask(model, "hi", { temperature: -1 }, local), { status: 400 }));
test("embedded 401", "embedded", "", (model) => raises("AuthenticationError", () => ask(model, "hi", {}, of(EMBEDDED, "wrong")), { status: 401 }));
test("embedded 404", "embedded", "", () => raises("NotFoundError", () => ask("local/nobody-knows", "hi", {}, local), { status: 404 }));
test("embedded 413", "embedded", "", (model) => raises("ContentTooLargeError", () => ask(model, LARGE, {}, local), { status: 413 }));

test("broken stream", UPSTREAMS, "an error in it", async (model) => {
  const error = await raises("APIError", () => stream(model, "fail later"));
  assert(error.message.includes("failed later"), error.message);
});

test("broken stream", UPSTREAMS, "cut off", async (model) => {
  await raises("APIError", () => stream(model, "break off"));
  await raises("InternalServerError", () => ask(model, "break off"), { status: 502 });
});

await run("anthropic");

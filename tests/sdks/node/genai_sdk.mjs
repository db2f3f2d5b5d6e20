// The official Node SDK of Google's Gemini API against a live router: generated content, embeddings, token counts, models.

import assert from "node:assert/strict";
import { CITY, EMBEDDED, KEY, LARGE, PASSED_ON, PASSED_THROUGH, PICTURE, PNG, SCRIPTED, SPOKEN, UPSTREAMS, WEATHER } from "./cases.mjs";
import { city, collect, raises, run, same, sdk, test } from "./cases.mjs";

const { GoogleGenAI } = await sdk("@google/genai");
const of = (baseUrl, apiKey = KEY) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl, timeout: 120_000 } });
const client = of(SCRIPTED);
const local = of(EMBEDDED);
const passing = of(`${SCRIPTED}/passthrough/bare`);
const TOOLS = [{ functionDeclarations: [{ name: "get_weather", description: "The weather of a city", parametersJsonSchema: WEATHER }] }];
const SHAPE = { responseMimeType: "application/json", responseJsonSchema: CITY };
const SEEN = [{ role: "user", parts: [{ inlineData: { mimeType: "image/png", data: PNG } }, { text: "describe this" }] }];

const ask = (model, contents, config = {}, by = client) => by.models.generateContent({ model, contents, config });
const stream = (model, contents, config = {}, by = client) => collect(by.models.generateContentStream({ model, contents, config }));

test("chat", UPSTREAMS, "", async (model) => {
  const answer = await ask(model, "say hello", { systemInstruction: "Be loud." });
  same([answer.text, answer.candidates[0].finishReason], ["HELLO", "STOP"]);
  same([answer.usageMetadata.promptTokenCount, answer.usageMetadata.candidatesTokenCount], [11, 7]);
});

test("chat", "embedded", "", async (model) => {
  const answer = await ask(model, SPOKEN, { maxOutputTokens: 8, temperature: 0 }, local);
  assert(answer.text && answer.usageMetadata.promptTokenCount > 0, "an empty answer");
});

test("stream", UPSTREAMS, "", async (model) => {
  const chunks = await stream(model, "say one two three four");
  const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
  same(texts.join(""), "one two three four");
  assert(texts.length > 1, "the answer came in one piece");
  same([chunks.at(-1).candidates[0].finishReason, chunks.at(-1).usageMetadata.candidatesTokenCount], ["STOP", 7]);
});

test("stream", "embedded", "what the whole answer says", async (model) => {
  const config = { maxOutputTokens: 8, temperature: 0 };
  const said = (await stream(model, SPOKEN, config, local)).map((chunk) => chunk.text ?? "").join("");
  same(said, (await ask(model, SPOKEN, config, local)).text);
});

test("tools", UPSTREAMS, "a round trip", async (model) => {
  const first = await ask(model, "weather Paris", { tools: TOOLS });
  const call = first.functionCalls[0];
  same([call.name, call.args], ["get_weather", { city: "Paris" }]);
  const result = { functionResponse: { id: call.id, name: call.name, response: { output: "21 degrees" } } };
  const contents = [{ role: "user", parts: [{ text: "weather Paris" }] }, first.candidates[0].content, { role: "user", parts: [result] }];
  const { text } = await ask(model, contents, { tools: TOOLS });
  assert(text.startsWith("It is ") && text.includes("21 degrees"), text);
});

test("tools", UPSTREAMS, "streamed", async (model) => {
  const calls = (await stream(model, "weather Oslo", { tools: TOOLS })).flatMap((chunk) => chunk.functionCalls ?? []);
  same(calls.map((call) => [call.name, call.args]), [["get_weather", { city: "Oslo" }]]);
});

test("tools", "embedded", "a model that calls none says so", (model) => raises("ApiError", () => ask(model, "weather Paris", { tools: TOOLS }, local), { status: 400 }));

test("structured output", UPSTREAMS, "", async (model) => same(JSON.parse((await ask(model, "city", SHAPE)).text), { city: "Paris", degrees: 21 }));
test("structured output", "embedded", "", async (model) => city((await ask(model, SPOKEN, { ...SHAPE, temperature: 0, maxOutputTokens: 80 }, local)).text));

test("images in", UPSTREAMS, "", async (model) => same((await ask(model, SEEN)).text, PICTURE));
test("images in", "embedded", "a model that sees none says so", (model) => raises("ApiError", () => ask(model, SEEN, {}, local), { status: 400 }));

test("embeddings", ["chat", "google"], "", async (model) => {
  const made = await client.models.embedContent({ model, contents: ["one two", "three"] });
  same(made.embeddings.map((one) => one.values), [[7, 2, 0, 0], [5, 1, 0, 0]]);
  const long = await client.models.embedContent({ model, contents: "one", config: { outputDimensionality: 6 } });
  same(long.embeddings[0].values, [3, 1, 0, 0, 0, 0]);
});

test("embeddings", "messages", "of an API that has none", (model) => raises("ApiError", () => client.models.embedContent({ model, contents: "one" }), { status: 400 }));
test("embeddings", "embedded", "a model that makes none says so", (model) => raises("ApiError", () => local.models.embedContent({ model, contents: "one" }), { status: 400 }));

test("models", "router", "", async (model) => {
  const names = (await collect(client.models.list())).map((one) => one.name);
  for (const upstream of UPSTREAMS) assert(names.includes(`models/${upstream}/scripted`), names.join());
  same((await client.models.get({ model })).name, `models/${model}`);
});

test("models", "embedded", "", async (model) => same((await collect(local.models.list())).map((one) => one.name), [`models/${model}`]));

test("token count", UPSTREAMS, "", async (model) => {
  const { totalTokens } = await client.models.countTokens({ model, contents: "one two three" });
  assert(totalTokens >= 3 && totalTokens < 100, `${totalTokens} tokens`);
});

test("token count", "embedded", "", async (model) => {
  const { totalTokens } = await local.models.countTokens({ model, contents: "Say hello." });
  assert(totalTokens > 0, `${totalTokens} tokens`);
});

// The SDK has one class for all.
const fails = (status, call) => raises("ApiError", call, { status });
for (const [number, status] of Object.entries(PASSED_ON)) {
  test(`upstream ${number}`, UPSTREAMS, "", async (model) => {
    await fails(status, () => ask(model, `fail ${number}`));
    await fails(status, () => stream(model, `fail ${number}`));
  });
}
for (const [number, status] of Object.entries(PASSED_THROUGH)) {
  test(`passthrough ${number}`, "bare", "", () => fails(status, () => ask("scripted", `fail ${number}`, {}, passing)));
}
test("router 400", UPSTREAMS, "", (model) => fails(400, () => ask(model, "hi", { candidateCount: 1000 })));
test("router 401", "router", "", (model) => fails(401, () => ask(model, "hi", {}, of(SCRIPTED, "wrong"))));
test("router 404", "router", "", () => fails(404, () => ask("nobody-knows", "hi")));
test("router 413", "router", "", (model) => fails(413, () => ask(model, LARGE)));
test("router 503", "router", "", () => fails(503, () => ask("gone/scripted", "hi")));
test("embedded 400", "embedded", "", (model) => fails(400, () => ask(model, "hi", { candidateCount: 1000 }, local)));
test("embedded 401", "embedded", "", (model) => fails(401, () => ask(model, "hi", {}, of(EMBEDDED, "wrong"))));
test("embedded 404", "embedded", "", () => fails(404, () => ask("local/nobody-knows", "hi", {}, local)));
test("embedded 413", "embedded", "", (model) => fails(413, () => ask(model, LARGE, {}, local)));

test("broken stream", UPSTREAMS, "an error in it", async (model) => {
  const error = await raises("ApiError", () => stream(model, "fail later"));
  assert(error.message.includes("failed later"), error.message);
});

test("broken stream", UPSTREAMS, "cut off", async (model) => {
  await raises("ApiError", () => stream(model, "break off"));
  await fails(502, () => ask(model, "break off"));
});

await run("google-genai");

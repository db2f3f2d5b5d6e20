// What the three programs in this folder share; `../python/cases.py` says what each thing is for.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

export const { SCRIPTED_URL: SCRIPTED, EMBEDDED_URL: EMBEDDED, ROUTER_KEY: KEY } = process.env;
export const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const PICTURE = `image/png of ${Buffer.from(PNG, "base64").length} bytes`;
export const LARGE = "x".repeat(33 << 20);
export const SPOKEN = "Is Paris or Rome the capital of France?";
export const WEATHER = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
export const CITY = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};
export const UPSTREAMS = ["chat", "responses", "messages", "google"];
export const PASSED_ON = { 400: 400, 401: 502, 404: 404, 413: 413, 429: 429, 500: 502, 503: 503 };
export const PASSED_THROUGH = { ...PASSED_ON, 500: 500 };

const cases = [];
let raised = [];

/** A package of the folder in NODE_MODULES, which lies outside the project: an `import` by name looks only beside the program. */
export async function sdk(name) {
  const require = createRequire(join(process.env.NODE_MODULES, "..", "here.js"));
  return import(pathToFileURL(require.resolve(name)).href);
}

/** Adds a case of this row, once for each thing behind the router. */
export function test(row, behind, note, run) {
  for (const one of [behind].flat()) cases.push([row, one, note, run]);
}

export const same = assert.deepEqual;

/** Calls, wants an error whose class has this name, with these fields, and returns the error. */
export async function raises(kind, call, fields = {}) {
  let got;
  try {
    got = await call();
  } catch (error) {
    assert.equal(error.constructor.name, kind, `raised ${error.constructor.name}: ${error.message}`);
    for (const [name, wanted] of Object.entries(fields)) assert.equal(error[name], wanted, `${name} of ${error.message}`);
    raised.push([kind, error.status].filter(Boolean).join(" "));
    return error;
  }
  assert.fail(`raised nothing, answered ${JSON.stringify(got)}`);
}

export async function collect(stream) {
  const all = [];
  for await (const item of await stream) all.push(item);
  return all;
}

/** An object of the structured output's schema. */
export function city(text) {
  const made = JSON.parse(text);
  assert(typeof made.city === "string" && Number.isInteger(made.degrees), text);
}

async function embeddedModel() {
  const answer = await fetch(`${EMBEDDED}/v1/models`, { headers: { authorization: `Bearer ${KEY}` } });
  return (await answer.json()).data[0].id;
}

export async function run(name) {
  let failed = 0;
  const embedded = await embeddedModel();
  for (const [row, behind, note, body] of cases) {
    raised = [];
    const start = performance.now();
    let verdict = "ok   ", story = "";
    try {
      await body(behind === "embedded" ? embedded : behind === "router" ? "chat/scripted" : `${behind}/scripted`);
    } catch (error) {
      [failed, verdict, story] = [failed + 1, "FAIL ", `\n${error.stack}`];
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(2);
    console.log(`${verdict} node ${name} | ${row} | ${behind} | ${note} | ${[...new Set(raised)].join(", ")} | ${seconds} s${story}`);
  }
  console.log(`${cases.length - failed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

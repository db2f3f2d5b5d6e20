// What the three programs in this folder share; `../python/cases.py` says what each thing is for.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

export const { SCRIPTED_URL: SCRIPTED, EMBEDDED_URL: EMBEDDED, ROUTER_KEY: KEY } = process.env;
export const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const PICTURE = `image/png of ${Buffer.from(PNG, "base64").length} bytes`;
export const LARGE = "x".repeat(33 << 20);
export const WEATHER = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
export const CITY = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};

const cases = [];

/** A package of the folder in NODE_MODULES, which lies outside the project: an `import` by name looks only beside the program. */
export async function sdk(name) {
  const require = createRequire(join(process.env.NODE_MODULES, "..", "here.js"));
  return import(pathToFileURL(require.resolve(name)).href);
}

export function test(name, run) {
  cases.push([name, run]);
}

/** One case for each upstream; `run` gets the name of the model there. */
export function each(upstreams, name, run) {
  for (const upstream of upstreams) test(`${name}, upstream ${upstream}`, () => run(`${upstream}/scripted`));
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
    return error;
  }
  assert.fail(`raised nothing, answered ${JSON.stringify(got)}`);
}

export async function collect(stream) {
  const all = [];
  for await (const item of await stream) all.push(item);
  return all;
}

export async function run(name) {
  let failed = 0;
  for (const [label, body] of cases) {
    try {
      await body();
      console.log(`ok    node ${name}: ${label}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  node ${name}: ${label}\n${error.stack}`);
    }
  }
  console.log(`${cases.length - failed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

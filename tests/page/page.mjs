// The page at `/` in a real browser: it loads under its own policy, lists models, streams an answer, shows failures, stops, and takes a client's key.
//
//     node page.mjs CHROMIUM FOLDER ROUTER_URL UPSTREAM_URL KEY
//
// The browser is spoken to over two pipes in its own protocol, so nothing has to be installed beside it. `scripts/test-page.sh` starts what is needed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";

const [chromium, folder, router, upstream, key] = process.argv.slice(2);
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"];
const browser = spawn(chromium, [...flags, `--user-data-dir=${folder}`], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [, , , to, from] = browser.stdio;

const waiting = new Map();
const complaints = [];
const asked = [];
let number = 0, rest = "", session;

from.setEncoding("utf8");
from.on("data", (piece) => {
  const messages = (rest + piece).split("\0");
  rest = messages.pop();
  for (const { id, method, params, result, error } of messages.map((text) => JSON.parse(text))) {
    if (id) {
      const { done, failed } = waiting.get(id);
      waiting.delete(id);
      error ? failed(new Error(error.message)) : done(result);
    } else if (method === "Runtime.exceptionThrown") complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    // A refused request is in the log as well; the page has to show it, which is looked at below.
    else if (method === "Log.entryAdded" && params.entry.level === "error" && params.entry.source !== "network") complaints.push(params.entry.text);
    else if (method === "Network.requestWillBeSent") asked.push(new URL(params.request.url).origin);
  }
});

function command(method, params = {}) {
  return new Promise((done, failed) => {
    waiting.set(++number, { done, failed });
    to.write(`${JSON.stringify({ id: number, method, params, sessionId: session })}\0`);
  });
}

/** What an expression is on the page; a promise is waited for. */
async function evaluate(expression) {
  const { result, exceptionDetails } = await command("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
  return result.value;
}

/** Once a condition holds on the page, which is asked anew whenever the page changes or has loaded. */
function until(condition) {
  return evaluate(`new Promise((done, failed) => {
    const late = setTimeout(() => failed(new Error("waited 60 s for: " + ${JSON.stringify(condition)} + "\\n" + document.body.innerText)), 60_000);
    const look = () => { if (${condition}) { clearTimeout(late); observer.disconnect(); done(); } };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    addEventListener("load", look);
    look();
  })`);
}

const last = (what) => `[...document.querySelectorAll("#talk article")].at(-1)?.querySelector("${what}")?.textContent`;
const send = (text) => evaluate(`{ document.getElementById("prompt").value = ${JSON.stringify(text)}; document.getElementById("send").click(); }`);
const enter = (value) => evaluate(`{ const field = document.getElementById("key"); field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event("change")); }`);
const ended = `document.getElementById("send").textContent === "Send"`;

try {
  const { targetId } = await command("Target.createTarget", { url: "about:blank" });
  session = (await command("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  for (const domain of ["Runtime", "Log", "Network", "Page"]) await command(`${domain}.enable`);
  await command("Page.addScriptToEvaluateOnNewDocument", {
    source: `window.violations = []; addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));`,
  });
  await command("Page.navigate", { url: `${router}/` });
  await until(`document.readyState === "complete" && document.title === "llm-router"`);
  console.log("ok    it loads");

  await send("say hello");
  await until(`${last("small")}?.includes("key") && ${ended}`);
  console.log("ok    without a key it says that the server wants one");

  await enter(key);
  await until(`document.querySelectorAll("#model option").length === 3`);
  await evaluate(`document.getElementById("model").value = "chat/scripted"`);
  console.log("ok    with a key it lists models");

  await evaluate(`{ window.states = new Set(); new MutationObserver(() => states.add(${last("span")})).observe(document.getElementById("talk"), { subtree: true, childList: true, characterData: true }); }`);
  await send("say one two three four");
  await until(`${last("span")} === "one two three four" && ${ended}`);
  assert.match(await evaluate(last("small")), /^chat \/ scripted · 11 \+ 7 tokens · first text after \d+ ms$/);
  assert((await evaluate("states.size")) > 2, "the answer came in one piece");
  console.log("ok    an answer streams, and is said to be whose");

  await send("fail 503");
  await until(`document.querySelector("#talk article:last-child.failed") && ${last("small")}.includes("scripted: 503") && ${ended}`);
  await send("fail later");
  await until(`${last("small")}.includes("failed later") && ${ended}`);
  await send("break off");
  await until(`document.querySelector("#talk article:last-child.failed") && ${last("small")} && ${ended}`);
  console.log("ok    failures are shown: before the answer, in it, and a broken connection");

  await send("wait");
  await until(`${last("span")} === "half a sen"`);
  await evaluate(`document.getElementById("send").click()`);
  await until(`${last("small")} === "stopped" && ${ended}`);
  assert.deepEqual(await (await fetch(`${upstream}/left`, { signal: AbortSignal.timeout(30_000) })).json(), { left: true });
  console.log("ok    an answer is stopped, at the upstream too");

  await send("say still here");
  await until(`${last("span")} === "still here" && ${ended}`);
  await evaluate(`document.getElementById("clear").click()`);
  assert.equal(await evaluate(`document.querySelectorAll("#talk article").length`), 0);
  await command("Page.reload");
  await until(`document.querySelectorAll("#model option").length === 3`);
  console.log("ok    a new talk begins; the key outlives a reload");

  assert.deepEqual(await evaluate("violations"), []);
  assert.deepEqual(complaints, []);
  assert.deepEqual([...new Set(asked)], [router]);
  console.log("ok    no complaint of the browser, nothing asked of anybody else");
} finally {
  browser.kill("SIGKILL");
  await new Promise((gone) => (browser.exitCode ?? browser.signalCode) === null ? browser.once("exit", gone) : gone());
}

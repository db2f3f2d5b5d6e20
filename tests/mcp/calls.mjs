// What a client sees of a call while it runs, over pipes and over HTTP: progress as text comes, and that a call it gives up ends at the upstream too.
//
//     node calls.mjs LLM_ROUTER CONFIG MCP_URL UPSTREAM_URL
//
// `scripts/test-mcp.sh` calls this with the client library that the inspector is made of. The upstream is `../sdks/upstream`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [program, config, url, upstream] = process.argv.slice(2);
const require = createRequire(join(process.env.NODE_MODULES, "..", "here.js"));
const { Client, StreamableHTTPClientTransport } = await import(pathToFileURL(require.resolve("@modelcontextprotocol/client")).href);
const { StdioClientTransport } = await import(pathToFileURL(require.resolve("@modelcontextprotocol/client/stdio")).href);

const ways = {
  pipes: () => new StdioClientTransport({ command: program, args: ["--config", config, "mcp"] }),
  HTTP: () => new StreamableHTTPClientTransport(new URL(url)),
};
const generate = (prompt) => ({ name: "generate", arguments: { prompt } });

for (const [way, transport] of Object.entries(ways)) {
  const connected = async () => {
    const client = new Client({ name: "calls", version: "1" });
    await client.connect(transport());
    return client;
  };
  let client = await connected();

  const told = [];
  const answer = await client.callTool(generate("say one two three four"), { onprogress: (progress) => told.push(progress) });
  assert.equal(answer.content[0].text, "one two three four");
  assert(told.length > 0, "no progress was told");
  const counts = told.map((one) => one.progress);
  assert.deepEqual(counts, [...counts].sort((a, b) => a - b), "progress went back");
  console.log(`ok    ${way}: progress, told ${told.length} times`);

  // The upstream says half a sentence and then nothing: the first word of it is the moment to give up. Over HTTP there is no session that a notice could
  // be about, so closing is what gives up.
  const giving_up = new AbortController();
  const onprogress = () => (way === "HTTP" ? client.close() : giving_up.abort());
  await assert.rejects(client.callTool(generate("wait"), { signal: giving_up.signal, onprogress, timeout: 60_000 }), "a call that was given up was answered");
  const left = await fetch(`${upstream}/left`, { signal: AbortSignal.timeout(30_000) });
  assert.deepEqual(await left.json(), { left: true }, "the upstream was left waiting");
  console.log(`ok    ${way}: a call given up ends at the upstream`);

  if (way === "HTTP") client = await connected();
  assert.equal((await client.callTool(generate("say on"))).content[0].text, "on");
  console.log(`ok    ${way}: the next call is answered`);
  await client.close();
}

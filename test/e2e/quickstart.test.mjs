// The quickstart pages of 2018 and 2019 (a simple conversation, inviting members, utilizing events), in two
// windows. The pages of this folder make the calls of the originals, in our own words: those have no licence.
// The originals are run by hand: QUICKSTARTS names the folder of a checkout. Of either, only the
// placeholders are filled in, and the constructor is told which node to use.
//
// And docs/quickstart.md: its commands as they are printed.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Browser } from "./browser.mjs";
import { SECRETS, World } from "./nexmo.mjs";
import { Parley } from "./node.mjs";

const HERE = new URL("./", import.meta.url).pathname;
const SDK = join(HERE, "node_modules/nexmo-client-4/dist/conversationClient.js");
const ORIGINALS = process.env.QUICKSTARTS;

let browser, node, world, pages;
before(async () => {
  [browser, node] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS)]);
  await node.start();
  world = await World.make(node.url);
  await world.users("jamie", "alice");
  pages = await serve();
});
after(async () => {
  await browser?.close();
  pages?.server.close();
  pages?.server.closeAllConnections();
  await node?.remove();
  assert.deepEqual(browser.faults, []);
});

// serve answers /<page>?<conversation> with the page, filled in, and its SDK.
async function serve() {
  const sdk = await readFile(SDK);
  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url, "http://127.0.0.1");
    if (pathname.endsWith(".js")) {
      response.setHeader("content-type", "text/javascript");
      return response.end(sdk);
    }
    if (pathname === "/favicon.ico") return response.writeHead(204).end();
    const file = ORIGINALS ? join(ORIGINALS, pathname, "index.html") : join(HERE, "quickstart", `${pathname}.html`);
    const options = `url: "${node.url.replace("http", "ws")}", ips_url: "${node.url}/v1/image", callstats: { enabled: false }, log_reporter: { enabled: false }, debug: false`;
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end((await readFile(file, "utf8"))
      .replace("SECOND USER JWT", world.token("alice")).replace("YOUR USER JWT", world.token("jamie"))
      .replace("YOUR CONVERSATION ID", search.slice(1)).replace(/debug: false/, options));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

// enter opens a page and logs in.
async function enter(page, name, conversation = "") {
  const window = await browser.page(`${pages.url}/${page}?${conversation}`);
  window.told = [];
  window.on("console", (line) => window.told.push(line.text()));
  await window.locator("[name=username]").fill(name);
  await window.locator("[type=submit]").click();
  return window;
}

async function say(window, text) {
  await window.locator("#messageTextarea").fill(text);
  await window.locator("#send").click();
}

const feed = (window, text) => window.locator("#messageFeed", { hasText: text }).waitFor();

// told waits until the page has written a line.
async function told(window, text) {
  while (!window.told.some((line) => line.includes(text))) await window.waitForEvent("console", { timeout: 60_000 });
}

// conversation makes one that jamie has joined.
async function conversation(name) {
  const { id } = await world.call("POST", "/v1/conversations", { display_name: name });
  const jamie = await world.call("POST", `/v1/conversations/${id}/members`, { state: "joined", user: { name: "jamie" }, channel: { type: "app" } });
  return { id, jamie: jamie.id };
}

const invite = ({ id, jamie }) => world.call("POST", `/v1/conversations/${id}/members`,
  { state: "invited", user: { name: "alice" }, channel: { type: "app" }, member_id_inviting: jamie });

test("a simple conversation", async () => {
  const { id } = await conversation("Simple");
  const [one, two] = [await enter("simple-conversation", "jamie", id), await enter("simple-conversation", "jamie", id)];
  for (const window of [one, two]) await told(window, "Conversation Retrieved");
  await say(one, "hello");
  await feed(one, "hello");
  await feed(two, "hello");
  await say(two, "hello yourself");
  await feed(one, "hello yourself");
  await browser.shot(one, "quickstart-simple-conversation");
  for (const window of [one, two]) await window.close();
});

test("inviting members", async () => {
  const room = await conversation("Inviting");
  const [jamie, alice] = [await enter("inviting-members", "jamie"), await enter("inviting-members", "alice")];
  await jamie.locator("li", { hasText: "Inviting" }).click();
  await alice.locator("#conversations").waitFor();
  await invite(room);
  await alice.locator("li", { hasText: "Inviting" }).click();
  await feed(jamie, /alice.*joined the conversation/);
  await say(alice, "thank you");
  await feed(jamie, "thank you");
  await browser.shot(jamie, "quickstart-inviting-members");
  for (const window of [jamie, alice]) await window.close();
});

test("utilizing events", async () => {
  const room = await conversation("Events");
  await world.call("POST", `/v1/conversations/${room.id}/events`, { type: "text", from: room.jamie, body: { text: "from before" } });
  const [jamie, alice] = [await enter("utilizing-events", "jamie"), await enter("utilizing-events", "alice")];
  await jamie.locator("li", { hasText: "Events" }).click();
  await feed(jamie, "from before");
  await alice.locator("#conversations").waitFor();
  await invite(room);
  await alice.locator("li", { hasText: "Events" }).click();
  await feed(alice, "from before");
  await feed(jamie, /alice.*joined the conversation/);
  await alice.locator("#messageTextarea").focus();
  await told(jamie, "alice started typing...");
  await alice.locator("#messageTextarea").blur();
  await told(jamie, "alice stopped typing...");
  await say(jamie, "did you see this?");
  await feed(alice, "did you see this?");
  await told(jamie, "alice saw text: did you see this?");
  await alice.locator("#leave").click();
  await feed(jamie, /alice.*left the conversation/);
  await browser.shot(jamie, "quickstart-utilizing-events");
  for (const window of [jamie, alice]) await window.close();
});

test("docs/quickstart.md does what it says", async (t) => {
  const text = await readFile(join(HERE, "../../docs/quickstart.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((m) => m[1]);
  assert.match(blocks[0], /^make run$/m);
  const dir = await mkdtemp(join(tmpdir(), "parley-quickstart-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const binary = process.env.PARLEY ?? join(HERE, "../../bin/parley");
  await symlink(dirname(binary), join(dir, "bin"));
  const script = blocks.slice(1).join("\n").replaceAll("127.0.0.1:4280", `127.0.0.1:${node.port}`)
    .replace("YOUR_API_KEY", SECRETS.PARLEY_API_KEY).replace("YOUR_API_SECRET", SECRETS.PARLEY_API_SECRET);
  const npm = { npm_config_prefer_offline: "true", npm_config_audit: "false", npm_config_fund: "false", npm_config_ignore_scripts: "true" };
  const run = spawnSync("bash", ["-e", "-u", "-o", "pipefail", "-c", script], {
    cwd: dir, env: { ...process.env, ...npm, HOME: dir, PARLEY_URL: node.url }, encoding: "utf8", timeout: 300_000,
  });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  const other = await Browser.open(); // the SDK keeps one user for each
  t.after(() => other.close());
  const open = (browser, name) => browser.page(pathToFileURL(join(dir, `chat/${name}.html`)).href);
  const [jamie, alice] = await Promise.all([open(browser, "jamie"), open(other, "alice")]);
  for (const window of [jamie, alice]) await window.locator("button:enabled").waitFor();
  await jamie.locator("input").fill("hello alice");
  await jamie.locator("button").click();
  await alice.locator("li", { hasText: "jamie: hello alice" }).waitFor();
  await alice.locator("input").fill("hello jamie");
  await alice.locator("button").click();
  await jamie.locator("li", { hasText: "alice: hello jamie" }).waitFor();
  await other.shot(alice, "quickstart");
  assert.deepEqual(other.faults, []);
  for (const window of [jamie, alice]) await window.close();
});

// Runs the README's commands as they are printed, against a fresh build on the default ports.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { access, cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./node.mjs";

const ROOT = new URL("../../", import.meta.url).pathname;
const URL_OF_NODE = "http://127.0.0.1:4280";

// sections gives the ```sh blocks below each heading.
async function sections() {
  const blocks = {};
  let heading = "";
  for (const part of (await readFile(join(ROOT, "README.md"), "utf8")).matchAll(/^## (.+)$|^```sh\n([\s\S]*?)^```$/gm)) {
    if (part[1]) blocks[(heading = part[1])] = [];
    else blocks[heading].push(part[2]);
  }
  return blocks;
}

function portIsTaken(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.on("connect", () => resolve(socket.destroy() && true));
    socket.on("error", () => resolve(false));
  });
}

test("the README's commands do what it says", async (t) => {
  for (const port of [4280, 4281, 4282, 4283]) assert.equal(await portIsTaken(port), false, `port ${port} is in use: stop the other node`);
  const blocks = await sections();
  assert.match(blocks["Quick start"][0], /^make run$/m);
  assert.match(blocks["Working on Parley"][0], /^make test$/m);

  const home = await mkdtemp(join(tmpdir(), "parley-readme-"));
  const work = join(home, "parley");
  const listed = spawnSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: ROOT, encoding: "utf8" }).stdout.split("\n").filter(Boolean);
  for (const file of listed) {
    const there = await access(join(ROOT, file)).then(() => true, () => false); // deleted, but not yet committed
    if (there) await cp(join(ROOT, file), join(work, file), { recursive: true });
  }
  const env = { ...process.env, HOME: home, GOPATH: goenv("GOPATH"), GOCACHE: goenv("GOCACHE"), GOFLAGS: "-buildvcs=false" };
  for (const name of ["PARLEY", "PARLEY_URL", "PARLEY_API_KEY", "PARLEY_API_SECRET"]) delete env[name];

  const server = spawn("bash", ["-e", "-c", blocks["Quick start"][0]], { cwd: work, env, detached: true });
  const ended = once(server, "exit");
  t.after(async () => {
    process.kill(-server.pid, "SIGKILL"); // make and the node it runs: this test's own process group
    await ended;
    await rm(home, { recursive: true, force: true });
  });
  let printed = "";
  server.stdout.on("data", (data) => (printed += data));
  server.stderr.on("data", (data) => (printed += data));
  await until(() => /Ctrl-C/.test(printed) || server.exitCode !== null, 300_000, () => printed);
  assert.match(printed, /http:\/\/127\.0\.0\.1:4280\/demo/);
  const [, key, secret] = printed.match(/API key +(\S+)\s+API secret +(\S+)/);
  assert.equal((await fetch(`${URL_OF_NODE}/demo`)).status, 200);
  for (const path of ["/docs", "/openapi.json", "/readyz", "/healthz", "/metrics"]) assert.equal((await fetch(URL_OF_NODE + path)).status, 200, path);

  const script = blocks["Getting started with the API"].join("\necho; echo '###'\n").replace("YOUR_API_KEY", key).replace("YOUR_API_SECRET", secret);
  const run = spawnSync("bash", ["-e", "-u", "-o", "pipefail", "-c", script], { cwd: work, env, encoding: "utf8" });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  const [setup, application, , created, , joined, events, token] = run.stdout.split("###\n").map((s) => s.trim());
  assert.match(setup, /^Credentials written to .*\.parleyrc$/);
  assert.match(application, /^Application created: [0-9a-f-]{36}\nNo existing config found\. Writing to new file\.\nCredentials written to .*\.parley-app\nPrivate Key saved to: private\.key$/);
  assert.match(created, /"id":"CON-.*"sequence_number":0[\s\S]*"id":"USR-/);
  assert.match(joined, /"state":"JOINED"/);
  assert.match(events, /"type":"text"[\s\S]*Hello from Parley[\s\S]*"type":"member:joined"[\s\S]*Hello from Parley/);
  assert.match(events, /MEM-[0-9a-f-]{36} \| USR-[0-9a-f-]{36} \| bob \| JOINED$/);
  assert.match(token, /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
});

function goenv(name) {
  return spawnSync("go", ["env", name], { encoding: "utf8" }).stdout.trim();
}

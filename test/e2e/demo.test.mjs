// The main job: two people chat in a browser, the server is killed and comes back, nothing is lost.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, Pane } from "./browser.mjs";
import { Parley } from "./node.mjs";

const SECRETS = { PARLEY_API_KEY: "e2ekey", PARLEY_API_SECRET: "e2esecret" };

let browser;
before(async () => (browser = await Browser.open()));
after(async () => {
  await browser.close();
  assert.deepEqual(browser.faults, []);
});

async function withNode(command, env, story) {
  const node = await Parley.make(command, env);
  try {
    await story(node);
  } finally {
    await node.remove();
  }
}

test("two panes chat, with typing and ticks", () => withNode("dev", {}, async (node) => {
  await node.start();
  const page = await browser.page(`${node.url}/demo`);
  const [alice, bob] = [new Pane(page, "alice"), new Pane(page, "bob")];
  await Promise.all([alice.online(), bob.online()]);

  await alice.send("hello bob");
  await bob.message("hello bob").waitFor();
  await alice.tick("hello bob", "read");

  await bob.input.pressSequentially("hel");
  await alice.typing.filter({ hasText: "bob is typing" }).waitFor();
  await bob.send("hello alice");
  await alice.message("hello alice").waitFor();
  await alice.typing.filter({ hasText: /^$/ }).waitFor({ state: "attached" });
  await bob.tick("hello alice", "read");

  const markup = "<img src=x onerror=alert(1)> & <b>bold</b>";
  await alice.send(markup);
  await bob.root.locator("li.message .text", { hasText: markup }).waitFor();
  await browser.shot(page, "two-panes-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await browser.shot(page, "two-panes-dark");
  await page.close();
}));

test("a pane that was offline catches up, and only then ticks turn", () => withNode("dev", {}, async (node) => {
  await node.start();
  const page = await browser.page(`${node.url}/demo`);
  const [alice, bob] = [new Pane(page, "alice"), new Pane(page, "bob")];
  await Promise.all([alice.online(), bob.online()]);

  await bob.network.click();
  await bob.state.filter({ hasText: "offline" }).waitFor();
  for (const text of ["one", "two", "three"]) await alice.send(text);
  await alice.tick("three", "sent");
  assert.deepEqual(await bob.texts(), []);
  await bob.send("written offline");
  await bob.tick("written offline", "sending");
  await browser.shot(page, "bob-offline");

  await bob.network.click();
  await bob.notes.filter({ hasText: "caught up 3 messages" }).waitFor();
  await alice.message("written offline").waitFor();
  await alice.tick("three", "read");
  await bob.tick("written offline", "read");
  assert.deepEqual(await bob.texts(), ["one", "two", "three", "written offline"]);
  await browser.shot(page, "bob-caught-up");
  await page.close();
}));

test("two tabs of one browser survive kill -9", () => withNode("serve", SECRETS, async (node) => {
  await node.start();
  const first = await browser.page(`${node.url}/demo`);
  await browser.shot(first, "first-run");
  await first.getByLabel("API key").fill("e2ekey");
  await first.getByLabel("API secret").fill("wrong");
  await first.getByRole("button", { name: "Create the demo" }).click();
  await first.getByText("does not know this API key").waitFor();
  await first.getByLabel("API secret").fill("e2esecret");
  await first.getByRole("button", { name: "Create the demo" }).click();
  await new Pane(first, "alice").online();

  await first.goto(`${node.url}/demo?user=alice`);
  const second = await browser.page(`${node.url}/demo?user=bob`);
  const [alice, bob] = [new Pane(first, "alice"), new Pane(second, "bob")];
  await Promise.all([alice.online(), bob.online()]);
  assert.equal(await first.locator(".pane").count(), 1);
  for (let i = 1; i <= 5; i++) {
    await alice.send(`alice ${i}`);
    await bob.send(`bob ${i}`);
  }
  await Promise.all([alice.message("bob 5").waitFor(), bob.message("alice 5").waitFor(), alice.tick("alice 5", "read")]);

  for (let round = 1; round <= 3; round++) {
    await node.kill();
    await alice.state.filter({ hasText: "reconnecting" }).waitFor();
    await alice.send(`while it was dead ${round}`);
    await browser.shot(first, `killed-${round}`);
    await node.start();
    await Promise.all([alice.online(), bob.online()]);
    await bob.message(`while it was dead ${round}`).waitFor();
    await bob.send(`back ${round}`);
    await alice.message(`back ${round}`).waitFor();
    await alice.notes.filter({ hasText: "Back online" }).nth(round - 1).waitFor();
    await alice.tick(`while it was dead ${round}`, "read");
  }
  const seen = await bob.texts();
  assert.deepEqual(await alice.texts(), seen, "both tabs show the same, in the same order");
  assert.equal(new Set(seen).size, seen.length, "nothing twice");
  assert.equal(seen.length, 16);

  await second.reload();
  await bob.message("back 3").waitFor();
  assert.deepEqual(await bob.texts(), seen, "a new page shows the same again");
  await browser.shot(second, "after-three-kills");
  assert.equal(await node.stop(), 0);
  await Promise.all([first.close(), second.close()]);
}));

test("a pasted token opens one pane, a bad one is explained", () => withNode("dev", {}, async (node) => {
  const demo = JSON.parse(await node.start("--json"));
  const page = await browser.page(`${node.url}/demo`);
  await new Pane(page, "alice").online();
  assert.equal(await page.locator(".pane").count(), 2);
  // The same page on a server without a demo of its own.
  await page.route("**/demo/session", (route) => route.fulfill({ status: 204 }));
  await page.reload();
  await page.getByText("I have a token already").click();
  await page.getByLabel("User token").fill(demo.admin_token);
  await page.getByLabel("Conversation").fill(demo.conversation_id);
  await page.getByRole("button", { name: "Open" }).click();
  await page.getByText("administrator's token").waitFor();
  await page.getByLabel("User token").fill(demo.users[1].token);
  await page.getByRole("button", { name: "Open" }).click();
  const bob = new Pane(page, "bob");
  await bob.online();
  await bob.send("pasted");
  await bob.tick("pasted", "sent");
  await page.close();
}));

// nexmo-client 4.0.2, unmodified, in Chromium.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "./browser.mjs";
import { SECRETS, Pages, World } from "./nexmo.mjs";
import * as older from "./nexmo-older.mjs";
import { Parley } from "./node.mjs";

// The SDK of another generation is run by hand: NEXMO_MODULES names the folder, NEXMO_BUNDLE the file.
const BUNDLE = process.env.NEXMO_BUNDLE ?? older.BUNDLE;
const LOGS_IN_AGAIN = !process.env.NEXMO_BUNDLE || /st3/.test(process.env.NEXMO_BUNDLE); // by itself, after a reconnect

let browser, node, pages, world;
before(async () => {
  [browser, node, pages] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS), Pages.serve(BUNDLE)]);
  await node.start();
  world = await World.make(node.url);
  await world.users("alice", "bob");
});
after(async () => {
  await browser?.close();
  await pages?.close();
  await node?.remove();
  assert.deepEqual(browser.faults, []);
});

test("two users chat, with receipts, typing, deletion, kick and return", () => older.story(browser, pages, world));

test("an invitation is rejected and repeated, an image is sent, fetched and seen", () => older.pictures(browser, pages, world));

test("a session survives the server's restart, and its token can be renewed", async () => {
  const alice = await older.enter(browser, pages, world, "alice");
  const [cid] = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Later" });
    await conversation.join();
    listen(conversation, "conversation");
    return [conversation.id];
  });
  if (await alice.run(() => typeof app.updateToken === "function")) {
    await alice.run((token) => app.updateToken(token), world.token("alice"));
  }
  await node.kill();
  await node.start();
  // What the SDK asks for before it is logged in again may fail.
  const sent = await alice.run(async ({ cid, token }) => {
    const within = (promise) => Promise.race([promise, new Promise((_, no) => setTimeout(no, 2000, new Error("no answer")))]);
    for (let last, tries = 0; ; tries++) {
      try {
        const again = await within(app.getConversation(cid));
        return (await within(again.sendText("back"))).id;
      } catch (error) {
        if (tries === 30) throw new Error(`${last} ${error.type ?? error}`);
        last = error.type;
        if (token && error.type === "session:invalid") window.app = await client.login(token);
        await new Promise((yes) => setTimeout(yes, 200));
      }
    }
  }, { cid, token: LOGS_IN_AGAIN ? undefined : world.token("alice") });
  assert.equal(sent, 2);
  const { sequence_number: count } = await world.call("GET", `/beta/conversations/${cid}`);
  assert.ok(count >= 2, `only ${count} events`);
  await alice.page.close();
});

test("a bad token is refused by its code, and another try is possible", async () => {
  const alice = await older.enter(browser, pages, world, "alice");
  const refused = await alice.run(async (token) => {
    try {
      await client.login(token);
    } catch (error) {
      return error.type;
    }
  }, world.token("alice", -60));
  assert.equal(refused, "system:error:expired-token");
  assert.equal(await alice.run(async (token) => (await client.login(token)).me.name, world.token("alice")), "alice");
  await alice.page.close();
});

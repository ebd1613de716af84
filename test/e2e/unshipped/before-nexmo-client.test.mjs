// The SDKs before nexmo-client, unmodified, in Chromium. Their licence does not let us ship them:
// 'make e2e-older' installs them into a folder that is gone afterwards, and names it in UNSHIPPED_MODULES.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "../browser.mjs";
import { Front } from "../fleet.mjs";
import { Pages, SECRETS, World } from "../nexmo.mjs";
import * as older from "../nexmo-older.mjs";
import { Parley } from "../node.mjs";

// logsInAgain: the SDK does so by itself after a reconnect, also if its page was loaded without a token.
// cache: with its cache, nexmo-stitch takes the history that it has read for all there is, until it is
// told the next text. whole: the SDK reads histories whole, and keeps them.
const SDKS = [
  { name: "nexmo-conversation 0.1.21", bundle: "nexmo-conversation/dist/conversationClient.js", whole: true, outage: { logsInAgain: false } },
  { name: "nexmo-stitch 2.0.5", bundle: "nexmo-stitch-2/dist/conversationClient.js", outage: { logsInAgain: false, cache: false } },
  { name: "nexmo-stitch 3.0.1", bundle: "nexmo-stitch-3/dist/conversationClient.js", outage: { cache: false } },
];

let browser, node, front;
before(async () => {
  [browser, node] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS)]);
  await node.start();
  front = await Front.open(node);
});
after(async () => {
  await browser?.close();
  await front?.close();
  await node?.remove();
  assert.deepEqual(browser.faults, []);
});

for (const { name, bundle, whole, outage } of SDKS) {
  test(name, async (t) => {
    const [pages, world] = await Promise.all([Pages.several(3, bundle, process.env.UNSHIPPED_MODULES), World.make(node.url)]);
    t.after(() => Promise.all(pages.map((server) => server.close())));
    await world.users("alice", "bob");
    await t.test("two users chat, with receipts, typing, deletion, kick and return", () => older.story(browser, pages, world));
    await t.test("an invitation is rejected and repeated, an image is sent, fetched and seen; a range of it is read", async () => {
      const cid = await older.pictures(browser, pages, world);
      if (!whole) await older.range(browser, pages, world, cid);
    });
    await t.test("a lost connection is found again, and what was missed is read", () => older.outage(browser, pages, world, front, outage));
    await t.test("a session survives the server's restart, and its token can be renewed", () => older.restart(browser, pages, world, node, outage));
    await t.test("a bad token is refused by its code, and another try is possible", () => older.refusal(browser, pages, world));
  });
}

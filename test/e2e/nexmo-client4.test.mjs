// nexmo-client 4.0.2, unmodified, in Chromium.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "./browser.mjs";
import { Front } from "./fleet.mjs";
import { SECRETS, Pages, World } from "./nexmo.mjs";
import * as older from "./nexmo-older.mjs";
import { Parley } from "./node.mjs";

let browser, node, pages, world, front;
before(async () => {
  [browser, node, pages] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS), Pages.several(3, older.BUNDLE)]);
  await node.start();
  [world, front] = await Promise.all([World.make(node.url), Front.open(node)]);
  await world.users("alice", "bob");
});
after(async () => {
  await browser?.close();
  await Promise.all([...(pages ?? []), front].map((server) => server?.close()));
  await node?.remove();
  assert.deepEqual(browser.faults, []);
});

test("two users chat, with receipts, typing, deletion, kick and return", () => older.story(browser, pages, world));

test("an invitation is rejected and repeated, an image is sent, fetched and seen; a range of it is read", async () => {
  await older.range(browser, pages, world, await older.pictures(browser, pages, world));
});

test("a lost connection is found again, and what was missed is read", () => older.outage(browser, pages, world, front));

test("a session survives the server's restart, and its token can be renewed", () => older.restart(browser, pages, world, node));

test("a bad token is refused by its code, and another try is possible", () => older.refusal(browser, pages, world));

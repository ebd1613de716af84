// @vonage/client-sdk 2.3.1, its chat half, unmodified, in Chromium: on one node, and on three of which
// one is killed. Its licence does not let us ship it: 'make e2e-older' installs it into a folder that
// is gone afterwards, and names it in UNSHIPPED_MODULES.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "../browser.mjs";
import { Fleet, Front } from "../fleet.mjs";
import { Pages, SECRETS, World } from "../nexmo.mjs";
import { Parley } from "../node.mjs";
import * as sdk from "./client-sdk.mjs";

let browser, pages;
before(async () => {
  [browser, pages] = await Promise.all([Browser.open(), Pages.serve(sdk.BUNDLE, process.env.UNSHIPPED_MODULES)]);
});
after(async () => {
  await browser?.close();
  await pages?.close();
  assert.deepEqual(browser.faults, []);
});

test("one node", async (t) => {
  const node = await Parley.make("serve", SECRETS);
  t.after(() => node.remove());
  await node.start();
  const [world, front] = await Promise.all([World.make(node.url), Front.open(node)]);
  t.after(() => front.close());
  await world.users("alice", "bob");
  await t.test("two users chat, with receipts, pictures, deletion, kick and return", () => chat(world));
  await t.test("a lost connection is found again, and what was missed is told", () => outage(world, front));
  await t.test("a page that is loaded anew takes up its session, and its token can be renewed", () => reload(world));
});

async function chat(world) {
  const [alice, bob] = [await sdk.enter(browser, pages, world, "alice"), await sdk.enter(browser, pages, world, "bob")];
  const cid = await sdk.meet(alice, bob);
  await sdk.say(alice, "hello 👋 bob");
  const { id } = await bob.heard("message:text", "hello 👋 bob");
  await alice.heard("message:text", "hello 👋 bob");
  await bob.run((id) => client.sendMessageSeenEvent(id, cid), id);
  assert.equal((await alice.heard("message:seen")).of, id);
  await sdk.say(bob, "hello alice");
  await alice.heard("message:text", "hello alice");
  await bob.run(() => client.sendEphemeralEvent(cid, { typing: true }));
  await alice.heard("ephemeral");
  await bob.run(() => client.sendCustomEvent(cid, "wave", { hand: "left" }));
  await alice.heard("custom");
  await bob.run(() => client.sendMessageImageEvent(cid, "https://example.com/cat.jpg"));
  assert.equal((await alice.heard("message:image")).body.imageUrl, "https://example.com/cat.jpg");

  assert.deepEqual(await sdk.history(bob), ["hello 👋 bob", "hello alice"]);
  await alice.run((id) => client.deleteEvent(id, cid), id);
  assert.equal((await bob.heard("event:delete")).of, id);
  assert.deepEqual(await sdk.history(bob), ["hello alice"]);
  const deleted = await bob.run(async () => {
    const { events } = await client.getConversationEvents(cid, { order: "asc", pageSize: 100, includeDeletedEvents: true });
    return events.filter((e) => e.kind === "message:text").map((e) => [e.body.text, Boolean(e.body.deleted)]);
  });
  assert.deepEqual(deleted, [["", true], ["hello alice", false]]);

  // What the SDK sends itself, and what others send in another form, are places to it.
  await bob.run(() => client.sendMessageLocationEvent(cid, { longitude: "-0.1", latitude: "51.5", name: "Home", address: "1 Tea Street" }));
  await alice.heard("message:location");
  await world.call("POST", `/v1/conversations/${cid}/events`, { type: "message", body: { message_type: "location", location: { longitude: 2, latitude: 1 } } }, `Bearer ${world.token("bob")}`);
  await alice.again("message:location", 1);
  const places = await alice.run(async () => {
    const { events } = await client.getConversationEvents(cid, { order: "asc", pageSize: 100 });
    return events.filter((e) => e.kind === "message:location").length;
  });
  assert.equal(places, 2);

  await alice.run(() => client.updateConversation(cid, { displayName: "Supper" }));
  const seen = await bob.run(async () => {
    const [one, members, all, me] = await Promise.all([
      client.getConversation(cid), client.getConversationMembers(cid), client.getConversations({ pageSize: 10 }), client.getUser("me"),
    ]);
    return { name: one.displayName, members: members.members.map((m) => m.user.name).sort(), all: all.conversations.map((c) => c.id), me: me.name };
  });
  assert.deepEqual(seen, { name: "Supper", members: ["alice", "bob"], all: [cid], me: "bob" });
  const refused = await alice.run(() => client.inviteToConversation(cid, "nobody").catch((error) => error.code ?? error.message));
  assert.equal(refused, "user:error:not-found");

  await bob.run(() => client.leaveConversation(cid));
  await alice.heard("member:left");
  await alice.run(() => client.inviteToConversation(cid, "bob"));
  await bob.again("member:invited", 1);
  await bob.run(() => client.joinConversation(cid));
  await sdk.say(alice, "again");
  await bob.heard("message:text", "again");
  for (const person of [alice, bob]) {
    await person.run(() => client.deleteSession());
    await person.page.close();
  }
}

async function outage(world, front) {
  const alice = await sdk.enter(browser, pages, world, "alice", front.url);
  const bob = await sdk.enter(browser, pages, world, "bob");
  await sdk.meet(alice, bob);
  await sdk.say(bob, "before");
  await alice.heard("message:text", "before");
  front.cut();
  await alice.heard("reconnecting");
  await sdk.say(bob, "missed 1");
  await sdk.say(bob, "missed 2");
  front.mend();
  await alice.heard("reconnection");
  await alice.heard("message:text", "missed 2");
  await sdk.say(alice, "here again");
  await bob.heard("message:text", "here again");
  await alice.heard("message:text", "here again");
  assert.deepEqual(await sdk.texts(alice), ["before", "missed 1", "missed 2", "here again"]);
  for (const person of [alice, bob]) await person.page.close();
}

async function reload(world) {
  const [alice, bob] = [await sdk.enter(browser, pages, world, "alice"), await sdk.enter(browser, pages, world, "bob")];
  const cid = await sdk.meet(alice, bob);
  const session = await alice.run(() => window.session);
  await alice.reload();
  await sdk.login(alice, world.url, world.token("alice"), session);
  assert.equal(await alice.run(() => window.session), session);
  await alice.run((cid) => (window.cid = cid), cid);
  await alice.run((token) => client.refreshSession(token), world.token("alice"));
  await sdk.say(bob, "welcome back");
  await alice.heard("message:text", "welcome back");
  assert.deepEqual(await sdk.history(alice), ["welcome back"]);
  const refused = await alice.run((token) => client.createSession(token).catch((error) => error.code), world.token("alice", -60));
  assert.equal(refused, "session:error:expired-token");
  for (const person of [alice, bob]) await person.page.close();
}

test("three nodes: what is sent while a node is killed is there, once", async (t) => {
  const fleet = await Fleet.start(3, SECRETS);
  t.after(() => fleet.remove());
  const [a, b, c] = fleet.nodes;
  const [world, hers, his] = await Promise.all([World.make(c.url), Front.open(a, c, b), Front.open(b, c, a)]);
  t.after(() => Promise.all([hers.close(), his.close()]));
  await world.users("alice", "bob");
  const alice = await sdk.enter(browser, pages, world, "alice", hers.url);
  const bob = await sdk.enter(browser, pages, world, "bob", his.url);
  await sdk.meet(alice, bob);
  const [first, session] = ["one", await bob.run(() => window.session)];
  await sdk.say(alice, first);
  await bob.heard("message:text", first);

  await b.kill(); // bob's
  await sdk.say(alice, "two"); // while he is on his way, or after it
  await bob.heard("reconnection");
  await sdk.say(alice, "three");
  await bob.heard("message:text", "three");
  await sdk.say(bob, "four");
  await alice.heard("message:text", "four");
  assert.equal(await bob.run(() => window.session), session);
  const told = await sdk.texts(bob);
  assert.equal(new Set(told).size, told.length, `told twice: ${told}`);
  assert.deepEqual(told.filter((text) => text !== "two"), ["one", "three", "four"]);
  for (const person of [alice, bob]) assert.deepEqual(await sdk.history(person), ["one", "two", "three", "four"]);
  for (const person of [alice, bob]) await person.page.close();
});

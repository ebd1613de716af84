// nexmo-client 9.5.1, unmodified, in Chromium.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "./browser.mjs";
import { Pages, Person, SECRETS, World } from "./nexmo.mjs";
import { Parley } from "./node.mjs";

let browser, node, pages, world;
before(async () => {
  [browser, node, pages] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS), Pages.serve("nexmo-client/dist/nexmoClient.js")]);
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

async function enter(name, seconds = 3600) {
  const person = await Person.open(browser, pages);
  await person.run(async ({ url, token }) => {
    window.client = new NexmoClient({
      url: url.replace("http", "ws"), nexmo_api_url: url, ips_url: `${url}/v1/image`, rtcstats: { remote_collection: false },
      socket_io: { reconnectionDelay: 200, reconnectionDelayMax: 1000, reconnectionAttempts: 60 },
    });
    for (const type of ["disconnect", "reconnect"]) client.on(type, (why) => heard.push({ scope: "client", type, why }));
    window.app = await client.createSession(token);
    listen(app, "app");
  }, { url: world.url, token: world.token(name, seconds) });
  return person;
}

// follow makes a conversation the page's own.
async function follow(person, cid) {
  await person.run(async (cid) => {
    window.conversation = await app.getConversation(cid);
    listen(conversation, "conversation");
  }, cid);
}

// meet lets alice create a conversation and bob join it by invitation.
async function meet() {
  const [alice, bob] = [await enter("alice"), await enter("bob")];
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversationAndJoin({ display_name: "Tea" });
    listen(conversation, "conversation");
    return conversation.id;
  });
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.heard("member:invited");
  await follow(bob, cid);
  await bob.run(() => conversation.join());
  await alice.heard("member:joined");
  return { alice, bob, cid };
}

const TEXTS = async () => {
  const page = await conversation.getEvents({ page_size: 100 });
  return [...page.items.values()].filter((e) => e.type === "text").map((e) => e.body?.text);
};

test("two users chat, with receipts, messages, deletion, history, kick and return", async () => {
  const { alice, bob, cid } = await meet();
  await alice.run(() => conversation.sendText("hello 👋 bob"));
  const text = await bob.heard("text", "hello 👋 bob");
  assert.equal(text.user, "alice");
  await alice.heard("text", "hello 👋 bob");
  await alice.heard("text:delivered");
  await bob.run(() => conversation.startTyping());
  await alice.heard("text:typing:on");
  await bob.run(() => [...conversation.events.values()].find((e) => e.type === "text").seen());
  await alice.heard("text:seen");
  await bob.run(() => conversation.sendMessage({ message_type: "text", text: "a message" }));
  await alice.heard("message", "a message");
  await bob.run(() => conversation.sendCustomEvent({ type: "order", body: { text: "tea" } }));
  await alice.heard("order", "tea");
  await bob.run(() => conversation.sendEphemeralEvent({ text: "gone soon" }));
  await alice.heard("ephemeral", "gone soon");

  await alice.run(() => [...conversation.events.values()].find((e) => e.type === "text").del());
  await bob.heard("event:delete");
  await alice.run(() => conversation.sendText("second"));
  assert.deepEqual((await bob.run(TEXTS)).filter(Boolean), ["second"]);
  const members = await bob.run(async () => [...(await conversation.getMembers()).items.values()].map((m) => [m.user.name, m.state]));
  assert.deepEqual(members.map((m) => m.join()).sort(), ["alice,JOINED", "bob,JOINED"]);
  const listed = await bob.run(async () => [...(await app.getConversations()).items.keys()]);
  assert.ok(listed.includes(cid));

  await alice.run(async () => {
    const page = await conversation.getMembers();
    await [...page.items.values()].find((m) => m.user.name === "bob").kick({ reason_code: "400", reason_text: "bye" });
  });
  await bob.heard("member:left");
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.page.waitForFunction(() => heard.filter((e) => e.type === "member:invited" && e.scope === "app").length > 1);
  await follow(bob, cid);
  await bob.run(() => conversation.join());
  await alice.run(() => conversation.sendText("again"));
  await bob.heard("text", "again");
  await bob.run(() => conversation.leave());
  await alice.page.waitForFunction(() => heard.filter((e) => e.type === "member:left").length > 1);
  await bob.run(() => client.deleteSession());
  for (const person of [alice, bob]) await person.page.close();
});

test("what was missed while the server was away is told, once and in order", async () => {
  const { alice, bob, cid } = await meet();
  await alice.run(() => conversation.sendText("before"));
  await bob.heard("text", "before");
  await node.kill();
  await bob.heard("disconnect");
  await node.start();
  for (const text of ["missed 1", "missed 2"]) {
    const from = await alice.run(() => conversation.me.id);
    await world.call("POST", `/beta/conversations/${cid}/events`, { type: "text", from, body: { text } });
  }
  await bob.heard("reconnect");
  await bob.page.waitForFunction(() => app && client.connection.connected);
  await alice.page.waitForFunction(() => client.connection.connected);
  await alice.run(() => conversation.sendText("after"));
  await bob.heard("text", "after");
  const told = await bob.run(() => heard.filter((e) => e.type === "text" && e.scope === "conversation").map((e) => e.body.text));
  assert.deepEqual(told, ["before", "missed 1", "missed 2", "after"]);
  for (const person of [alice, bob]) await person.page.close();
});

test("a lost connection resumes its session and gets what it missed without asking", async () => {
  const { alice, bob } = await meet();
  const session = await bob.run(() => client.session_id);
  await bob.run(() => client.connection.io.engine.close());
  await bob.heard("disconnect");
  await alice.run(() => conversation.sendText("while bob was away"));
  await bob.heard("text", "while bob was away");
  assert.equal(await bob.run(() => client.session_id), session);
  for (const person of [alice, bob]) await person.page.close();
});

test("a token ends its session, a new one extends it", async () => {
  const [short, long] = [await enter("alice", 5), await enter("alice", 5)];
  await long.run((token) => app.updateToken(token), world.token("alice"));
  const end = await short.heard("disconnect");
  assert.equal(end.why, "TokenExpired");
  await long.run(() => app.newConversation());
  assert.equal(await long.run(() => heard.some((e) => e.type === "disconnect")), false);
  for (const person of [short, long]) await person.page.close();
});

test("bad tokens are refused by their codes", async () => {
  const page = await Person.open(browser, pages);
  for (const [token, code] of [["x.y.z", "system:error:invalid-token"], [world.token("alice", -60), "system:error:expired-token"], [world.token(), "system:error:permission"]]) {
    const refused = await page.run(async ({ url, token }) => {
      const client = new NexmoClient({ url: url.replace("http", "ws"), nexmo_api_url: url, rtcstats: { remote_collection: false } });
      try {
        await client.createSession(token);
      } catch (error) {
        return error.type;
      }
    }, { url: world.url, token });
    assert.equal(refused, code);
  }
  await page.page.close();
});

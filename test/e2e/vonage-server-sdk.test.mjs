// The server SDK, unmodified: every call of its conversation and user clients, and the tokens of
// the old command line.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Auth } from "@vonage/auth";
import { Conversations } from "@vonage/conversations";
import { Vonage } from "@vonage/server-sdk";
import { Users } from "@vonage/users";
import { Parley } from "./node.mjs";

let node, dev, credentials, vonage;
before(async () => {
  node = await Parley.make("dev");
  dev = JSON.parse(await node.start("--json"));
  credentials = new Auth({ applicationId: dev.application_id, privateKey: await readFile(dev.private_key_file, "utf8") });
  vonage = new Vonage(credentials, { apiHost: node.url });
});
after(() => node.remove());

const collect = async (all) => {
  const items = [];
  for await (const item of all) items.push(item);
  return items;
};

// refused gives what the SDK throws for an answer that is no success.
const refused = async (promise) => {
  const error = await promise.then(() => assert.fail("it was not refused"), (e) => e);
  return { status: error.response.status, ...(await error.response.json()) };
};

const unique = (name) => `${name} ${crypto.randomUUID().slice(0, 8)}`;

for (const [name, users] of [["server-sdk", () => vonage.users], ["@vonage/users", () => new Users(credentials, { apiHost: node.url })]]) {
  test(`users with ${name}`, async () => {
    const made = await users().createUser({
      name: unique("ann"), displayName: "Ann", imageUrl: "https://example.com/ann.png",
      properties: { customData: { favouriteTea: "green" } }, channels: { pstn: [{ number: 447700900000 }] },
    });
    assert.match(made.id, /^USR-/);
    const read = await users().getUser(made.id);
    assert.deepEqual([read.name, read.displayName, read.imageUrl], [made.name, "Ann", "https://example.com/ann.png"]);
    assert.deepEqual(read.properties.customData, { favouriteTea: "green" });
    assert.equal(read.channels.pstn[0].number, 447700900000);

    const changed = await users().updateUser({ ...read, displayName: "Anna" });
    assert.equal(changed.displayName, "Anna");
    assert.deepEqual(changed.properties.customData, { favouriteTea: "green" });

    for (let i = 0; i < 4; i++) await users().createUser({ name: unique(`bob ${i}`) });
    const page = await users().getUserPage({ pageSize: 2, order: "DESC" });
    assert.equal(page._embedded.users.length, 2);
    const everybody = await collect(users().listAllUsers({ pageSize: 2, order: "ASC" }));
    assert.ok(everybody.length >= 7 && new Set(everybody.map((u) => u.id)).size === everybody.length);
    assert.ok(everybody.some((u) => u.id === made.id));
    assert.equal((await users().getUserPage({ name: made.name }))._embedded.users[0].id, made.id);

    assert.equal((await refused(users().createUser({ name: made.name }))).code, "user:error:duplicate-name");
    await users().deleteUser(made.id);
    const gone = await refused(users().getUser(made.id));
    assert.deepEqual([gone.status, gone.code], [404, "user:error:not-found"]);
  });
}

for (const [name, client] of [["server-sdk", () => vonage.conversations], ["@vonage/conversations", () => new Conversations(credentials, { apiHost: node.url })]]) {
  test(`conversations with ${name}`, async () => {
    const made = await client().createConversation({
      name: unique("tea"), displayName: "Tea", imageUrl: "https://example.com/tea.png",
      properties: { ttl: 3600, type: "quick_chat", customSortKey: "a", customData: { camelCase: 1 } },
      numbers: [{ type: "phone", number: "447700900000" }],
      callback: { url: "https://example.com/hook", eventMask: "member:invited, member:joined", method: "POST", params: { applicationId: dev.application_id, nccoUrl: "https://example.com/ncco" } },
    });
    assert.deepEqual([made.state, made.sequenceNumber, made.properties.ttl, made.properties.customSortKey], ["ACTIVE", 0, 3600, "a"]);
    assert.deepEqual(made.properties.customData, { camelCase: 1 });
    assert.equal(made.callback, undefined);
    assert.match((await client().createConversation({})).name, /^NAM-/);

    const read = await client().getConversation(made.id);
    assert.deepEqual([read.id, read.displayName, read.numbers[0].number], [made.id, "Tea", "447700900000"]);
    const changed = await client().updateConversation({ ...read, displayName: "More tea" });
    assert.deepEqual([changed.displayName, changed.name, changed.properties.ttl], ["More tea", made.name, 3600]);

    const page = await client().getConversationPage({ pageSize: 1, order: "asc", includeCustomData: true });
    assert.deepEqual([page.conversations.length, page.pageSize], [1, 1]);
    const all = await collect(client().listAllConversations({ pageSize: 2 }));
    assert.ok(all.length >= 3 && new Set(all.map((c) => c.id)).size === all.length && all.some((c) => c.id === made.id));

    await client().deleteConversation(made.id);
    const gone = await refused(client().getConversation(made.id));
    assert.deepEqual([gone.status, gone.code], [404, "conversation:error:not-found"]);
  });

  test(`members and events with ${name}`, async () => {
    const [ann, bob] = await Promise.all(["ann", "bob"].map((n) => vonage.users.createUser({ name: unique(n), displayName: n })));
    const { id: conversation } = await client().createConversation({ displayName: "Tea" });
    const joined = await client().createMember(conversation, { state: "joined", user: { id: ann.id }, channel: { type: "app" } });
    assert.deepEqual([joined.state, joined.user.id, joined.initiator.joined.isSystem], ["JOINED", ann.id, true]);
    const invited = await client().createMember(conversation, { state: "invited", user: { name: bob.name }, channel: { type: "app" }, invitedBy: joined.id });
    assert.equal(invited.state, "INVITED");

    const [first] = (await client().getMemberPage(conversation, { pageSize: 1, order: "asc" })).members;
    assert.deepEqual([first.id, first.user.displayName], [joined.id, "ann"]);
    assert.deepEqual((await collect(client().listAllMembers(conversation, { pageSize: 1 }))).map((m) => m.id), [joined.id, invited.id]);
    assert.equal((await client().getMember(conversation, invited.id)).user.name, bob.name);
    assert.equal((await client().updateMember(conversation, invited.id, { state: "joined" })).state, "JOINED");
    assert.equal((await refused(client().getMe(conversation))).code, "conversation:error:member-not-found");

    const body = { messageType: "text", text: "hello" };
    const sent = await client().createEvent(conversation, { type: "message", from: joined.id, body });
    assert.deepEqual([sent.id, sent.body.text, sent.fromUser.id, sent.fromMember.id], [4, "hello", ann.id, joined.id]);
    for (const event of [
      { type: "text", body: { text: "old style" } }, { type: "custom:tea", body: { sugar: 1 } },
      { type: "message:seen", body: { eventId: sent.id } }, { type: "message", body: { messageType: "image", image: { url: "https://example.com/i.png" } } },
    ]) await client().createEvent(conversation, { from: joined.id, ...event });
    const relayed = await client().createEvent(conversation, { type: "ephemeral", from: joined.id, body: { now: true } });
    assert.equal(relayed.id, undefined);

    assert.equal(Object.keys((await client().getEvent(conversation, sent.id)).state.seenBy).length, 1);
    const recent = await client().getEventPage(conversation, { pageSize: 2, order: "desc" });
    assert.deepEqual(recent.events.map((e) => e.id), [8, 7]);
    assert.deepEqual((await client().getEventPage(conversation, { startId: "3", endId: "5", pageSize: 10 })).events.map((e) => e.id), [3, 4, 5]);
    assert.deepEqual((await collect(client().listAllEvents(conversation, { pageSize: 3, order: "asc" }))).map((e) => e.id), [1, 2, 3, 4, 5, 6, 7, 8]);

    await client().deleteEvent(conversation, sent.id);
    assert.equal((await client().getEvent(conversation, sent.id)).body.text, undefined);
    assert.deepEqual((await client().getEventPage(conversation, { excludeDeletedEvents: true, eventType: "message" })).events.map((e) => e.id), [8]);

    const [own] = (await client().getConversationPage({ byUser: ann.id, pageSize: 1 })).conversations;
    assert.deepEqual([own.id, own.sequenceNumber], [conversation, 9]);
    assert.deepEqual((await collect(client().listAllUserConversations(ann.id, { pageSize: 1 }))).map((c) => c.id), [conversation]);
    assert.deepEqual((await client().getUserSessionsPage(ann.id, { pageSize: 1 })).sessions, []);
    assert.deepEqual(await collect(client().listAllUserSessions(ann.id)), []);

    const left = await client().updateMember(conversation, invited.id, { state: "left", reason: { code: "busy", text: "Not now" } });
    assert.equal(left.state, "LEFT");
    const again = await refused(client().updateMember(conversation, invited.id, { state: "joined" }));
    assert.deepEqual([again.status, again.code, again.title], [400, "conversation:error:invalid-member-state", "Conflict."]);
  });
}

test("what is rejected is named", async () => {
  const wrong = await refused(vonage.conversations.createConversation({ imageUrl: "no uri", properties: { ttl: -1 } }));
  assert.equal(wrong.code, "http:error:validation-fail");
  assert.deepEqual(wrong.invalid_parameters.map((p) => p.reason), ['"image_url" must be a valid uri', '"ttl" must be greater than or equal to 0']);
});

test("the old command line's tokens are accepted", async () => {
  const cli = fileURLToPath(import.meta.resolve("nexmo-cli/lib/bin.js"));
  const generate = (...claims) => {
    const run = spawnSync(process.execPath, [cli, "jwt:generate", dev.private_key_file, ...claims], { encoding: "utf8", cwd: node.dir, env: { ...process.env, HOME: node.dir } });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
  };
  const status = async (token, path) => (await fetch(node.url + path, { headers: { authorization: `Bearer ${token}` } })).status;
  const application = `application_id=${dev.application_id}`;
  assert.equal(await status(generate(application), "/beta/conversations"), 200);
  const paths = Object.fromEntries(["sessions", "users", "conversations"].map((p) => [`/v1/${p}/**`, {}]));
  const user = dev.users[0];
  const exp = Math.floor(Date.now() / 1000) + 86_000;
  const token = generate(application, `sub=${user.name}`, `acl=${JSON.stringify({ paths })}`, `exp=${exp}`);
  assert.equal(await status(token, `/beta/users/${user.id}/conversations`), 200);
  assert.equal(await status(token, `/v0.3/users/me`), 200);
  assert.equal(await status(token, `/v0.3/legs`), 403);
});

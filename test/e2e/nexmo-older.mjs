// The story of an SDK that asks for everything over /rtc/: nexmo-client 4, and its predecessors,
// which are run by hand because their licence does not let us ship them.

import assert from "node:assert/strict";
import { Person } from "./nexmo.mjs";

export const BUNDLE = "nexmo-client-4/dist/conversationClient.js";

// members reads a container of members, which was an object before it was a map.
const MEMBERS = `window.members = (c) => c.members instanceof Map ? [...c.members.values()] : Object.values(c.members);
window.events = (c) => c.events instanceof Map ? [...c.events.values()] : Object.values(c.events);
window.conversationOf = (id) => app.conversations instanceof Map ? app.conversations.get(id) : app.conversations[id];`;

export async function enter(browser, pages, world, name, options = {}) {
  const person = await Person.open(browser, pages);
  await person.page.addScriptTag({ content: MEMBERS });
  await login(person, world, name, options);
  return person;
}

// login logs in at options.world in place of the world's own address, if it is given.
export async function login(person, world, name, { world: url = world.url, ...options } = {}) {
  await person.run(async ({ url, token, options }) => {
    window.Client = window.ConversationClient ?? window.NexmoClient;
    window.client = new Client({
      url: url.replace("http", "ws"), ips_url: `${url}/v1/image`, enable_log_reporter: false, log_reporter: { enabled: false },
      callstats: { enabled: false }, ...options,
    });
    for (const type of ["disconnect", "reconnect"]) client.on(type, () => heard.push({ scope: "client", type }));
    window.app = await client.login(token);
    listen(app, "app");
  }, { url, token: world.token(name), options });
}

// meet lets alice create a conversation and bob join it by invitation.
export async function meet(alice, bob) {
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Tea" });
    await conversation.join();
    listen(conversation, "conversation");
    return conversation.id;
  });
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.heard("member:invited");
  await accept(bob, cid);
  await alice.heard("member:joined");
  return cid;
}

// accept lets bob take up an invitation.
const accept = (bob, cid) => bob.run(async (cid) => {
  window.conversation = await app.getConversation(cid);
  listen(conversation, "conversation");
  await conversation.join();
}, cid);

export async function story(browser, pages, world, options = {}) {
  const [alice, bob] = [await enter(browser, pages, world, "alice", options), await enter(browser, pages, world, "bob", options)];
  const cid = await meet(alice, bob);

  await alice.run(() => conversation.sendText("hello 👋 bob"));
  await bob.heard("text", "hello 👋 bob");
  await alice.heard("text", "hello 👋 bob");
  await alice.heard("text:delivered");
  await bob.run(() => conversation.startTyping());
  await alice.heard("text:typing:on");
  await bob.run(() => conversation.stopTyping());
  await alice.heard("text:typing:off");
  await bob.run(() => events(conversation).find((e) => e.type === "text").seen());
  await alice.heard("text:seen");
  await bob.run(() => conversation.sendText("hello alice"));
  await alice.heard("text", "hello alice");

  await alice.run(async () => {
    const mine = events(conversation).find((e) => e.type === "text" && e.from === conversation.me.id);
    await mine.del();
  });
  await bob.heard("event:delete");
  const history = await bob.run(async (cid) => {
    const again = await app.getConversation(cid);
    await again.getEvents();
    return events(again).map((e) => [e.id, e.type, e.body?.text]);
  }, cid);
  assert.ok(history.some(([, type, text]) => type === "text" && text === "hello alice"), JSON.stringify(history));
  assert.ok(!history.some(([, , text]) => text === "hello 👋 bob"), "a deleted text is still shown");

  await alice.run(async () => {
    try {
      await conversation.invite({ user_name: "nobody" });
    } catch (error) {
      window.refused = error.type;
    }
  });
  assert.equal(await alice.run(() => refused), "user:error:not-found");

  // Bob is thrown out and comes back as a new member.
  const kicked = await alice.run(() => members(conversation).find((m) => m.user.name === "bob").kick());
  assert.notEqual(kicked, null);
  await bob.heard("member:left");
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.page.waitForFunction(() => heard.filter((e) => e.type === "member:invited").length > 1);
  await accept(bob, cid);
  await alice.run(() => conversation.sendText("again"));
  await bob.heard("text", "again");
  await bob.run(() => conversation.leave());
  await alice.page.waitForFunction(() => heard.filter((e) => e.type === "member:left").length > 1);

  // A new page sees what there was.
  await alice.page.reload();
  const fresh = await enter(browser, pages, world, "alice", options);
  const texts = await fresh.run(async (cid) => {
    const again = await app.getConversation(cid);
    await again.getEvents();
    return { texts: events(again).filter((e) => e.type === "text").map((e) => e.body.text ?? null), members: members(again).map((m) => [m.user.name, m.state]) };
  }, cid);
  assert.ok(texts.texts.includes("again") && texts.texts.includes("hello alice"), JSON.stringify(texts));
  assert.ok(texts.members.some(([name, state]) => name === "bob" && state === "LEFT"), JSON.stringify(texts));
  await fresh.run(() => client.logout());
  for (const person of [alice, bob, fresh]) await person.page.close();
}

// pictures is the story of an image, and of an invitation that is rejected first.
export async function pictures(browser, pages, world, options = {}) {
  const [alice, bob] = [await enter(browser, pages, world, "alice", options), await enter(browser, pages, world, "bob", options)];
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Pictures" });
    await conversation.join();
    listen(conversation, "conversation");
    return conversation.id;
  });
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  const first = await bob.heard("member:invited");
  await bob.run(async (cid) => (await app.getConversation(cid)).leave(), cid);
  await alice.heard("member:left");
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  const second = await bob.again("member:invited", 1);
  assert.notEqual(second.from, first.from);
  await accept(bob, cid);
  await alice.heard("member:joined");

  const upload = await alice.run(async () => loaded(await conversation.sendImage(await picture())));
  assert.equal(upload.status, 200);
  const [computable, read, total] = upload.progress.at(-1);
  assert.ok(computable && read === total, JSON.stringify(upload.progress));
  await bob.heard("image");
  await alice.heard("image:delivered");
  const size = await bob.run(async () => {
    const element = new Image();
    element.src = await events(conversation).find((e) => e.type === "image").fetchImage();
    await element.decode();
    return [element.naturalWidth, element.naturalHeight];
  });
  assert.deepEqual(size, [360, 270]);
  await bob.run(() => events(conversation).find((e) => e.type === "image").seen());
  await alice.heard("image:seen");

  const fresh = await enter(browser, pages, world, "bob", options);
  const range = await fresh.run(async (cid) => {
    const again = await app.getConversation(cid);
    await again.getEvents({ start_id: "2", end_id: "4" });
    return events(again).map((e) => [e.id, e.type]).sort(([a], [b]) => a - b);
  }, cid);
  assert.deepEqual(range, [[2, "member:invited"], [3, "member:left"], [4, "member:invited"]]);
  for (const person of [alice, bob, fresh]) await person.page.close();
}

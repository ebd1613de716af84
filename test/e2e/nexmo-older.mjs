// The story of an SDK that asks for everything over /rtc/: nexmo-client 4, and its predecessors,
// which are run by hand because their licence does not let us ship them.

import assert from "node:assert/strict";
import { Person } from "./nexmo.mjs";

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

export async function login(person, world, name, options = {}) {
  await person.run(async ({ url, token, options }) => {
    window.Client = window.ConversationClient ?? window.NexmoClient;
    window.client = new Client({
      url: url.replace("http", "ws"), ips_url: `${url}/v1/image`, enable_log_reporter: false, log_reporter: { enabled: false },
      callstats: { enabled: false }, ...options,
    });
    window.app = await client.login(token);
    listen(app, "app");
  }, { url: world.url, token: world.token(name), options });
}

export async function story(browser, pages, world, options = {}) {
  const [alice, bob] = [await enter(browser, pages, world, "alice", options), await enter(browser, pages, world, "bob", options)];
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Tea" });
    await conversation.join();
    listen(conversation, "conversation");
    return conversation.id;
  });

  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.heard("member:invited");
  await bob.run(async (cid) => {
    window.conversation = await app.getConversation(cid);
    listen(conversation, "conversation");
    await conversation.join();
  }, cid);
  await alice.heard("member:joined");

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
  await bob.run(async (cid) => {
    window.conversation = await app.getConversation(cid);
    listen(conversation, "conversation");
    await conversation.join();
  }, cid);
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

// The stories of the SDKs that ask for everything over /rtc/: nexmo-client 4, and its predecessors
// (unshipped/), which are not shipped because their licence does not allow it. Each user has pages of an
// origin of their own: these SDKs keep token and history in the browser's storage, and take there
// what another user's page has left.

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

// both lets alice and bob enter, each on pages of their own.
const both = async (browser, [hers, his], world, options) =>
  [await enter(browser, hers, world, "alice", options), await enter(browser, his, world, "bob", options)];

export async function story(browser, pages, world, options = {}) {
  const [alice, bob] = await both(browser, pages, world, options);
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
  const fresh = await enter(browser, pages[0], world, "alice", options);
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

// pictures is the story of an image, and of an invitation that is rejected first. It gives the conversation.
export async function pictures(browser, pages, world, options = {}) {
  const [alice, bob] = await both(browser, pages, world, options);
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Pictures" });
    await conversation.join();
    listen(conversation, "conversation");
    return conversation.id;
  });
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  const first = await bob.heard("member:invited");
  await bob.run(async (cid) => {
    const known = await app.getConversation(cid);
    listen(known, "conversation"); // the oldest SDKs tell a second invitation there
    await known.leave();
  }, cid);
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

  for (const person of [alice, bob]) await person.page.close();
  return cid;
}

// range is the story of a part of the history, on a page that has none of it: of pictures' conversation.
export async function range(browser, [, , pages], world, cid) {
  const fresh = await enter(browser, pages, world, "bob", { cache: false });
  const part = await fresh.run(async (cid) => {
    const again = await app.getConversation(cid);
    again.events = new Map(); // some have read them all already
    await again.getEvents({ start_id: "2", end_id: "4" });
    return events(again).map((e) => [e.id, e.type]).sort(([a], [b]) => a - b);
  }, cid);
  assert.deepEqual(part, [[2, "member:invited"], [3, "member:left"], [4, "member:invited"]]);
  await fresh.page.close();
}

// relogin makes a page whose SDK does not log in again by itself, as its application would have to.
async function relogin(person, world, name) {
  await person.run(async (token) => {
    window.app = await client.login(token);
    listen(app, "app");
  }, world.token(name));
}

// outage is the story of a connection that is lost, through front, and found again: what was said
// meanwhile is read, what comes after is told.
export async function outage(browser, pages, world, front, { logsInAgain = true, ...options } = {}) {
  const alice = await enter(browser, pages[0], world, "alice", { ...options, world: front.url });
  const bob = await enter(browser, pages[1], world, "bob", options);
  const cid = await meet(alice, bob);
  front.cut();
  await alice.heard("disconnect");
  await bob.run(() => conversation.sendText("missed"));
  front.mend();
  await alice.heard("reconnect");
  if (!logsInAgain) await relogin(alice, world, "alice");
  const texts = await alice.run(async (cid) => {
    window.conversation = await app.getConversation(cid);
    listen(conversation, "found again");
    await conversation.getEvents();
    return events(conversation).filter((e) => e.type === "text").map((e) => e.body.text);
  }, cid);
  assert.deepEqual(texts, ["missed"]);
  await bob.run(() => conversation.sendText("still there?"));
  await alice.heard("text", "still there?");
  await alice.run(() => conversation.sendText("here again"));
  await bob.heard("text", "here again");
  for (const person of [alice, bob]) await person.page.close();
}

// restart is the story of a node that is killed and comes back: the page goes on, and nothing is lost.
export async function restart(browser, pages, world, node, { logsInAgain = true, ...options } = {}) {
  const alice = await enter(browser, pages[0], world, "alice", options);
  const cid = await alice.run(async () => {
    window.conversation = await app.newConversation({ display_name: "Later" });
    await conversation.join();
    return conversation.id;
  });
  if (await alice.run(() => typeof app.updateToken === "function")) {
    await alice.run((token) => app.updateToken(token), world.token("alice"));
  }
  await node.kill();
  await node.start();
  await alice.heard("reconnect");
  if (!logsInAgain) await relogin(alice, world, "alice");
  // What the SDK asks for before it is logged in again may fail.
  const sent = await alice.run(async (cid) => {
    const within = (promise, ms) => Promise.race([promise, new Promise((_, no) => setTimeout(no, ms, new Error("no answer")))]);
    for (let tries = 0; ; tries++) {
      try {
        const again = await within(app.getConversation(cid), 2000);
        return (await within(again.sendText("back"), 30_000)).id; // twice it would be another one
      } catch (error) {
        if (tries === 30) throw new Error(error.type ?? error);
        await new Promise((yes) => setTimeout(yes, 200));
      }
    }
  }, cid);
  assert.equal(sent, 2);
  await alice.page.close();
}

// refusal is the story of a token that has ended, and of another try on the same connection.
export async function refusal(browser, pages, world, options = {}) {
  const alice = await enter(browser, pages[0], world, "alice", options);
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
}

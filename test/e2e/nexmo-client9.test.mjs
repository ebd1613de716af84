// nexmo-client 9.5.1, unmodified, in Chromium.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "./browser.mjs";
import { Pages, Person, SECRETS, World } from "./nexmo.mjs";
import * as newer from "./nexmo-newer.mjs";
import { Parley } from "./node.mjs";

let browser, node, pages, world;
before(async () => {
  [browser, node, pages] = await Promise.all([Browser.open(), Parley.make("serve", SECRETS), Pages.serve(newer.BUNDLE)]);
  await node.start();
  world = await World.make(node.url);
  await world.users("alice", "bob");
});
after(async () => {
  await browser?.close();
  await pages?.close();
  await node?.remove();
  // What the SDK asks by itself, as acknowledgements, fails when the node is killed.
  assert.deepEqual(browser.faults.filter((fault) => !/NexmoApiError/.test(fault)), []);
});

const enter = (name, seconds) => newer.enter(browser, pages, world, name, { seconds });

async function meet() {
  const [alice, bob] = [await enter("alice"), await enter("bob")];
  return { alice, bob, cid: await newer.meet(alice, bob) };
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
  await newer.follow(bob, cid);
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
  for (const person of [alice, bob]) await newer.connected(person);
  await alice.run(() => conversation.sendText("after"));
  await bob.heard("text", "after");
  assert.deepEqual(await newer.textsTold(bob), ["before", "missed 1", "missed 2", "after"]);
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
  // Long is renewed before its token has ended, and lives when short, which came later, does not. On a busy
  // machine they need longer tokens to log in with.
  const both = async (seconds) => {
    const long = await enter("alice", seconds);
    await long.run((token) => app.updateToken(token), world.token("alice"));
    return [long, await enter("alice", seconds)];
  };
  const [long, short] = await both(5).catch(() => both(25));
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

test("an image is uploaded, told, fetched, seen and deleted", async () => {
  const { alice, bob } = await meet();
  const upload = await alice.run(async () => loaded(await conversation.uploadImage(await picture(), { quality_ratio: "90", medium_size_ratio: "40", thumbnail_size_ratio: "20" })));
  assert.equal(upload.status, 200);
  const { original, medium, thumbnail } = JSON.parse(upload.answer);
  assert.deepEqual([original.type, medium.type, thumbnail.type], ["ORIGINAL", "MEDIUM", "THUMBNAIL"]);
  assert.ok(original.size > medium.size && medium.size > thumbnail.size, upload.answer);
  const [computable, read, total] = upload.progress.at(-1);
  assert.ok(computable && read === total && total === upload.answer.length, JSON.stringify(upload.progress));

  await alice.run(async () => loaded(await conversation.sendImage(await picture())));
  await bob.heard("image");
  const image = () => [...conversation.events.values()].find((e) => e.type === "image");
  for (const person of [alice, bob]) {
    await person.page.waitForFunction(image);
    await person.run(`window.shown = (${image})()`);
  }
  // The SDK's own fetchImage answers before it has anything, if the address contains "image".
  const sizes = await bob.run(async () => {
    const sides = async (type) => {
      const answer = await fetch(shown.body.representations[type].url, { headers: { authorization: `Bearer ${client.config.token}` } });
      const picture = await createImageBitmap(await answer.blob());
      return [picture.width, picture.height];
    };
    return { medium: await sides("medium"), thumbnail: await sides("thumbnail") };
  });
  assert.deepEqual(sizes, { medium: [600, 450], thumbnail: [360, 270] });
  await alice.heard("image:delivered");
  await bob.run(() => shown.seen());
  await alice.heard("image:seen");
  const url = await alice.run(() => shown.body.representations.original.url);
  await alice.run(() => shown.del());
  await bob.heard("event:delete");
  const gone = await fetch(url, { headers: { authorization: `Bearer ${world.token("alice")}` } });
  assert.equal(gone.status, 404);
  for (const person of [alice, bob]) await person.page.close();
});

test("an invitation is rejected, repeated as a new member, and the history tells both", async () => {
  const [alice, bob] = [await enter("alice"), await enter("bob")];
  const cid = await newer.create(alice);
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  const first = await bob.heard("member:invited");
  await newer.follow(bob, cid);
  await bob.run(() => conversation.leave({ reason_code: "mycode", reason_text: "not now" }));
  const left = await alice.heard("member:left");
  assert.deepEqual(left.body.reason, { code: "mycode", text: "not now" });

  await alice.run(() => conversation.invite({ user_name: "bob" }));
  const second = await bob.again("member:invited", 1);
  assert.notEqual(second.from, first.from);
  await newer.follow(bob, cid);
  await bob.run(() => conversation.join());
  await alice.run(() => conversation.sendText("welcome"));
  await bob.heard("text", "welcome");
  await bob.run(() => [...conversation.events.values()].find((e) => e.type === "text").seen());
  await alice.heard("text:seen");

  const members = (await world.call("GET", `/beta/conversations/${cid}`)).members;
  assert.deepEqual(members.map((m) => `${m.name} ${m.state}`).sort(), ["alice JOINED", "bob JOINED", "bob LEFT"]);
  const history = await bob.run(async () => {
    const told = [];
    for (let page = await conversation.getEvents({ page_size: 3, order: "asc" }); ; page = await page.getNext()) {
      for (const e of page.items.values()) told.push({ id: e.id, type: e.type, seen: Object.keys(e.state?.seen_by ?? {}) });
      if (!page.hasNext()) return told;
    }
  });
  assert.deepEqual(history.map((e) => e.id), history.map((_, i) => i + 1));
  assert.deepEqual(history.slice(0, 5).map((e) => e.type), ["member:joined", "member:invited", "member:left", "member:invited", "member:joined"]);
  const text = await world.call("GET", `/beta/conversations/${cid}/events?start_id=6&end_id=6`);
  assert.deepEqual(text.map((e) => [e.id, e.type, Object.keys(e.state.seen_by)]), [[6, "text", [second.from]]]);
  for (const person of [alice, bob]) await person.page.close();
});

test("a page that is loaded anew goes on, and a logout ends its session", async () => {
  const { alice, bob, cid } = await meet();
  await alice.run(() => conversation.sendText("before"));
  await bob.heard("text", "before");
  await bob.reload();
  await newer.login(bob, { url: world.url, token: world.token("bob") });
  await newer.follow(bob, cid);
  assert.deepEqual(await bob.run(TEXTS), ["before"]);
  await alice.run(() => conversation.sendText("after"));
  await bob.heard("text", "after");

  const sessions = async () => {
    const page = await world.call("GET", `/v0.3/users/${await bob.run(() => app.me.id)}/sessions?page_size=100`);
    return page._embedded.sessions.map((s) => s.id);
  };
  const mine = await bob.run(() => client.session_id);
  assert.ok((await sessions()).includes(mine));
  const me = await bob.run(() => app.me.id);
  await bob.run(() => client.deleteSession());
  const after = await world.call("GET", `/v0.3/users/${me}/sessions?page_size=100`);
  assert.ok(!after._embedded.sessions.some((s) => s.id === mine));
  await alice.run(() => conversation.sendText("to nobody"));
  await alice.heard("text", "to nobody");
  assert.equal(await bob.run(() => heard.some((e) => e.body?.text === "to nobody")), false);
  for (const person of [alice, bob]) await person.page.close();
});

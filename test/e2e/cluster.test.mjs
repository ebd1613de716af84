// Two users on different nodes of three, with the SDKs unmodified in Chromium, while nodes are
// killed and come back: every text that was sent is told, once and in order.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser } from "./browser.mjs";
import { Fleet, Front } from "./fleet.mjs";
import { Pages, SECRETS, World } from "./nexmo.mjs";
import * as newer from "./nexmo-newer.mjs";
import * as older from "./nexmo-older.mjs";

let browser, fleet, world, fronts, pages;
before(async () => {
  [browser, fleet] = await Promise.all([Browser.open(), Fleet.start(3, SECRETS)]);
  const [a, b, c] = fleet.nodes;
  [fronts, pages, world] = await Promise.all([
    Promise.all([Front.open(a, c, b), Front.open(b, c, a)]),
    // The older SDK keeps its token in the browser's storage, which pages of one origin share.
    Promise.all([newer.BUNDLE, older.BUNDLE, older.BUNDLE].map((bundle) => Pages.serve(bundle))),
    World.make(c.url),
  ]);
  await world.users("alice", "bob");
});
after(async () => {
  await browser?.close();
  await Promise.all([...(pages ?? []), ...(fronts ?? [])].map((server) => server.close()));
  await fleet?.remove();
  // What the SDKs ask by themselves, as acknowledgements, fails while a page's node is away.
  assert.deepEqual(browser.faults.filter((fault) => !/NexmoApiError/.test(fault)), []);
});

// startTalking has a page send text after text, each once the one before was answered, and note
// what became of each: acked, or unsure when there was no answer.
function startTalking(person) {
  return person.run(() => {
    window.talk = { acked: [], unsure: [], on: true };
    talk.done = (async () => {
      for (let n = 1; talk.on; n++) {
        const text = `text ${n}`;
        const within = new Promise((_, no) => setTimeout(no, 12_000, new Error("no answer")));
        await Promise.race([conversation.sendText(text), within]).then(() => talk.acked.push(text), () => talk.unsure.push(text));
        await new Promise((yes) => setTimeout(yes, 40));
      }
    })();
  });
}

// acks waits until so many more texts were acknowledged.
async function acks(person, more) {
  const want = (await person.run(() => talk.acked.length)) + more;
  await person.page.waitForFunction((want) => talk.acked.length >= want, want);
}

const stopTalking = (person) => person.run(async () => {
  talk.on = false;
  await talk.done;
  return { acked: talk.acked, unsure: talk.unsure };
});

// check compares what was told with what was sent: all that was acknowledged, nothing twice, in
// order; what had no answer may be there or not.
function check(told, { acked, unsure }) {
  assert.deepEqual(told.filter((text) => acked.includes(text)), acked, "acknowledged texts");
  assert.equal(new Set(told).size, told.length, `told twice: ${told}`);
  const strangers = told.filter((text) => !acked.includes(text) && !unsure.includes(text));
  assert.deepEqual(strangers, []);
}

test("nexmo-client 9: two users on two nodes, which are killed one after the other", async () => {
  const alice = await newer.enter(browser, pages[0], world, "alice", { url: fronts[0].url });
  const bob = await newer.enter(browser, pages[0], world, "bob", { url: fronts[1].url });
  await newer.meet(alice, bob);
  const ids = { bob: await bob.run(() => client.session_id), alice: await alice.run(() => client.session_id) };
  await startTalking(alice);
  await acks(alice, 5);
  await bob.heard("text", "text 1");

  const [first, second] = fleet.nodes;
  await second.kill(); // bob's
  await bob.heard("reconnect");
  await acks(alice, 5);
  // The loss of another node takes nothing from who sends but, perhaps, some time.
  assert.equal(await alice.run(() => heard.some((e) => e.type === "disconnect")), false);
  await second.start();
  await fleet.healthy();
  await first.kill(); // alice's
  await alice.heard("reconnect");
  await acks(alice, 5);
  await first.start();
  await fleet.healthy();

  const sent = await stopTalking(alice);
  await bob.heard("text", sent.acked.at(-1));
  check(await newer.textsTold(bob), sent);
  await alice.heard("text", sent.acked.at(-1));
  check(await newer.textsTold(alice), sent);
  assert.deepEqual({ bob: await bob.run(() => client.session_id), alice: await alice.run(() => client.session_id) }, ids);
  for (const person of [alice, bob]) await person.page.close();
});

test("nexmo-client 9: what was missed is told without another event", async () => {
  const alice = await newer.enter(browser, pages[0], world, "alice", { url: fronts[0].url });
  const bob = await newer.enter(browser, pages[0], world, "bob", { url: fronts[1].url });
  const cid = await newer.meet(alice, bob);
  const from = await alice.run(() => conversation.me.id);
  await fleet.nodes[1].kill(); // bob's
  await bob.heard("disconnect");
  for (const text of ["missed 1", "missed 2"]) {
    await world.call("POST", `/beta/conversations/${cid}/events`, { type: "text", from, body: { text } });
  }
  await bob.heard("text", "missed 2");
  assert.deepEqual(await newer.textsTold(bob), ["missed 1", "missed 2"]);
  await fleet.nodes[1].start();
  await fleet.healthy();
  for (const person of [alice, bob]) await person.page.close();
});

test("a token is renewed through any node", async () => {
  const bob = await newer.enter(browser, pages[0], world, "bob", { url: fronts[1].url });
  const session = await bob.run(() => client.session_id);
  const renew = (node, name) => fetch(`${node.url}/v0.2/sessions/${session}`, {
    method: "PUT", headers: { authorization: `Bearer ${world.token(name)}`, "content-type": "application/json" },
  });
  for (const node of fleet.nodes) {
    assert.equal((await renew(node, "bob")).status, 200);
    assert.equal((await renew(node, "alice")).status, 404);
  }
  await bob.page.close();
});

test("nexmo-client 4: two users on two nodes, which are killed one after the other", async () => {
  const alice = await older.enter(browser, pages[1], world, "alice", { world: fronts[0].url });
  const bob = await older.enter(browser, pages[2], world, "bob", { world: fronts[1].url });
  await older.meet(alice, bob);
  await startTalking(alice);
  await acks(alice, 5);
  await bob.heard("text", "text 1");

  const [first, second] = fleet.nodes;
  for (const [node, person] of [[second, bob], [first, alice]]) {
    await node.kill();
    await person.heard("reconnect");
    await acks(alice, 5);
    await node.start();
    await fleet.healthy();
  }
  const sent = await stopTalking(alice);
  await bob.heard("text", sent.acked.at(-1));

  // What came while there was no connection, these SDKs read again.
  const read = await bob.run(async () => {
    await conversation.getEvents();
    return events(conversation).sort((a, b) => a.id - b.id).filter((e) => e.type === "text").map((e) => e.body.text);
  });
  check(read, sent);
  const told = await newer.textsTold(bob);
  assert.equal(new Set(told).size, told.length, `told twice: ${told}`);
  for (const person of [alice, bob]) await person.page.close();
});

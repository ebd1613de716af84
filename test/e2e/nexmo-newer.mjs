// What the tests of nexmo-client 5 to 9 share: it asks over HTTP and is told over /v2/rtc/.

import { Person } from "./nexmo.mjs";

export const BUNDLE = "nexmo-client/dist/nexmoClient.js";

// enter opens a page that logs in at url, which is the world's own unless given.
export async function enter(browser, pages, world, name, { seconds = 3600, url = world.url } = {}) {
  const person = await Person.open(browser, pages);
  await login(person, { url, token: world.token(name, seconds) });
  return person;
}

export function login(person, { url, token }) {
  return person.run(async ({ url, token }) => {
    window.client = new NexmoClient({
      url: url.replace("http", "ws"), nexmo_api_url: url, ips_url: `${url}/v1/image`, rtcstats: { remote_collection: false },
      socket_io: { reconnectionDelay: 200, reconnectionDelayMax: 1000, reconnectionAttempts: 60 },
    });
    for (const type of ["disconnect", "reconnect"]) client.on(type, (why) => heard.push({ scope: "client", type, why }));
    window.app = await client.createSession(token);
    listen(app, "app");
  }, { url, token });
}

// follow makes a conversation the page's own.
export async function follow(person, cid) {
  await person.run(async (cid) => {
    window.conversation = await app.getConversation(cid);
    listen(conversation, "conversation");
  }, cid);
}

// create lets a person make a conversation and join it.
export function create(person) {
  return person.run(async () => {
    window.conversation = await app.newConversationAndJoin({ display_name: "Tea" });
    listen(conversation, "conversation");
    return conversation.id;
  });
}

// meet lets alice create a conversation and bob join it by invitation.
export async function meet(alice, bob) {
  const cid = await create(alice);
  await alice.run(() => conversation.invite({ user_name: "bob" }));
  await bob.heard("member:invited");
  await follow(bob, cid);
  await bob.run(() => conversation.join());
  await alice.heard("member:joined");
  return cid;
}

// textsTold are the texts that a page's conversation was told, in order.
export function textsTold(person) {
  return person.run(() => heard.filter((e) => e.type === "text" && e.scope === "conversation").map((e) => e.body.text));
}

// connected waits until the socket is up again.
export function connected(person) {
  return person.page.waitForFunction(() => client.connection.connected);
}

// What the tests of @vonage/client-sdk share: it asks over HTTP and is told over /v2/rtc/, as one kind
// of event for a whole session.

import { Person } from "../nexmo.mjs";

export const BUNDLE = "@vonage/client-sdk/dist/vonageClientSDK.js";

// enter opens a page that logs in at url, which is the world's own unless given.
export async function enter(browser, pages, world, name, url = world.url) {
  const person = await Person.open(browser, pages);
  await login(person, url, world.token(name));
  return person;
}

// login makes a session, or takes up the one that is named.
export async function login(person, url, token, session = null) {
  await person.run(async ({ url, token, session }) => {
    const { VonageClient, LoggingLevel } = vonageClientSDK;
    window.client = new VonageClient({ loggingLevel: LoggingLevel.ERROR, apiUrl: url, websocketUrl: url });
    client.on("conversationEvent", (event) => heard.push({
      type: event.kind, id: event.id, cid: event.conversationId, user: event.from?.user?.name, of: event.body?.eventId,
      body: { text: event.body?.text, imageUrl: event.body?.imageUrl, customData: event.body?.customData ?? event.body },
    }));
    for (const type of ["reconnecting", "reconnection", "sessionError"]) client.on(type, (why) => heard.push({ type, why }));
    window.session = await client.createSession(token, session);
  }, { url, token, session });
}

// meet lets alice create a conversation and bob join it by invitation.
export async function meet(alice, bob) {
  const cid = await alice.run(async () => {
    window.cid = await client.createConversation({ displayName: "Tea" });
    await client.joinConversation(cid);
    await client.inviteToConversation(cid, "bob");
    return cid;
  });
  await bob.heard("member:invited");
  await bob.run((cid) => client.joinConversation((window.cid = cid)), cid);
  await alice.page.waitForFunction(() => heard.some((e) => e.type === "member:joined" && e.user === "bob"));
  return cid;
}

export const say = (person, text) => person.run((text) => client.sendMessageTextEvent(cid, text), text);

// texts are what a page was told, in the order in which it was.
export const texts = (person) => person.run(() => heard.filter((e) => e.type === "message:text").map((e) => e.body.text));

// history are the texts that a page reads anew, oldest first.
export const history = (person) => person.run(async () => {
  const { events } = await client.getConversationEvents(cid, { order: "asc", pageSize: 100 });
  return events.filter((e) => e.kind === "message:text").map((e) => e.body.text);
});

// Keeps a demo in this browser: its application, users and conversation, and the application's
// private key in a form that can sign but cannot be read out again.

import { signToken, userClaims } from "./jwt.js";

const STORE = "demo";
const TOKEN_LASTS_S = 3600;

export class Keyring {
  // save keeps a new demo and gives it as a session.
  async save(demo) {
    await this.#put(demo);
    return session(demo);
  }

  // load gives the kept demo as a session, or null. A demo of another server is not this one's.
  async load() {
    const demo = await this.#get();
    return demo ? session(demo) : null;
  }

  async forget() {
    const db = await open();
    await done(db.transaction(STORE, "readwrite").objectStore(STORE).clear());
    db.close();
  }

  async #put(demo) {
    const db = await open();
    await done(db.transaction(STORE, "readwrite").objectStore(STORE).put(demo, "current"));
    db.close();
  }

  async #get() {
    const db = await open();
    const demo = await done(db.transaction(STORE).objectStore(STORE).get("current"));
    db.close();
    return demo;
  }
}

function session(demo) {
  return {
    conversation: demo.conversation,
    users: demo.users.map((user) => ({
      ...user,
      token: () => signToken(demo.key, userClaims(demo.application, user.name, TOKEN_LASTS_S)),
    })),
    made: "here",
  };
}

function open() {
  const request = indexedDB.open("parley", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return done(request);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

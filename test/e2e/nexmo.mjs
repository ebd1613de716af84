// What the tests of the hosted API's SDKs share: an application with users and tokens on a node,
// and pages that load one SDK from another origin, as an application's own pages do.

import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { until } from "./node.mjs";

export const SECRETS = { PARLEY_API_KEY: "e2ekey", PARLEY_API_SECRET: "e2esecret" };

const ANSWER_WITHIN_MS = 60_000;
const MODULES = new URL("./node_modules/", import.meta.url).pathname;

// World is an application on a node.
export class World {
  static async make(url) {
    const world = new World();
    world.url = url;
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    world.key = privateKey;
    const basic = Buffer.from(`${SECRETS.PARLEY_API_KEY}:${SECRETS.PARLEY_API_SECRET}`).toString("base64");
    const application = await world.call("POST", "/v2/applications", {
      name: `e2e ${createHash("sha256").update(String(Math.random())).digest("hex").slice(0, 8)}`,
      keys: { public_key: publicKey.export({ type: "spki", format: "pem" }) }, capabilities: {},
    }, `Basic ${basic}`);
    world.application = application.id;
    return world;
  }

  // token signs a user's token; without a name an administrator's.
  token(name, seconds = 3600) {
    const now = Math.floor(Date.now() / 1000);
    const claims = { application_id: this.application, iat: now, exp: now + seconds, jti: randomUUID() };
    if (name) {
      claims.sub = name;
      claims.acl = { paths: Object.fromEntries(["sessions", "users", "conversations", "image", "media", "legs", "knocking", "discovery"].map((p) => [`/*/${p}/**`, {}])) };
    }
    const text = [{ alg: "RS256", typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${text}.${sign("RSA-SHA256", Buffer.from(text), this.key).toString("base64url")}`;
  }

  async users(...names) {
    for (const name of names) await this.call("POST", "/v1/users", { name, display_name: name.toUpperCase() });
  }

  // call asks again while the node answers that it could not, or does not know whether it did, as while another
  // one begins to lead: the key makes a repetition harmless.
  async call(method, path, body, authorization = `Bearer ${this.token()}`) {
    const headers = { authorization, "content-type": "application/json", "idempotency-key": randomUUID() };
    let status, text;
    await until(async () => {
      const answer = await fetch(this.url + path, { method, body: body && JSON.stringify(body), headers });
      [status, text] = [answer.status, await answer.text()];
      return status !== 503;
    }, ANSWER_WITHIN_MS, () => `${method} ${path}: ${status} ${text}`);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }
}

// Pages serves one SDK's bundle and an empty page that loads it, from an origin of its own.
export class Pages {
  static several(count, bundle, modules) {
    return Promise.all(Array.from({ length: count }, () => Pages.serve(bundle, modules)));
  }

  static async serve(bundle, modules = MODULES) {
    const pages = new Pages();
    const script = await readFile(modules + bundle);
    pages.server = createServer((request, response) => {
      const isScript = request.url === "/sdk.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
      response.end(isScript ? script : `<!doctype html><link rel="icon" href="data:,"><script src="/sdk.js"></script>`);
    }).listen(0, "127.0.0.1");
    await once(pages.server, "listening");
    pages.url = `http://127.0.0.1:${pages.server.address().port}/`;
    return pages;
  }

  async close() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, "close");
  }
}

// Person is one user in one page: window.app is the SDK's application, window.heard what it told.
export class Person {
  constructor(page) {
    this.page = page;
  }

  static async open(browser, pages) {
    const person = new Person(await browser.page(pages.url));
    await person.prepare();
    return person;
  }

  // reload loads the page anew: nothing of the SDK's state stays but what the browser stores.
  async reload() {
    await this.page.reload();
    await this.prepare();
  }

  async prepare() {
    await this.page.evaluate(() => {
      window.heard = [];
      // listen notes everything that an object of the SDK tells.
      window.listen = (object, scope) => object.on("*", (type, sender, event) => window.heard.push({
        scope, type, id: event?.id, from: event?.from, body: structuredClone(event?.body ?? null), user: sender?.user?.name ?? sender?.userName,
      }));
      // picture makes a photograph that does not compress well.
      window.picture = async () => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 1200, height: 900 });
        const context = canvas.getContext("2d"), noise = context.createImageData(1200, 900);
        for (let i = 0; i < noise.data.length; i++) noise.data[i] = i % 4 === 3 ? 255 : Math.random() * 256;
        context.putImageData(noise, 0, 0);
        const blob = await new Promise((yes) => canvas.toBlob(yes, "image/jpeg", 0.95));
        return new File([blob], "cat.jpg", { type: "image/jpeg" });
      };
      // loaded waits for an upload, and gives its status and the progress that it told.
      window.loaded = (request) => new Promise((yes) => {
        const progress = [];
        request.onprogress = (e) => progress.push([e.lengthComputable, e.loaded, e.total]);
        request.onloadend = () => yes({ status: request.status, progress, answer: request.responseText });
      });
    });
  }

  run(f, argument) {
    return this.page.evaluate(f, argument);
  }

  // again waits until an event was told more than so many times, and gives the last.
  async again(type, times) {
    const wanted = ({ type, times }) => {
      const all = window.heard.filter((e) => e.type === type);
      return all.length > times && all.at(-1);
    };
    await this.page.waitForFunction(wanted, { type, times });
    return this.page.evaluate(wanted, { type, times });
  }

  // heard waits until an event was told, and gives it.
  async heard(type, text) {
    const wanted = ({ type, text }) => window.heard.find((e) => e.type === type && (text === undefined || e.body?.text === text));
    try {
      await this.page.waitForFunction(wanted, { type, text });
    } catch (error) {
      throw new Error(`${type} ${text ?? ""} was not told; told was ${JSON.stringify(await this.page.evaluate(() => window.heard))}`, { cause: error });
    }
    return this.page.evaluate(wanted, { type, text });
  }
}

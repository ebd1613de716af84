// One connection of one user, kept alive: reconnects with back-off, resumes the subscription from
// the last sequence, and repeats unanswered sends under their client ids, so that each happens once.

const PING_EVERY_MS = 15_000;
const ANSWER_WITHIN_MS = 10_000;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;
const LOGIN_TRIES_MAX = 3;

export class Realtime extends EventTarget {
  #options; // {token: async () => string, conversation, device}
  #socket = null;
  #session = "";
  #nextId = 1;
  #waiting = new Map(); // request id -> {resolve, reject}
  #unsent = new Map(); // client id -> {frame, resolve, reject}: repeated until answered
  #attempt = 0;
  #logins = 0;
  #retryTimer = 0;
  #pingTimer = 0;
  #wanted = false;

  state = "offline"; // offline, connecting, online, waiting, refused
  user = null;
  last = 0; // the last sequence that was delivered

  constructor(options) {
    super();
    this.#options = options;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => this.#hurry());
  }

  start() {
    this.#wanted = true;
    this.#connect();
  }

  get conversation() {
    return this.#options.conversation;
  }

  stop() {
    this.#wanted = false;
    clearTimeout(this.#retryTimer);
    this.#socket?.close(1000);
    this.#lose();
    this.#become("offline");
  }

  // post sends an event. The promise ends with the ack, however many connections that takes.
  post(clientId, eventType, body) {
    const frame = { type: "post", conversation: this.#options.conversation, client_id: clientId, event_type: eventType, body };
    return new Promise((resolve, reject) => {
      this.#unsent.set(clientId, { frame, resolve, reject });
      if (this.state === "online") this.#sendAgain(clientId);
    });
  }

  // tell sends something that is not worth repeating, such as typing.
  tell(frame) {
    if (this.state === "online") this.#send({ ...frame, conversation: this.#options.conversation });
  }

  // request sends a frame and gives its answer; it fails when the connection does.
  request(frame) {
    return new Promise((resolve, reject) => {
      const id = String(this.#nextId++);
      this.#waiting.set(id, { resolve, reject });
      this.#send({ ...frame, id });
    });
  }

  #become(state, detail = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...detail } }));
  }

  #hurry() {
    if (this.state !== "waiting" || document.visibilityState !== "visible") return;
    this.#connect();
  }

  async #connect() {
    clearTimeout(this.#retryTimer);
    this.#become("connecting");
    let token;
    try {
      token = await this.#options.token();
    } catch {
      this.#retry(); // the server that gives tokens is the one that is away
      return;
    }
    if (!this.#wanted || this.state !== "connecting") return;
    const url = new URL("/v1/realtime", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, ["parley.v1.json"]);
    this.#socket = socket;
    socket.onopen = () => this.#hello(socket, token);
    socket.onmessage = (message) => this.#receive(JSON.parse(message.data));
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#closed(event);
    };
  }

  async #hello(socket, token) {
    try {
      const welcome = await this.request({ type: "hello", token, session_id: this.#session || undefined, device: this.#options.device });
      this.#session = welcome.session_id;
      this.user = welcome.user;
      const after = this.last;
      const ack = await this.request({ type: "subscribe", conversation: this.#options.conversation, after });
      this.#attempt = 0;
      this.#logins = 0;
      this.#become("online", { user: welcome.user, after, head: ack.head ?? 0 });
      for (const clientId of this.#unsent.keys()) this.#sendAgain(clientId);
      this.#ping(socket);
    } catch (error) {
      this.problem = error.message;
      if (error.recovery === "stop") {
        this.#wanted = false;
        this.#become("refused", { why: error.message });
      }
      socket.close(1000);
    }
  }

  async #sendAgain(clientId) {
    const entry = this.#unsent.get(clientId);
    try {
      const ack = await this.request(entry.frame);
      this.#unsent.delete(clientId);
      entry.resolve(ack);
    } catch (error) {
      if (error.lost || error.recovery === "resume" || error.recovery === "login") return; // repeated when online again
      if (error.recovery === "retry" && this.#wanted) {
        setTimeout(() => this.state === "online" && this.#unsent.has(clientId) && this.#sendAgain(clientId), error.retry_after_ms || 500);
        return;
      }
      this.#unsent.delete(clientId);
      entry.reject(error);
    }
  }

  // A browser does not show WebSocket pings to a page, so a dead network is noticed here.
  #ping(socket) {
    clearInterval(this.#pingTimer);
    this.#pingTimer = setInterval(() => {
      const late = setTimeout(() => this.#drop(socket), ANSWER_WITHIN_MS);
      this.request({ type: "ping" }).then(() => clearTimeout(late), () => clearTimeout(late));
    }, PING_EVERY_MS);
  }

  #drop(socket) {
    if (this.#socket !== socket) return;
    socket.close();
    this.#closed({ code: 1006, reason: "no answer" });
  }

  #receive(frame) {
    const waiting = frame.id && this.#waiting.get(frame.id);
    if (waiting) {
      this.#waiting.delete(frame.id);
      if (frame.type === "error") waiting.reject(Object.assign(new Error(frame.message), frame));
      else waiting.resolve(frame);
      return;
    }
    if (frame.type === "events") {
      // Sequences are dense; what is here already came before the connection was lost.
      frame.events = frame.events.filter((e) => e.sequence > this.last);
      if (frame.events.length === 0) return;
      this.last = frame.events.at(-1).sequence;
    }
    if (frame.type === "reset") this.last = frame.head;
    if (frame.type === "unsubscribed" && frame.reason === "unavailable") this.#socket.close(1000);
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  // lose forgets the connection: what waits for an answer on it fails.
  #lose() {
    clearInterval(this.#pingTimer);
    this.#socket = null;
    for (const { reject } of this.#waiting.values()) reject(Object.assign(new Error("connection lost"), { lost: true }));
    this.#waiting.clear();
  }

  #closed(event) {
    this.#lose();
    if (!this.#wanted) return;
    if (event.code >= 4100 && event.code < 4200) this.#session = "";
    if (event.code >= 4200 && event.code < 4300 && ++this.#logins >= LOGIN_TRIES_MAX) {
      return this.#refused(this.problem || event.reason);
    }
    if (event.code >= 4300 && event.code < 4400) return this.#refused(event.reason);
    this.#retry();
  }

  #refused(why) {
    this.#wanted = false;
    this.#become("refused", { why });
  }

  #retry() {
    const ceiling = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#attempt++);
    const wait = ceiling / 2 + (Math.random() * ceiling) / 2;
    this.#become("waiting", { wait });
    this.#retryTimer = setTimeout(() => this.#connect(), wait);
  }

  #send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }
}

// One user's chat window.

import { Realtime } from "./realtime.js";
import { Timeline } from "./timeline.js";

const TYPING_PAUSE_MS = 3_000;
const RECEIPT_DELAY_MS = 120;
const HISTORY_PAGE = 100;

const TICKS = {
  sending: ["◷", "sending"],
  failed: ["!", "not sent"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
};
const STATES = { offline: "offline by choice", connecting: "connecting…", online: "online", waiting: "connection lost, reconnecting…" };

export class Pane {
  #name;
  #realtime;
  #timeline = new Timeline();
  #parts;
  #typingUntil = 0;
  #typingTimer = 0;
  #receiptTimer = 0;
  #told = { delivered: 0, seen: 0 };
  #catchUp = null; // {head, count} while missed messages come in
  #wasOnline = false;
  #drawn = false;

  constructor({ user, conversation, alone }) {
    this.#name = user.name;
    this.#realtime = new Realtime({ token: user.token, conversation, device: "demo page" });
    this.element = document.getElementById("pane").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.#parts = { log: find(".log"), typing: find(".typing"), state: find(".state"), form: find("form"), input: find("textarea"), network: find(".network") };
    this.element.dataset.user = user.name;
    this.element.setAttribute("aria-label", `Chat as ${user.name}`);
    find("h2").textContent = user.name;
    find(".avatar").textContent = user.name.slice(0, 1).toUpperCase();
    find("label").textContent = `Message as ${user.name}`;
    find("label").htmlFor = this.#parts.input.id = `input-${user.name}`;
    const tab = find(".tab");
    tab.href = `/demo?user=${encodeURIComponent(user.name)}`;
    tab.hidden = alone || new URLSearchParams(location.search).has("user");
    this.#listen();
  }

  start() {
    this.#realtime.start();
    setInterval(() => this.#drawTyping(), 1_000);
  }

  #listen() {
    const { form, input, network, log } = this.#parts;
    this.#realtime.addEventListener("state", (e) => this.#onState(e.detail));
    this.#realtime.addEventListener("frame", (e) => this.#onFrame(e.detail));
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#sendText();
    };
    input.onkeydown = (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#sendText();
      }
    };
    input.oninput = () => this.#onInput();
    network.onclick = () => (this.#realtime.state === "offline" ? this.#realtime.start() : this.#realtime.stop());
    log.onscroll = () => this.#receipt();
    document.addEventListener("visibilitychange", () => this.#receipt());
  }

  #onState({ state, user, after, head, why }) {
    if (state === "online") {
      this.#timeline.me = user;
      this.#catchUp = this.#wasOnline ? { head, count: 0 } : null;
      if (this.#wasOnline && head <= after) this.#caughtUp();
      this.#wasOnline = true;
    }
    const { state: line, network } = this.#parts;
    line.dataset.state = state;
    line.querySelector(".text").textContent = why ? `refused: ${why}` : STATES[state];
    network.textContent = state === "offline" ? "Go online" : "Go offline";
    network.setAttribute("aria-pressed", String(state === "offline"));
    network.hidden = state === "refused";
    if (state !== "online") this.#timeline.typing.clear();
    else this.#receipt();
    this.#draw();
  }

  #onFrame(frame) {
    switch (frame.type) {
      case "events":
        this.#onEvents(frame.events);
        break;
      case "soft":
        this.#timeline.soft(frame);
        this.#drawTyping();
        return;
      case "cursors":
        this.#timeline.cursors(frame);
        break;
      case "reset":
        this.#refetch(frame.head);
        return;
      case "unsubscribed":
        this.#timeline.note(`The conversation is closed for ${this.#name}: ${frame.reason}.`);
        break;
      default:
        return;
    }
    this.#draw();
  }

  #onEvents(events) {
    const { messages } = this.#timeline.apply(events);
    if (this.#catchUp) {
      this.#catchUp.count += messages;
      if (events.at(-1).sequence >= this.#catchUp.head) this.#caughtUp();
    }
    this.#receipt();
  }

  #caughtUp() {
    const n = this.#catchUp.count;
    this.#catchUp = null;
    this.#timeline.note(n === 0 ? "Back online, nothing missed" : `Back online, caught up ${n} message${n === 1 ? "" : "s"}`);
  }

  // refetch shows the newest page when too much lies behind to be sent event by event.
  async #refetch(head) {
    try {
      const page = await this.#realtime.request({ type: "history", conversation: this.#realtime.conversation, end: head, page_size: HISTORY_PAGE, descending: true });
      this.#timeline.messages = [];
      this.#timeline.note("Earlier messages are not shown");
      this.#timeline.apply((page.events ?? []).reverse());
      this.#catchUp = null;
      this.#receipt();
      this.#draw();
    } catch {
      // The connection was lost meanwhile; the next one subscribes from where this one was reset.
    }
  }

  async #sendText() {
    const { input } = this.#parts;
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    input.style.height = "";
    this.#typing(false);
    const clientId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const message = this.#timeline.sending(clientId, text);
    this.#draw(true);
    try {
      const ack = await this.#realtime.post(clientId, "text", { text });
      message.sequence ||= ack.sequence;
    } catch (error) {
      message.failed = true;
      this.#timeline.note(`Not sent: ${error.message}`);
    }
    this.#draw();
  }

  #onInput() {
    const { input } = this.#parts;
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight}px`;
    this.#typing(input.value !== "");
  }

  // typing is told when it starts, again while it lasts, and when it ends.
  #typing(on) {
    clearTimeout(this.#typingTimer);
    if (on) this.#typingTimer = setTimeout(() => this.#typing(false), TYPING_PAUSE_MS);
    const now = Date.now();
    if (on ? now < this.#typingUntil : this.#typingUntil === 0) return;
    this.#typingUntil = on ? now + TYPING_PAUSE_MS - 500 : 0;
    this.#realtime.tell({ type: "typing", on });
  }

  // receipt tells how far this user has received and, while the page is looked at, read. What the
  // server has not acked is told again with the next connection.
  #receipt() {
    clearTimeout(this.#receiptTimer);
    this.#receiptTimer = setTimeout(() => this.#tellReceipt(), RECEIPT_DELAY_MS);
  }

  async #tellReceipt() {
    const delivered = this.#timeline.lastForeign;
    const { log } = this.#parts;
    const looking = document.visibilityState === "visible" && log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const seen = looking ? delivered : this.#told.seen;
    if (this.#realtime.state !== "online" || (delivered <= this.#told.delivered && seen <= this.#told.seen)) return;
    try {
      await this.#realtime.request({ type: "receipt", conversation: this.#realtime.conversation, delivered, seen: seen || undefined });
      this.#told = { delivered: Math.max(delivered, this.#told.delivered), seen: Math.max(seen, this.#told.seen) };
    } catch {
      // Lost with the connection: told again when the next one is online.
    }
  }

  #drawTyping() {
    const names = this.#timeline.typists();
    this.#parts.typing.textContent = names.length ? `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing` : "";
  }

  #draw(jump = false) {
    const { log } = this.#parts;
    const atEnd = jump || !this.#drawn || log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    this.#drawn = true;
    const rows = this.#timeline.messages;
    rows.forEach((message, i) => {
      const before = rows[i - 1];
      const joined = before?.kind === "message" && message.kind === "message" && before.mine === message.mine && before.author === message.author;
      message.row ??= document.createElement("li");
      fill(message.row, message, joined, message.mine ? this.#timeline.tick(message) : "");
      if (log.children[i] !== message.row) log.insertBefore(message.row, log.children[i] ?? null);
    });
    while (log.children.length > rows.length) log.lastElementChild.remove();
    this.#drawTyping();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
}

// fill brings a row up to date; an unchanged row is left alone, so that a screen reader does not
// read it again.
function fill(row, message, joined, tick) {
  const look = [message.kind, message.text, message.deleted, joined, tick].join("\u0000");
  if (row.look === look) return;
  row.look = look;
  row.className = message.kind === "note" ? "note" : `message ${message.mine ? "mine" : "theirs"}${joined ? " joined" : ""}`;
  row.replaceChildren();
  if (message.kind === "note") {
    row.textContent = message.text;
    return;
  }
  if (!message.mine && !joined) row.append(part("span", "author", message.author));
  const text = part("span", "text", message.deleted ? "deleted" : message.text);
  text.classList.toggle("deleted", Boolean(message.deleted));
  const time = part("time", "", new Date(message.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = new Date(message.time).toISOString();
  const meta = part("span", "meta", "");
  meta.append(time);
  if (tick) {
    const mark = part("span", `tick ${tick}`, TICKS[tick][0]);
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", TICKS[tick][1]);
    mark.title = TICKS[tick][1];
    meta.append(mark);
  }
  row.append(text, meta);
}

function part(name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

// What one user sees of a conversation, without any DOM: messages, members, receipts, typing.

const TYPING_LASTS_MS = 6_000;

export class Timeline {
  me = null; // {id, name}
  messages = []; // in order: {kind: "message"|"note", sequence, text, mine, author, time, clientId, failed, deleted}
  typing = new Map(); // user name -> until
  #members = new Map(); // MEM- -> {user, joined}
  #delivered = new Map(); // MEM- -> sequence
  #seen = new Map();
  lastForeign = 0; // last message of somebody else: what receipts are about

  // apply takes events in order and tells what they were: {messages: n} of all authors.
  apply(events) {
    let messages = 0;
    for (const event of events) messages += this.#applyOne(event) ? 1 : 0;
    return { messages };
  }

  // sending shows a message at once; the event or the ack completes it.
  sending(clientId, text) {
    const message = { kind: "message", sequence: 0, text, mine: true, author: this.me?.name ?? "", time: Date.now(), clientId };
    this.messages.push(message);
    return message;
  }

  note(text) {
    this.messages.push({ kind: "note", sequence: 0, text, time: Date.now() });
  }

  soft(frame) {
    if (!frame.user || frame.user.id === this.me?.id) return;
    if (frame.event_type === "text:typing:on") this.typing.set(nameOf(frame.user), Date.now() + TYPING_LASTS_MS);
    if (frame.event_type === "text:typing:off") this.typing.delete(nameOf(frame.user));
  }

  cursors(frame) {
    for (const c of frame.cursors) {
      raise(this.#delivered, c.member, c.delivered ?? 0);
      raise(this.#seen, c.member, c.seen ?? 0);
    }
  }

  // typists drops those who fell silent without saying so.
  typists(now = Date.now()) {
    for (const [name, until] of this.typing) if (until < now) this.typing.delete(name);
    return [...this.typing.keys()];
  }

  // tick is how far an own message came: sending, failed, sent, delivered, read.
  tick(message) {
    if (message.failed) return "failed";
    if (!message.sequence) return "sending";
    const others = [...this.#members].filter(([, m]) => m.joined && m.user?.id !== this.me?.id).map(([id]) => id);
    const all = (map) => others.length > 0 && others.every((id) => (map.get(id) ?? 0) >= message.sequence);
    if (all(this.#seen)) return "read";
    return all(this.#delivered) ? "delivered" : "sent";
  }

  #applyOne(event) {
    if (event.from && event.user && !this.#members.has(event.from)) this.#members.set(event.from, { user: event.user, joined: true });
    switch (event.type) {
      case "text":
        return this.#onMessage(event, event.body?.text);
      case "message":
        return this.#onMessage(event, event.body?.text ?? `[${event.body?.message_type ?? "message"}]`);
      case "image":
        return this.#onMessage(event, "[image]");
      case "member:joined":
      case "member:left":
      case "member:invited":
        return this.#onMember(event);
      case "text:delivered":
      case "message:delivered":
        raise(this.#delivered, event.from, Number(event.body?.event_id ?? 0));
        return false;
      case "text:seen":
      case "message:seen":
        raise(this.#delivered, event.from, Number(event.body?.event_id ?? 0));
        raise(this.#seen, event.from, Number(event.body?.event_id ?? 0));
        return false;
      case "event:delete":
        return this.#onDelete(Number(event.body?.event_id ?? 0));
      default:
        return false; // other types are for other applications
    }
  }

  #onMessage(event, text) {
    const mine = event.user?.id === this.me?.id;
    const shown = { kind: "message", sequence: event.sequence, text: event.deleted_ms ? "" : (text ?? ""), mine, deleted: Boolean(event.deleted_ms),
      author: nameOf(event.user), time: event.timestamp_ms, clientId: event.client_id };
    if (!mine) {
      this.lastForeign = event.sequence;
      this.typing.delete(nameOf(event.user));
    }
    const waiting = mine && event.client_id && this.messages.findIndex((m) => m.clientId === event.client_id && !m.placed);
    if (waiting !== false && waiting >= 0) this.messages.splice(waiting, 1);
    shown.placed = true;
    const after = this.messages.findIndex((m) => m.kind === "message" && !m.placed);
    if (after < 0) this.messages.push(shown);
    else this.messages.splice(after, 0, shown); // stored messages stand above those still on their way
    return true;
  }

  #onMember(event) {
    const user = event.body?.user ?? {};
    const member = event.from || user.member_id;
    const name = user.display_name || user.name || nameOf(event.user) || "someone";
    const joined = event.type === "member:joined";
    if (member) this.#members.set(member, { user: event.user ?? { id: user.id ?? user.user_id, name }, joined });
    const words = { "member:joined": "joined", "member:left": "left", "member:invited": "was invited" };
    this.messages.push({ kind: "note", sequence: event.sequence, text: `${name} ${words[event.type]}`, time: event.timestamp_ms });
    return false;
  }

  #onDelete(sequence) {
    const message = this.messages.find((m) => m.kind === "message" && m.sequence === sequence);
    if (message) Object.assign(message, { deleted: true, text: "" });
    return false;
  }
}

function nameOf(user) {
  return user?.display_name || user?.name || "administrator";
}

function raise(map, member, sequence) {
  if (member && sequence > (map.get(member) ?? 0)) map.set(member, sequence);
}

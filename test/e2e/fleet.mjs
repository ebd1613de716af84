// A cluster of real nodes, and load balancers in front of it.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { freePort, Parley, until } from "./node.mjs";

const HEALTHY_WITHIN_MS = 120_000;

// Fleet is some nodes of one cluster, each with an address of its own that survives a restart.
export class Fleet {
  nodes = [];

  static async start(count, env) {
    const fleet = new Fleet();
    fleet.credentials = `Basic ${Buffer.from(`${env.PARLEY_API_KEY}:${env.PARLEY_API_SECRET}`).toString("base64")}`;
    const gossip = `127.0.0.1:${await freePort()}`;
    for (let i = 0; i < count; i++) {
      const node = await Parley.make("serve", env);
      node.args.push("--gossip-addr", i === 0 ? gossip : `127.0.0.1:${await freePort()}`);
      await node.start(...(i === 0 ? [] : ["--join", gossip]));
      fleet.nodes.push(node);
    }
    await fleet.healthy();
    return fleet;
  }

  // healthy waits until all nodes are up and any one of three may fail.
  async healthy() {
    let last;
    await until(async () => {
      last = await this.#status();
      return last?.nodes.every((n) => n.state === "up" && n.live) && last.failures_tolerated >= 1 && last.leaderless_shards === 0;
    }, HEALTHY_WITHIN_MS, () => `the cluster is not healthy: ${JSON.stringify(last)}`);
  }

  async #status() {
    for (const node of this.nodes) {
      try {
        const answer = await fetch(`${node.url}/cluster/status`, { headers: { authorization: this.credentials } });
        if (answer.ok) return await answer.json();
      } catch {
        // The next one may be up.
      }
    }
  }

  remove() {
    return Promise.all(this.nodes.map((node) => node.remove()));
  }
}

// Front is a load balancer: a new connection goes to the first of its nodes that takes it.
export class Front {
  sockets = new Set();
  isCut = false;

  static async open(...nodes) {
    const front = new Front();
    front.nodes = nodes;
    front.server = createServer((client) => front.#join(client, [...front.nodes])).listen(0, "127.0.0.1");
    await once(front.server, "listening");
    front.url = `http://127.0.0.1:${front.server.address().port}`;
    return front;
  }

  // cut ends all connections, and refuses others until mend.
  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend() {
    this.isCut = false;
  }

  #join(client, [node, ...others]) {
    if (!node || this.isCut) return client.destroy();
    const upstream = connect(node.port, "127.0.0.1");
    let joined = false;
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    upstream.on("connect", () => {
      joined = true;
      this.sockets.add(client);
      client.pipe(upstream).pipe(client);
    });
    upstream.on("error", () => (joined || client.destroyed ? end() : this.#join(client, others)));
    upstream.on("close", () => joined && end());
    if (client.listenerCount("error") === 0) client.on("error", end);
    client.on("close", () => {
      this.sockets.delete(client);
      upstream.destroy();
    });
  }

  async close() {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await once(this.server, "close");
  }
}

// Starts, kills and restarts a real Parley process.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.PARLEY ?? new URL("../../bin/parley", import.meta.url).pathname;
const READY_WITHIN_MS = 60_000;

const given = new Set(); // ports that somebody has, or is about to take

// freePort gives a port that was free a moment ago, for a process that must come back on it. It is below those
// that Linux gives to whoever asks for any, and to the near end of connections.
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue; // somebody else has it
    }
    server.close();
    await once(server, "close");
    return port;
  }
}

export class Parley {
  output = "";

  // make prepares a node with its own directory and port. command is "serve" or "dev".
  static async make(command, env = {}) {
    const node = new Parley();
    node.dir = await mkdtemp(join(tmpdir(), "parley-e2e-"));
    node.port = await freePort();
    node.url = `http://127.0.0.1:${node.port}`;
    node.env = { ...process.env, HOME: node.dir, ...env };
    const any = "127.0.0.1:0";
    node.args = [command, "--data-dir", join(node.dir, "data"), "--http-addr", `127.0.0.1:${node.port}`,
      "--gossip-addr", any, "--rpc-addr", any, "--raft-addr", any];
    return node;
  }

  // start runs the process until it says that it is ready, and gives what it has printed.
  async start(...more) {
    this.process = spawn(BINARY, [...this.args, ...more], { env: this.env });
    const output = (data) => (this.output += data);
    this.process.stderr.on("data", output);
    let printed = "";
    this.process.stdout.on("data", (data) => {
      printed += data;
      output(data);
    });
    this.ended = once(this.process, "exit");
    await until(async () => {
      if (this.process.exitCode !== null) throw new Error(`parley ended: ${this.output}`);
      return (await status(`${this.url}/readyz`)) === 200 && /Ctrl-C|^}\n/m.test(printed);
    }, READY_WITHIN_MS, () => `parley is not ready: ${this.output}`);
    return printed;
  }

  // kill ends it as a power button would.
  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  // stop asks it to end, and gives its exit code.
  async stop() {
    this.process.kill("SIGTERM");
    const [code] = await this.ended;
    return code;
  }

  async remove() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }
}

async function status(url) {
  try {
    return (await fetch(url)).status;
  } catch {
    return 0;
  }
}

// until asks again and again, with a bound that only a broken program reaches.
export async function until(question, withinMs, complaint) {
  const end = Date.now() + withinMs;
  while (!(await question())) {
    if (Date.now() > end) throw new Error(complaint());
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

// A headless Chromium with a page of its own for each user.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PATH = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const SHOTS = new URL("./shots/", import.meta.url).pathname;

export class Browser {
  faults = []; // what no page may have: script errors, refused loads, requests to other hosts

  static async open() {
    const browser = new Browser();
    browser.profile = await mkdtemp(join(tmpdir(), "parley-chromium-"));
    browser.context = await chromium.launchPersistentContext(browser.profile, {
      executablePath: PATH, args: FLAGS, viewport: { width: 1180, height: 760 },
    });
    browser.context.setDefaultTimeout(30_000);
    browser.context.on("page", (page) => browser.#watch(page));
    await mkdir(SHOTS, { recursive: true });
    return browser;
  }

  async page(url) {
    const page = await this.context.newPage();
    await page.goto(url);
    return page;
  }

  shot(page, name) {
    return page.screenshot({ path: `${SHOTS}${name}.png` });
  }

  async close() {
    await this.context.close();
    await rm(this.profile, { recursive: true, force: true });
  }

  #watch(page) {
    page.on("pageerror", (error) => this.faults.push(`script error: ${error.message}`));
    page.on("console", (line) => {
      // A server that is away is part of the test; a refused load is not.
      if (line.type() === "error" && /Content.Security.Policy/i.test(line.text())) this.faults.push(line.text());
    });
    page.on("request", (request) => {
      const { hostname, protocol } = new URL(request.url());
      if (protocol.startsWith("http") && hostname !== "127.0.0.1") this.faults.push(`request to ${request.url()}`);
    });
  }
}

// Pane is one user's chat window on a page.
export class Pane {
  constructor(page, user) {
    this.root = page.locator(`.pane[data-user="${user}"]`);
    this.input = this.root.locator("textarea");
    this.state = this.root.locator(".state .text");
    this.typing = this.root.locator(".typing");
    this.notes = this.root.locator("li.note");
    this.network = this.root.locator(".network");
  }

  online() {
    return this.state.filter({ hasText: /^online$/ }).waitFor();
  }

  async send(text) {
    await this.input.fill(text);
    await this.input.press("Enter");
  }

  message(text) {
    return this.root.locator("li.message", { has: this.root.page().locator(".text", { hasText: new RegExp(`^${text}$`) }) });
  }

  // tick waits until an own message came that far: sent, delivered, read.
  tick(text, state) {
    return this.message(text).locator(`.tick.${state}`).waitFor();
  }

  texts() {
    return this.root.locator("li.message .text").allTextContents();
  }
}

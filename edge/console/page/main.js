// The demo page: finds out who chats, and opens one pane for each.

import { Pane } from "./pane.js";
import { Keyring } from "./keyring.js";
import { createDemo } from "./create.js";

const stage = document.getElementById("stage");
const keyring = new Keyring();

themeButton();
start().catch((error) => problem(error));

async function start() {
  const session = (await devSession()) ?? (await keyring.load());
  if (session) show(session);
  else welcome();
}

// devSession asks the server for ready users; only `parley dev` has them.
async function devSession() {
  const response = await fetch("/demo/session", { cache: "no-store" });
  if (response.status !== 200) return null;
  const session = await response.json();
  return {
    conversation: session.conversation_id,
    users: session.users.map((user) => ({
      name: user.name,
      token: async () => {
        const fresh = await (await fetch("/demo/session", { cache: "no-store" })).json();
        return fresh.users.find((u) => u.name === user.name).token;
      },
    })),
    made: "dev",
  };
}

// show opens the panes: all users, or the one that ?user= names.
function show(session) {
  stage.replaceChildren();
  const wanted = new URLSearchParams(location.search).get("user");
  const users = session.users.filter((u) => !wanted || u.name === wanted);
  if (users.length === 0) {
    problem(new Error(`There is no user ${wanted} here.`));
    return;
  }
  stage.dataset.panes = users.length;
  document.title = users.length === 1 ? `${users[0].name} · Parley demo` : "Parley demo";
  for (const user of users) {
    const pane = new Pane({ user, conversation: session.conversation, alone: users.length === 1 && session.users.length === 1 });
    stage.append(pane.element);
    pane.start();
  }
  document.getElementById("about").textContent = `Conversation ${session.conversation}`;
  const forget = document.getElementById("forget");
  forget.hidden = session.made !== "here";
  forget.onclick = async () => {
    await keyring.forget();
    location.reload();
  };
}

// welcome asks for what is needed to make or open a conversation.
function welcome() {
  const view = document.getElementById("welcome").content.cloneNode(true);
  const problemLine = view.querySelector(".problem");
  const run = (form, action) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      problemLine.textContent = "";
      try {
        show(await action(new FormData(form)));
      } catch (error) {
        problemLine.textContent = error.message;
        button.disabled = false;
      }
    };
  };
  run(view.querySelector(".create"), async (fields) => {
    const demo = await createDemo(fields.get("key").trim(), fields.get("secret").trim());
    return keyring.save(demo);
  });
  run(view.querySelector(".paste"), async (fields) => {
    const token = fields.get("token").trim();
    return { conversation: fields.get("conversation").trim(), users: [{ name: userOf(token), token: async () => token }], made: "pasted" };
  });
  stage.replaceChildren(view);
}

// userOf reads a token's user name, to be shown; the server is who checks the token.
function userOf(token) {
  let claims;
  try {
    const middle = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(middle), (c) => c.charCodeAt(0))));
  } catch {
    throw new Error("That is not a token: it has three parts with dots between them.");
  }
  if (!claims.sub) throw new Error("That is an administrator's token. A chat user's has sub=NAME.");
  return claims.sub;
}

function problem(error) {
  const line = document.createElement("p");
  line.className = "problem note";
  line.setAttribute("role", "alert");
  line.textContent = error.message;
  stage.replaceChildren(line);
}

function themeButton() {
  const root = document.documentElement;
  const kept = localStorage.getItem("parley-theme");
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("parley-theme", root.dataset.theme);
  };
}

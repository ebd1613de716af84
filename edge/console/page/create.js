// Makes a demo through the public API: an application, two users, one conversation with both.

import { adminClaims, importKey, signToken } from "./jwt.js";

const NAMES = ["alice", "bob"];
const ADMIN_LASTS_S = 300;

export async function createDemo(apiKey, apiSecret) {
  const basic = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${apiKey}:${apiSecret}`)))}`;
  const application = await call("/v2/applications", basic, { name: "Parley demo", capabilities: { rtc: { webhooks: {} } } });
  const key = await importKey(application.keys.private_key);
  const admin = `Bearer ${await signToken(key, adminClaims(application.id, ADMIN_LASTS_S))}`;
  const conversation = await call("/v1/conversations", admin, { name: "demo", display_name: "Demo" });
  const users = [];
  for (const name of NAMES) {
    const user = await call("/v1/users", admin, { name, display_name: name[0].toUpperCase() + name.slice(1) });
    await call(`/v1/conversations/${conversation.id}/members`, admin, { state: "joined", user: { id: user.id }, channel: { type: "app" } });
    users.push({ id: user.id, name });
  }
  return { application: application.id, key, conversation: conversation.id, users };
}

async function call(path, authorization, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      credentials: "omit", // a refusal must not open the browser's own login dialog
      headers: { Authorization: authorization, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) throw new Error("The server does not know this API key and secret.");
  throw new Error(answer.detail || answer.title || `The server answered ${response.status} to ${path}.`);
}

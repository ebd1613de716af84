// Signs tokens (RS256) with the browser's own cryptography.

const ALGORITHM = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const USER_PATHS = ["users", "conversations", "sessions", "devices", "image", "media", "applications", "push", "knocking", "legs"];

// importKey turns a private key (PEM, PKCS#8) into one that signs but cannot be exported.
export async function importKey(pem) {
  if (!crypto.subtle) throw new Error("This page can sign tokens only over https or on 127.0.0.1. Paste a token instead.");
  const base64 = pem.replace(/-----[^-]+-----/g, "").replace(/\s/g, "");
  const der = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}

export async function signToken(key, claims) {
  const now = Math.floor(Date.now() / 1000);
  const text = [{ typ: "JWT", alg: "RS256" }, { iat: now, jti: crypto.randomUUID(), ...claims }]
    .map((part) => base64url(new TextEncoder().encode(JSON.stringify(part))))
    .join(".");
  const signature = await crypto.subtle.sign(ALGORITHM.name, key, new TextEncoder().encode(text));
  return `${text}.${base64url(new Uint8Array(signature))}`;
}

// adminClaims may do everything in the application.
export function adminClaims(application, seconds) {
  return { application_id: application, exp: Math.floor(Date.now() / 1000) + seconds };
}

// userClaims are those of a chat user.
export function userClaims(application, name, seconds) {
  const paths = Object.fromEntries(USER_PATHS.map((p) => [`/*/${p}/**`, {}]));
  return { ...adminClaims(application, seconds), sub: name, acl: { paths } };
}

function base64url(bytes) {
  let text = "";
  for (const b of bytes) text += String.fromCharCode(b);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// Keeps the page's files, each checked by its hash, so that it opens offline; and marks the page as
// isolated, which lets WebAssembly use threads. No photo passes here.

importScripts("files.js"); // FILES: name → [bytes, hash]

const CACHE = "facevae-" + Object.values(FILES).reduce((sum, [, hash]) => (Math.imul(31, sum) + [...hash].reduce((code, letter) => (Math.imul(31, code) + letter.charCodeAt()) | 0, 0)) | 0, 0);
const SMALL = ["index.html", "files.js", ...Object.keys(FILES).filter((name) => /^(page|portraits)\//.test(name))];
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

async function kept(name) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(name);
  if (known) return known;
  const fresh = await fetch(name, { integrity: FILES[name]?.[1] || "", cache: "no-cache" });
  if (fresh.ok) await cache.put(name, fresh.clone());
  return fresh;
}

async function answered(name) {
  const { body, status, headers } = await kept(name);
  return new Response(body, { status, headers: { ...Object.fromEntries(headers), ...ISOLATED } });
}

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(Promise.all(SMALL.map(kept)));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith("facevae-") && name !== CACHE));
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { url, method } = event.request;
  const scope = self.registration.scope;
  if (method !== "GET" || !url.startsWith(scope)) return;
  const name = new URL(url).pathname.slice(new URL(scope).pathname.length) || "index.html";
  if (SMALL.includes(name) || name in FILES) event.respondWith(answered(name));
});

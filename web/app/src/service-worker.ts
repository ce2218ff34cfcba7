// Keeps the shell (page, script, style, wasm, icons) so that the app starts without a network. It never touches what
// the peer says to its server: messages live in the peer's own store.
/// <reference lib="webworker" />
declare const self: ServiceWorkerGlobalScope;
declare const VERSION: string; // names what the shell consists of; written by build/offline-shell.ts
declare const SHELL: string[];

const CACHE = `shell-${VERSION}`;

self.addEventListener('install', (event) => {
  // `reload`: past the HTTP cache, so that a new page is never kept with an old one's name.
  const requests = SHELL.map((path) => new Request(path, { cache: 'reload' }));
  const fill = async () => {
    const known = await caches.has(CACHE);
    try {
      await (await caches.open(CACHE)).addAll(requests);
    } catch (error) {
      // Nothing of it may pass for the shell that a tab still runs.
      if (!known) await caches.delete(CACHE);
      throw error;
    }
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener('activate', (event) => {
  const old = async () => {
    // The one before is kept for tabs that still run it: the server may not have its files any more.
    const shells = (await caches.keys()).filter((name) => name.startsWith('shell-') && name !== CACHE);
    for (const name of shells.slice(0, -1)) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(old());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (request.mode === 'navigate' && url.pathname === '/') event.respondWith(page(request));
  else if (url.pathname.startsWith('/assets/') || SHELL.includes(url.pathname))
    event.respondWith(kept(request));
});

// The newest page when the server answers soon, the kept one otherwise.
async function page(request: Request): Promise<Response> {
  const fromNetwork = fetch(request, { signal: AbortSignal.timeout(3000) });
  return fromNetwork.then((answer) => (answer.ok ? answer : kept(request))).catch(() => kept(request));
}

async function kept(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const wanted = request.mode === 'navigate' ? '/' : request;
  return (await cache.match(wanted)) ?? (await caches.match(wanted)) ?? fetch(request);
}

// What stands in front of a sotto-server in some networks: it serves the app's files itself, as any build of them, and
// passes the rest on. It can be cut, lack a file, and speak to the relay as a peer of another version would.

import { readdir, readFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { extname, join, relative } from 'node:path';
import { ROOT } from './programs.mjs';

const DIST = join(ROOT, 'web/app/dist');
const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** The app's files by address, as they were built. */
export async function built() {
  const entries = await readdir(DIST, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && !/\.(br|gz)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
  const files = await Promise.all(
    paths.map(async (path) => [`/${relative(DIST, path)}`, await readFile(path)]),
  );
  return new Map(files);
}

/** The same, as another version would be: the scripts have other names, and the page says which version it is. */
export function another(files, name) {
  const change = (text) =>
    text
      .replaceAll(/(index|offline)-([\w-]{8})\.js/g, `$1-$2-${name}.js`)
      .replace(/const VERSION = "/, `$&${name}-`)
      .replace('<head>', `<head><meta name="version" content="${name}">`);
  const isText = (path) => ['.html', '.js'].includes(extname(path));
  return new Map(
    [...files].map(([path, body]) => [change(path), isText(path) ? change(body.toString()) : body]),
  );
}

export class Front {
  /** By address. */
  files;
  /** Whether it answers for this address at all; otherwise the connection breaks. */
  reachable = () => true;
  /** Browsers that connect to the relay do so as of a version that no relay speaks. */
  otherVersion = false;
  url;
  #http;
  #server;
  #policy;

  /** Listens; with nothing behind it yet. */
  static async start() {
    const front = new Front();
    front.files = await built();
    front.#http = createServer((incoming, answer) => front.#answer(incoming, answer));
    front.#http.on('upgrade', (incoming, socket, head) => front.#upgrade(incoming, socket, head));
    await new Promise((resolve) => front.#http.listen(0, '127.0.0.1', resolve));
    front.url = `http://127.0.0.1:${front.#http.address().port}`;
    return front;
  }

  /** What it stands before: a server whose public address is this one's. */
  async before(server) {
    this.#server = `http://${server.address}`;
    const { headers } = await fetch(this.#server, { headers: { accept: 'text/html' } });
    this.#policy = headers.get('content-security-policy');
  }

  async close() {
    this.#http.close();
    this.#http.closeAllConnections();
  }

  #answer(incoming, answer) {
    const path = incoming.url === '/' ? '/index.html' : incoming.url;
    if (!this.reachable(path)) return incoming.socket.destroy();
    const file = this.files.get(path);
    if (file) {
      const type = TYPES[extname(path)] ?? 'application/octet-stream';
      const headers = { 'content-type': type, 'content-security-policy': this.#policy };
      // As sotto-server has it: what is named after its content is kept for ever.
      const caching = path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
      answer.writeHead(200, { ...headers, 'cache-control': caching }).end(file);
      return;
    }
    const { method, headers } = incoming;
    const passed = request(`${this.#server}${incoming.url}`, { method, headers });
    passed.on('response', (response) => {
      answer.writeHead(response.statusCode, response.headers);
      response.pipe(answer);
    });
    passed.on('error', () => incoming.socket.destroy());
    incoming.pipe(passed);
  }

  #upgrade(incoming, socket, head) {
    if (!this.reachable(incoming.url)) return socket.destroy();
    const { hostname, port } = new URL(this.#server);
    const passed = connect(Number(port), hostname);
    for (const [one, other] of [
      [socket, passed],
      [passed, socket],
    ]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    const lines = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${value}\r\n`);
    passed.write(`GET ${incoming.url} HTTP/1.1\r\n${lines.join('')}\r\n`);
    passed.write(head);
    passed.pipe(socket);
    const isBrowser = incoming.headers.origin !== undefined;
    if (this.otherVersion && isBrowser && incoming.url === '/v1/relay') socket.once('data', ofAnotherVersion);
    socket.pipe(passed);
  }
}

/** Makes version 1 version 2 in the client's first frame, `[0, {0: version, 1: token}]`, which a mask lies over. */
function ofAnotherVersion(frame) {
  const length = frame[1] & 0x7f;
  const start = 2 + (length === 126 ? 2 : 0) + 4;
  const mask = frame.subarray(start - 4, start);
  const version = 4; // after 82 00 a2 00
  if ((frame[start + version] ^ mask[version % 4]) !== 1) throw new Error('this is no version 1');
  frame[start + version] ^= 1 ^ 2;
}

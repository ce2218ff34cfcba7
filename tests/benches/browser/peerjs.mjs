// PeerJS as it comes from npm, with its own PeerServer, both on this machine. Nothing is asked of the internet: its
// default STUN and TURN servers are left out, which it does not need here and which would only cost it time.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ROOT } from '../../e2e/browser/harness/programs.mjs';

const web = createRequire(join(ROOT, 'web/package.json'));
const { PeerServer } = web('peer');
const PAGE =
  '<!doctype html><meta charset="utf-8"><title>PeerJS</title><p id="shown"></p><script src="/peerjs.js"></script>';

/** A PeerServer, and a site whose page has loaded PeerJS. */
export async function peerjs(ends) {
  const library = await readFile(join(web.resolve('peerjs/package.json'), '../dist/peerjs.min.js'));
  const site = createServer((request, response) => {
    const script = request.url === '/peerjs.js';
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script ? library : PAGE);
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  const broker = await new Promise((resolve) => PeerServer({ host: '127.0.0.1', port: 0 }, resolve));
  for (const server of [site, broker]) {
    ends.after(() => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    });
  }

  /** A fresh page of a fresh context, registered at the PeerServer under this name. */
  async function visit(browser, name) {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    await page.evaluate(
      ([name, port]) =>
        new Promise((resolve, reject) => {
          const config = { iceServers: [] };
          window.peer = new window.Peer(name, { host: '127.0.0.1', port, config });
          window.peer.on('open', resolve);
          window.peer.on('error', reject);
        }),
      [name, broker.address().port],
    );
    return page;
  }

  /** From `connect` to the text in the other page's document, in milliseconds. */
  return async function first(browser, round) {
    const [from, to] = [await visit(browser, `from${round}`), await visit(browser, `to${round}`)];
    await to.evaluate(() => {
      window.shown = new Promise((resolve) => {
        window.peer.on('connection', (connection) =>
          connection.on('data', (text) => {
            document.querySelector('#shown').textContent = text;
            resolve(performance.timeOrigin + performance.now());
          }),
        );
      });
    });
    const sent = await from.evaluate((to) => {
      const now = performance.timeOrigin + performance.now();
      const connection = window.peer.connect(to);
      connection.on('open', () => connection.send('hello'));
      return now;
    }, `to${round}`);
    const took = (await to.evaluate(() => window.shown)) - sent;
    await from.context().close();
    await to.context().close();
    return took;
  };
}

// A first message to somebody there is no link to, from page to page; beside PeerJS, which must build its link first.

import { signUp, stage, startChat } from '../../e2e/browser/harness/app.mjs';
import { until } from '../../e2e/browser/harness/until.mjs';
import { peerjs } from './peerjs.mjs';
import { median, medianRatio, ms, percent } from './report.mjs';

const TARGET = 0.5;

/** From the key press that sends to the text in the other page's document, in milliseconds. */
async function first(server, visit, round) {
  const [from, to] = [await visit(), await visit()];
  const text = `hello ${round}`;
  await signUp(from, `from${round}`);
  await signUp(to, `to${round}`);
  await startChat(from, `to${round}`);
  await online(server);
  await from.fill('#composer', text);
  // Clocks of two pages of one browser: `timeOrigin` is the same clock's in both.
  await from.evaluate(() => {
    window.sent = new Promise((resolve) => {
      const pressed = ({ key, timeStamp }) => key === 'Enter' && resolve(performance.timeOrigin + timeStamp);
      addEventListener('keydown', pressed, { capture: true });
    });
  });
  await to.evaluate((text) => {
    window.shown = new Promise((resolve) => {
      const look = () => {
        if (document.querySelector('.chat-row-last')?.textContent === text)
          resolve(performance.timeOrigin + performance.now());
      };
      new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
    });
  }, text);
  await from.keyboard.press('Enter');
  const took = (await to.evaluate(() => window.shown)) - (await from.evaluate(() => window.sent));
  await from.context().close();
  await to.context().close();
  return took;
}

/** Both of its sockets, for each of two pages: the server counts them. */
const online = (server) =>
  until('both pages are online', async () => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return ['signaling', 'relay'].every((part) => new RegExp(`^sotto_${part}_sockets 2$`, 'm').test(metrics));
  });

export async function measure(ends, rounds) {
  const { server, visit, browser } = await stage(ends);
  const theirs = await peerjs(ends);
  const [ours, peer] = [[], []];
  // The first round warms both up.
  for (let round = 0; round <= rounds; round += 1) {
    const times = [await first(server, visit, round), await theirs(browser, round)];
    console.error(`first-message-page ${round}/${rounds}: ours ${ms(times[0])}, PeerJS ${ms(times[1])}`);
    if (round === 0) continue;
    ours.push(times[0]);
    peer.push(times[1]);
  }
  const ratio = medianRatio(ours, peer);
  return [
    {
      what: 'first message, pages',
      ours: ms(median(ours)),
      peer: ms(median(peer)),
      ratio: percent(ratio),
      target: `<= ${percent(TARGET)} of PeerJS`,
      met: ratio <= TARGET,
      note:
        `Between two pages of fresh browser contexts that never spoke, ${rounds} rounds each. Ours: two apps, signed up and ` +
        'online, one with the chat open; from the key press that sends, as a request, by way of the relay, to the text ' +
        "in the other's chat list. It is on three disks then: the sender's, the relay's, the receiver's. PeerJS 1.5.5: both registered at a PeerServer on this machine, no STUN or " +
        "TURN server; from connect() and send() on open to the text in the other's document.",
    },
  ];
}

// The SDK in real Chromium against a real server.

import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { selfSigned } from './harness/certificate.mjs';
import { Native } from './harness/native.mjs';
import { Server } from './harness/server.mjs';
import { until } from './harness/until.mjs';
import { blankPage, call, NEWER, openTab, raise, texts } from './sdk-stage.mjs';

let stage;
before(async () => {
  stage = await raise();
});
after(() => stage?.close());

/** Two people who have accepted each other, and their conversation. */
async function pair(one, other) {
  const [alice, bob] = await Promise.all([stage.person(), stage.person()]);
  const [a, b] = await Promise.all([alice.tab(), bob.tab()]);
  await Promise.all([call(a, 'signUp', { handle: one }), call(b, 'signUp', { handle: other })]);
  const conversation = await call(a, 'direct', other);
  await call(a, 'send', conversation, 'hello');
  await until('the request', async () => (await call(b, 'conversations')).length === 1);
  await call(b, 'accept', conversation);
  return { alice, bob, a, b, conversation };
}

const isDirect = async (page) => {
  const { links } = await call(page, 'status');
  return links.some(({ path, state }) => path === 'direct' && state === 'valid');
};

test('two browsers sign up and chat directly, both ways', async () => {
  const { alice, bob, a, b, conversation } = await pair('ann', 'ben');
  await until('a direct link', async () => (await isDirect(a)) && (await isDirect(b)));
  for (let i = 0; i < 20; i += 1) {
    await call(a, 'send', conversation, `a${i}`);
    await call(b, 'send', conversation, `b${i}`);
  }
  const [atA, atB] = await until('all of it', async () => {
    const both = await Promise.all([texts(a, conversation), texts(b, conversation)]);
    return (
      both.every((list) => list.length === 41) && JSON.stringify(both[0]) === JSON.stringify(both[1]) && both
    );
  });
  assert.deepEqual(atA, atB);
  assert.deepEqual(
    atA.filter((line) => line.startsWith('ben')),
    Array.from({ length: 20 }, (_, i) => `ben: b${i}`),
  );
  await alice.context.close();
  await bob.context.close();
});

test('a browser and a terminal chat directly, both ways', async () => {
  const person = await stage.person();
  const [page, native] = await Promise.all([person.tab(), Native.signUp(stage.folder, 'una', stage.server)]);
  await call(page, 'signUp', { handle: 'vic' });
  const { conversation } = await native.call('direct', { handle: 'vic' });
  await native.call('send', { conversation, text: 'from a terminal' });
  await until('the request', async () => (await call(page, 'conversations')).length === 1);
  await call(page, 'accept', conversation);
  await until('a direct link', () => isDirect(page));
  // Nothing of what follows is in the relay's log when it arrives.
  await call(page, 'setPathPolicy', 'direct');
  await native.call('path.policy', { mode: 'direct' });
  for (let i = 0; i < 10; i += 1) {
    await call(page, 'send', conversation, `b${i}`);
    await native.call('send', { conversation, text: `t${i}` });
  }
  const here = await until('all of it', async () => {
    const list = await texts(page, conversation);
    return list.length === 21 && list;
  });
  const there = await until('all of it, there', async () => {
    const { messages } = await native.call('history', { conversation, limit: 100 });
    return messages.length === 21 && messages.map(({ from, text }) => `${from}: ${text}`);
  });
  assert.deepEqual(here, there);
  await native.close();
  await person.context.close();
});

test('the echo of the examples answers', async () => {
  const [bot, person] = await Promise.all([stage.person(), stage.person()]);
  const echo = await bot.context.newPage();
  await echo.goto(`${stage.pages.origin}/examples/echo.html?server=${stage.server.url}`);
  await echo.click('button');
  await echo.getByText('I am @echo').waitFor();
  const page = await person.tab();
  await call(page, 'signUp', { handle: 'wes' });
  const conversation = await call(page, 'direct', 'echo');
  await call(page, 'send', conversation, 'anybody there?');
  await until('an echo', async () => (await texts(page, conversation)).includes('echo: anybody there?'));
  await bot.context.close();
  await person.context.close();
});

test('the second tab follows: it reads, sends and hears everything', async () => {
  const { alice, bob, a, b, conversation } = await pair('cat', 'dan');
  const second = await alice.tab();
  assert.equal(await second.evaluate(() => window.sotto.identity.handle), 'cat');
  assert.match(await call(second, 'send', conversation, 'from the second tab'), /\/2$/);
  await until('it at the other', async () =>
    (await texts(b, conversation)).includes('cat: from the second tab'),
  );
  await call(b, 'send', conversation, 'to both');
  for (const page of [a, second]) {
    await page.waitForFunction(() =>
      window.seen.some(({ type, value }) => type === 'message' && value.text === 'to both'),
    );
  }
  assert.equal((await call(second, 'send', conversation, '')).kind, 'invalid-params');
  await alice.context.close();
  await bob.context.close();
});

/** Sends a burst from a tab, noting which sends were answered and how. */
const burst = (page, conversation, count) =>
  page.evaluate(
    ([conversation, count]) => {
      window.outcome = [];
      window.burst = (async () => {
        for (let i = 0; i < count; i += 1) {
          await window.sotto.send(conversation, `m${i}`).then(
            () => window.outcome.push([i, 'sent']),
            (error) => window.outcome.push([i, error.kind]),
          );
        }
        return window.outcome;
      })();
    },
    [conversation, count],
  );

/** What was answered arrived once and in order; of what was not, at most once. */
function judge(outcome, arrived) {
  const numbers = arrived.filter((line) => /: m\d+$/.test(line)).map((line) => Number(/\d+$/.exec(line)[0]));
  assert.deepEqual(
    numbers,
    [...new Set(numbers)].sort((x, y) => x - y),
    'each once, in order',
  );
  for (const [i, how] of outcome) {
    assert.ok(how === 'sent' || how === 'unanswered', `m${i}: ${how}`);
    if (how === 'sent') assert.ok(numbers.includes(i), `m${i} was answered and is not there`);
  }
}

test('the leading tab closes in a burst: another takes over, and each message is there once', async () => {
  const { alice, bob, a, b, conversation } = await pair('eve', 'fay');
  const second = await alice.tab();
  await burst(second, conversation, 200);
  await second.waitForFunction(() => window.outcome.length > 50);
  await a.close();
  const outcome = await second.evaluate(() => window.burst);
  assert.equal(outcome.length, 200);
  assert.ok(outcome.filter(([, how]) => how === 'unanswered').length <= 1);
  const sent = outcome.filter(([, how]) => how === 'sent').length;
  const arrived = await until('all of it', async () => {
    const list = await texts(b, conversation);
    return list.length > sent && list.includes('eve: m199') && list;
  });
  judge(outcome, arrived);
  assert.deepEqual(await texts(second, conversation), arrived);
  const states = await second.evaluate(() =>
    window.seen.filter(({ type }) => type === 'tab').map(({ value }) => value.state),
  );
  assert.deepEqual(states.slice(-2), ['taking-over', 'leading']);
  await alice.context.close();
  await bob.context.close();
});

test('a frozen leader is replaced, and writes nothing when it wakes', async () => {
  const { alice, bob, a, b, conversation } = await pair('gus', 'hal');
  const second = await alice.tab();
  await burst(second, conversation, 100);
  await second.waitForFunction(() => window.outcome.length > 20);
  const frozen = a.workers()[0].evaluate(() => {
    const wake = performance.now() + 14_000;
    while (performance.now() < wake);
  });
  const early = call(a, 'send', conversation, 'asked of the frozen one');
  const began = Date.now();
  const outcome = await second.evaluate(() => window.burst);
  assert.equal(outcome.length, 100);
  assert.ok(Date.now() - began < 13_000, 'before the old leader woke');
  await frozen;
  const { kind } = await early;
  await a.waitForFunction(() =>
    window.seen.some(({ type, value }) => type === 'tab' && value.state === 'following'),
  );
  await call(a, 'send', conversation, 'the old leader follows');
  const arrived = await until('all of it', async () => {
    const list = await texts(b, conversation);
    return list.includes('gus: the old leader follows') && list.includes('gus: m99') && list;
  });
  judge(outcome, arrived);
  const times = arrived.filter((line) => line === 'gus: asked of the frozen one').length;
  assert.ok(
    kind === undefined ? times === 1 : kind === 'unanswered' && times <= 1,
    `${kind}, ${times} times`,
  );
  assert.deepEqual(await texts(second, conversation), arrived);
  assert.deepEqual(await texts(a, conversation), arrived);
  await alice.context.close();
  await bob.context.close();
});

test('of two that lead a store only the later can write, in whatever order they try', async () => {
  const { context } = await stage.person();
  const page = await blankPage(context, stage.pages.origin);
  const outcome = await page.evaluate(async () => {
    const { Store, Fenced } = await import('/store.js');
    const write = (store, value) =>
      store.write({ puts: [['meta', Uint8Array.of(1), Uint8Array.of(value)]], deletes: [], ranges: [] }).then(
        () => 'written',
        (error) => (error instanceof Fenced ? 'fenced' : String(error)),
      );
    const [old, next] = [await Store.open('fence'), await Store.open('fence')];
    await old.lead();
    const before = await write(old, 1);
    const taking = next.lead();
    // Asked for before and after the other leads for certain.
    const racing = [write(old, 2), write(old, 3)];
    await taking;
    const after = [await write(next, 4), await write(old, 5), await write(next, 6), await write(old, 7)];
    const [[, , value]] = await next.hot();
    return { before, raced: await Promise.all(racing), after, value: value[0] };
  });
  assert.deepEqual(outcome, {
    before: 'written',
    raced: ['fenced', 'fenced'],
    after: ['written', 'fenced', 'written', 'fenced'],
    value: 6,
  });
  await context.close();
});

test('a leader that fell asleep within a transaction was replaced, when the browser gives up on that', async () => {
  const { context } = await stage.person();
  const [sleeper, page] = [
    await blankPage(context, stage.pages.origin),
    await blankPage(context, stage.pages.origin),
  ];
  const asleep = new Promise((resolve) => sleeper.once('dialog', resolve));
  const outcome = sleeper.evaluate(async () => {
    const { Store, Fenced } = await import('/store.js');
    const store = await Store.open('sleeper');
    await store.lead();
    // A page in a dialog runs nothing.
    IDBTransaction.prototype.commit = () => alert('asleep');
    const puts = [['meta', Uint8Array.of(1), Uint8Array.of(1)]];
    return store.write({ puts, deletes: [], ranges: [] }).then(
      () => 'written',
      (error) => (error instanceof Fenced ? 'fenced' : String(error)),
    );
  });
  const dialog = await asleep;
  // Chromium waits a minute for it.
  const rows = await page.evaluate(async () => {
    const { Store } = await import('/store.js');
    const store = await Store.open('sleeper');
    await store.lead();
    return store.hot();
  });
  assert.deepEqual(rows, []);
  await dialog.accept();
  assert.equal(await outcome, 'fenced');
  await context.close();
});

test('ranges are read in both directions and deleted before rows are put', async () => {
  const { context } = await stage.person();
  const page = await blankPage(context, stage.pages.origin);
  const outcome = await page.evaluate(async () => {
    const { Store } = await import('/store.js');
    const store = await Store.open('ranges');
    await store.lead();
    const key = (...bytes) => Uint8Array.of(...bytes);
    const row = (...bytes) => ['history', key(...bytes), key(...bytes)];
    const none = { puts: [], deletes: [], ranges: [] };
    await store.write({ ...none, puts: [row(1), row(1, 0), row(2), row(2, 255), row(3)] });
    const load = async (from, to, limit, descending) =>
      (await store.load({ table: 'history', from: key(...from), to: key(...to), limit, descending })).map(
        ([k]) => [...k],
      );
    const up = await load([1, 0], [3], 2, false);
    const down = await load([1], [3], 2, true);
    const empty = await load([3], [3], 2, true);
    await store.write({
      puts: [row(2)],
      deletes: [['history', key(1)]],
      ranges: [['history', key(1, 0), key(3)]],
    });
    return { up, down, empty, left: await load([0], [9], 9, false) };
  });
  assert.deepEqual(outcome, { up: [[1, 0], [2]], down: [[2, 255], [2]], empty: [], left: [[2], [3]] });
  await context.close();
});

test('a profile that a newer version wrote is refused with a typed error, and left alone', async () => {
  const { context } = await stage.person();
  const page = await blankPage(context, stage.pages.origin);
  const kind = await page.evaluate(async () => {
    await new Promise((resolve) => {
      indexedDB.open('sotto', 99).onsuccess = ({ target }) => resolve(target.result.close());
    });
    return window.sdk.Sotto.open().catch((error) => error.kind);
  });
  assert.equal(kind, 'storage-newer');
  await context.close();
});

test('an older version in another window makes room for a newer one, and says so', async () => {
  const person = await stage.person();
  const page = await person.tab();
  const newer = await blankPage(person.context, stage.pages.origin);
  await newer.evaluate(
    () =>
      new Promise(
        (resolve) => (indexedDB.open('sotto', 99).onsuccess = ({ target }) => resolve(target.result.close())),
      ),
  );
  await page.waitForFunction(() => window.seen.some(({ type }) => type === 'ended'));
  const { value } = await page.evaluate(() => window.seen.find(({ type }) => type === 'ended'));
  assert.equal(value.kind, 'storage-newer');
  assert.equal((await call(page, 'conversations')).kind, 'storage-newer');
  await person.context.close();
});

test('of two windows of different versions the newer one works, whichever came first, and the older one is told', async () => {
  const { alice, bob, a, b, conversation } = await pair('sam', 'tom');
  const newer = () => openTab(alice.context, `${stage.pages.origin}${NEWER}/`, stage.server.url);
  const second = await newer();
  await a.waitForFunction(() => window.seen.some(({ type }) => type === 'ended'));
  assert.equal((await call(a, 'status')).kind, 'storage-newer');
  assert.match(await call(second, 'send', conversation, 'from the newer one'), /\/2$/);

  const older = await blankPage(alice.context, stage.pages.origin);
  const kind = await older.evaluate(
    (server) =>
      window.sdk.Sotto.open({ server }).then(
        () => 'opened',
        (error) => error.kind,
      ),
    stage.server.url,
  );
  assert.equal(kind, 'storage-newer');
  await call(second, 'send', conversation, 'still the newer one');
  const arrived = await until('all of it', async () => {
    const list = await texts(b, conversation);
    return list.length === 3 && list;
  });
  assert.deepEqual(await texts(second, conversation), arrived);
  await alice.context.close();
  await bob.context.close();
});

test('a database that another tab keeps locked is a typed error', async () => {
  const { context } = await stage.person();
  const [holder, page] = [
    await blankPage(context, stage.pages.origin),
    await blankPage(context, stage.pages.origin),
  ];
  await holder.evaluate(
    () =>
      new Promise((resolve) => {
        indexedDB.open('sotto', 1).onsuccess = ({ target }) => {
          window.held = target.result;
          indexedDB.deleteDatabase('sotto').onblocked = resolve;
        };
      }),
  );
  assert.equal(
    await page.evaluate(() => window.sdk.Sotto.open().catch((error) => error.kind)),
    'storage-blocked',
  );
  await context.close();
});

test('a database cleared under the page ends the peer with a typed error', async () => {
  const person = await stage.person();
  const page = await person.tab();
  await call(page, 'signUp', { handle: 'ivy' });
  const follower = await person.tab();
  await page.evaluate(() => void indexedDB.deleteDatabase('sotto'));
  for (const tab of [page, follower]) {
    await tab.waitForFunction(() => window.seen.some(({ type }) => type === 'ended'));
    const { value } = await tab.evaluate(() => window.seen.find(({ type }) => type === 'ended'));
    assert.equal(value.kind, 'storage-closed');
  }
  await person.context.close();
});

test('a full disk ends the peer with a typed error, and nothing that was answered is lost', async () => {
  const { alice, bob, a, b, conversation } = await pair('pam', 'quo');
  const quota = await alice.context.newCDPSession(a);
  await quota.send('Storage.overrideQuotaForOrigin', { origin: stage.pages.origin, quotaSize: 1 });
  const big = 'x'.repeat(30_000);
  const outcome = [];
  while (!outcome.some(({ kind }) => kind)) outcome.push(await call(a, 'send', conversation, big));
  assert.equal(outcome.at(-1).kind, 'storage-full');
  await quota.send('Storage.overrideQuotaForOrigin', { origin: stage.pages.origin });
  const again = await alice.tab();
  await call(again, 'send', conversation, 'there is room again');
  const arrived = await until('all of it', async () => {
    const list = await texts(b, conversation);
    return list.includes('pam: there is room again') && list;
  });
  assert.equal(arrived.length, outcome.length + 1);
  await alice.context.close();
  await bob.context.close();
});

test('errors are typed: no account, a taken handle, no server', async () => {
  const [one, other] = await Promise.all([stage.person(), stage.person()]);
  const page = await one.tab();
  assert.equal((await call(page, 'conversations')).kind, 'not-signed-up');
  assert.equal((await call(page, 'signUp', { handle: 'no spaces' })).kind, 'invalid-params');
  assert.equal((await call(page, 'signUp', { handle: 'jan' })).handle, 'jan');
  assert.equal((await call(page, 'signUp', { handle: 'jan' })).kind, 'signed-up');
  assert.equal((await call(page, 'direct', 'nobody-here')).kind, 'not-found');
  const taken = await other.tab();
  assert.equal((await call(taken, 'signUp', { handle: 'jan' })).kind, 'refused');
  assert.equal((await call(taken, 'signUp', { handle: 'jana' })).handle, 'jana');
  const stranded = await openTab(one.context, stage.pages.origin, 'http://127.0.0.1:9', { profile: 'other' });
  assert.equal((await call(stranded, 'signUp', { handle: 'kim' })).kind, 'offline');
  const elsewhere = stage.pages.origin.replace('127.0.0.1', 'localhost');
  const foreign = await openTab(one.context, elsewhere, stage.server.url);
  const refused = await call(foreign, 'signUp', { handle: 'kim' });
  assert.equal(refused.kind, 'offline');
  assert.match(refused.message, /refuses this page's origin.*cors_origins/);
  await one.context.close();
  await other.context.close();
});

test('a server whose certificate is not valid is told apart from one that refuses the page', async (t) => {
  const folder = await mkdtemp(join(stage.folder, 'tls-'));
  const { settings } = await selfSigned(folder);
  const server = await Server.start(folder, settings);
  t.after(() => server.close());
  const person = await stage.person();
  const page = await openTab(person.context, stage.pages.origin, server.url);
  const { kind, message } = await call(page, 'signUp', { handle: 'kit' });
  assert.equal(kind, 'offline');
  assert.match(message, /certificate is not valid: open it in a tab/);
  assert.doesNotMatch(message, /origin/);
  await person.context.close();
});

for (const [name, handle, strike] of [
  [
    'that crashes',
    'liv',
    () =>
      void setTimeout(() => {
        throw new Error('crash');
      }),
  ],
  ['whose promise breaks', 'lou', () => void setTimeout(() => Promise.reject(new Error('crash')))],
]) {
  test(`a worker ${name} ends the peer, and opening it again goes on`, async () => {
    const person = await stage.person();
    const page = await person.tab();
    await call(page, 'signUp', { handle });
    await page.workers()[0].evaluate(strike);
    await page.waitForFunction(() => window.seen.some(({ type }) => type === 'ended'));
    const { kind, message } = await call(page, 'status');
    assert.equal(kind, 'internal-error');
    assert.match(message, /crash/);
    const again = await person.tab();
    assert.equal(await again.evaluate(() => window.sotto.identity.handle), handle);
    await person.context.close();
  });
}

test('a tab whose page hangs lets another lead, and follows when it goes on', async () => {
  const { alice, bob, a, b, conversation } = await pair('pia', 'rob');
  const alone = new Promise((resolve) => a.once('dialog', resolve));
  // A page in a dialog runs nothing; its worker does.
  await a.evaluate(() => void setTimeout(() => alert('wait for me')));
  const dialog = await alone;
  const second = await alice.tab();
  const states = (page) =>
    page.evaluate(() => window.seen.filter(({ type }) => type === 'tab').map(({ value }) => value.state));
  await until('the second tab leads', async () => (await states(second)).at(-1) === 'leading');
  await until('a direct link', () => isDirect(second));
  await call(second, 'send', conversation, 'while the other one hangs');
  await dialog.accept();
  await until('the first tab follows', async () => (await states(a)).at(-1) === 'following');
  await call(a, 'send', conversation, 'and goes on');
  await until('all of it', async () => (await texts(b, conversation)).length === 3);
  assert.deepEqual(await texts(a, conversation), await texts(b, conversation));
  await alice.context.close();
  await bob.context.close();
});

test('a call gives up waiting when its signal aborts, and listeners go with theirs', async () => {
  const person = await stage.person();
  const page = await person.tab();
  const outcome = await page.evaluate(async () => {
    const stop = new AbortController();
    let heard = 0;
    window.sotto.on('identity', () => heard++, { signal: stop.signal });
    stop.abort();
    const late = await window.sotto.status({ signal: stop.signal }).catch((error) => error.name);
    await window.sotto.signUp({ handle: 'mia' });
    return { late, heard };
  });
  assert.deepEqual(outcome, { late: 'AbortError', heard: 0 });
  await call(page, 'close');
  assert.equal((await call(page, 'status')).kind, 'ended');
  await person.context.close();
});

test('the server is killed in a burst: everything arrives once it is back', async () => {
  const { alice, bob, a, b, conversation } = await pair('ned', 'oda');
  await call(b, 'setPathPolicy', 'relay');
  await call(a, 'setPathPolicy', 'relay');
  await burst(a, conversation, 100);
  await a.waitForFunction(() => window.outcome.length > 20);
  await stage.server.kill();
  const outcome = await a.evaluate(() => window.burst);
  assert.ok(outcome.every(([, how]) => how === 'sent'));
  await stage.server.restart();
  const arrived = await until('all of it', async () => {
    const list = await texts(b, conversation);
    return list.length === 101 && list;
  });
  judge(outcome, arrived);
  await alice.context.close();
  await bob.context.close();
});

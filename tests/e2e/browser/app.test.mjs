// The app, as somebody uses it who has a keyboard, a screen reader, bad intentions or ten thousand messages.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axe, DESKTOP, lastIs, PHONE, say, shown, signUp, stage, startChat } from './harness/app.mjs';
import { Native } from './harness/native.mjs';
import { texts } from './harness/peer.mjs';
import { until } from './harness/until.mjs';

/** What is said of whatever has the focus; nothing if nothing has it. */
const focused = (page) =>
  page.evaluate(() => {
    const { activeElement: element, body } = document;
    return element === body ? '' : (element.getAttribute('aria-label') ?? element.textContent);
  });

/** Presses Tab until what has the focus says this. */
async function tabTo(page, words) {
  for (let steps = 0; steps < 40; steps += 1) {
    if ((await focused(page)).includes(words)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab never reaches '${words}'`);
}

test('two people sign up, find each other, write and see how far it got, by keyboard alone', async (t) => {
  const { visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  for (const [page, handle] of [
    [alice, 'alice'],
    [bob, 'bob'],
  ]) {
    await page.keyboard.type(handle); // the field has the focus
    await page.keyboard.press('Enter');
    await page.waitForSelector('.sidebar');
  }
  await tabTo(alice, 'New chat');
  await alice.keyboard.press('Enter');
  await alice.keyboard.type('bob');
  await alice.keyboard.press('Enter');
  await alice.waitForSelector('#composer:focus');
  await alice.keyboard.type('first line');
  await alice.keyboard.press('Shift+Enter');
  await alice.keyboard.type('second line');
  await alice.keyboard.press('Enter');

  await bob.waitForSelector('.chat-row');
  await tabTo(bob, 'alice');
  await bob.keyboard.press('Enter');
  await tabTo(bob, 'Accept');
  await bob.keyboard.press('Enter');
  await lastIs(bob, 'first line\nsecond line');
  await alice.waitForSelector('.row .marks.is-read');

  await tabTo(alice, 'show the path');
  await alice.keyboard.press('Enter');
  await alice.waitForSelector('.paths .facts');
  await alice.keyboard.press('Escape');
  assert.match(await focused(alice), /show the path/, 'the focus is back where it was');
  await alice.keyboard.press('Control+,');
  await tabTo(alice, 'Close');
  await alice.keyboard.press('Enter');
  await alice.keyboard.press('Escape');
  await until('the chat is left for its line in the list', async () =>
    (await focused(alice)).includes('first line'),
  );
  assert.deepEqual([...alice.complaints, ...bob.complaints], []);
});

test('axe finds nothing on any screen, in both themes and widths', async (t) => {
  const { visit } = await stage(t);
  const peer = await visit();
  await signUp(peer, 'peer');
  let number = 0;
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [PHONE, DESKTOP]) {
      number += 1;
      const page = await visit({ colorScheme, viewport });
      const found = async (screen) =>
        assert.deepEqual(await axe(page), [], `${screen}, ${colorScheme}, ${viewport.width} px`);
      await found('sign-up');
      await page.keyboard.press('Enter');
      await found('sign-up that complains');
      await signUp(page, `person${number}`);
      await found('no chats');
      await startChat(page, 'peer');
      await found('empty chat');
      await say(page, 'hello');
      await lastIs(page, 'hello');
      await found('chat');
      for (const keys of ['Control+k', 'Control+,']) {
        await page.keyboard.press(keys);
        await page.waitForSelector('dialog[open]');
        await found(keys);
        await page.keyboard.press('Escape');
      }
      await page.click('.reach-button');
      await found('path');
      await page.keyboard.press('Escape');
      await page.keyboard.press('Escape');
      await page.waitForSelector('.empty-pane', { state: viewport === PHONE ? 'hidden' : 'visible' });
      await found('list');
      assert.deepEqual(page.complaints, []);
    }
  }
});

test('text is text, only spaces is nothing, and too much is said to be', async (t) => {
  const { visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  await signUp(alice, 'alice');
  await signUp(bob, 'bob');
  await startChat(alice, 'bob');
  const script = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await say(alice, script);
  await lastIs(alice, script);
  await say(alice, ' \n ');
  await say(alice, 'x'.repeat(65_536));
  assert.match(await alice.textContent('.composer [role=alert]'), /Too long by 32,768 bytes.*Shorten/);
  assert.deepEqual(await shown(alice), [script]);
  await bob.click('.chat-row');
  await lastIs(bob, script);
  assert.equal(await bob.$('.row img, .row script'), null);

  await alice.click('[aria-label="New group"]');
  await alice.fill('#group-name', 'Bo\u200bok\u2060 club');
  await alice.fill('#group-members', 'bob');
  await alice.click('.dialog-buttons .is-primary');
  await alice.waitForFunction(() => document.querySelector('.chat-head bdi')?.textContent === 'Book club');
  assert.deepEqual([...alice.complaints, ...bob.complaints], []);
});

test('what is pasted is its text, and a paste that is too long says by how much', async (t) => {
  const { visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  await signUp(alice, 'alice');
  await signUp(bob, 'bob');
  await startChat(alice, 'bob');
  await alice.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const paste = async (kinds) => {
    await alice.evaluate((kinds) => {
      const blobs = Object.entries(kinds).map(([type, text]) => [type, new Blob([text], { type })]);
      return navigator.clipboard.write([new ClipboardItem(Object.fromEntries(blobs))]);
    }, kinds);
    await alice.focus('#composer');
    await alice.keyboard.press('Control+v');
  };
  await paste({ 'text/html': '<h1>bold</h1>', 'text/plain': 'bold' });
  assert.equal(await alice.inputValue('#composer'), 'bold');
  await alice.keyboard.press('Enter');
  await lastIs(alice, 'bold');
  // What looks like markup stays what it looks like.
  const html = '<b onclick="alert(1)">bold</b><img src=x onerror="alert(2)">';
  await paste({ 'text/plain': html });
  await alice.keyboard.press('Enter');
  await lastIs(alice, html);
  assert.equal(await alice.$('.row b, .row img'), null);

  await paste({ 'text/plain': 'é'.repeat(32_768) });
  assert.match(await alice.textContent('.composer [role=alert]'), /Too long by 32,768 bytes/);
  await alice.keyboard.press('Enter');
  assert.equal((await alice.inputValue('#composer')).length, 32_768, 'nothing is cut off or sent');
  await alice.fill('#composer', 'é'.repeat(16_384));
  await alice.keyboard.press('Enter');
  await lastIs(alice, 'é'.repeat(16_384));
  assert.deepEqual(alice.complaints, []);
});

test('a name or a text that turns the direction of writing turns nothing but itself', async (t) => {
  const { folder, server, visit } = await stage(t);
  const alice = await visit();
  await signUp(alice, 'alice');
  const bob = await Native.signUp(folder, 'bob', server);
  t.after(() => bob.close());
  const name = '\u202e\u2067\u200bsdneirF\ufeff';
  const { conversation } = await bob.call('group.create', { name, members: ['alice'] });
  await bob.call('send', { conversation, text: '\u202edesrever \u200b' });
  await alice.waitForSelector('.chat-row');
  assert.equal(await alice.textContent('.chat-row .name'), 'sdneirF');
  await alice.click('.chat-row');
  await alice.waitForSelector('.row .text');
  assert.equal(await alice.textContent('.chat-head bdi'), 'sdneirF');
  // A text is what its author wrote, and keeps its direction to itself.
  assert.equal(await alice.textContent('.row .text'), '\u202edesrever \u200b');
  const isolation = await alice.$eval('.row .text', (text) => getComputedStyle(text).unicodeBidi);
  assert.match(isolation, /isolate|plaintext/);
  assert.deepEqual(alice.complaints, []);
});

test('somebody is added to a group: they see what is said from then on, and everybody sees them', async (t) => {
  const { visit } = await stage(t);
  const [alice, bob, carol] = [await visit(), await visit(), await visit()];
  await signUp(alice, 'alice');
  await signUp(bob, 'bob');
  await signUp(carol, 'carol');
  await alice.click('[aria-label="New group"]');
  await alice.fill('#group-name', 'Book club');
  await alice.fill('#group-members', 'bob');
  await alice.click('.dialog-buttons .is-primary');
  await alice.waitForSelector('#composer');
  await say(alice, 'before carol');
  await lastIs(alice, 'before carol');

  await alice.click('[aria-label^="Members and settings"]');
  const members = (page) => page.$$eval('.people .name', (names) => names.map((name) => name.textContent));
  await alice.fill('#add', 'nobody-here');
  await alice.keyboard.press('Enter');
  await alice.waitForSelector('.field:has(#add) [role=alert]:has-text("nobody")');
  await alice.fill('#add', '@Carol');
  await alice.keyboard.press('Enter');
  await until('carol is a member', async () => (await members(alice)).length === 3);
  assert.equal(await alice.inputValue('#add'), '');
  await alice.keyboard.press('Escape');
  await say(alice, 'welcome, carol');

  for (const page of [carol, bob]) {
    await page.click('.chat-row');
    await lastIs(page, 'welcome, carol');
  }
  assert.deepEqual(await shown(carol), ['welcome, carol']);
  assert.deepEqual(await shown(bob), ['before carol', 'welcome, carol']);
  await tabTo(carol, 'Accept');
  await carol.keyboard.press('Enter');
  await carol.waitForSelector('#composer');
  await say(carol, 'thank you');
  for (const page of [alice, bob]) await lastIs(page, 'thank you');
  assert.deepEqual([...alice.complaints, ...bob.complaints, ...carol.complaints], []);
});

test('how far messages got and the own presence are there after a reload', async (t) => {
  const { folder, server, visit } = await stage(t);
  const alice = await visit();
  await signUp(alice, 'alice');
  const bob = await Native.signUp(folder, 'bob', server);
  t.after(() => bob.close());
  await startChat(alice, 'bob');
  await say(alice, 'hello');
  await alice.waitForSelector('.row:last-child .marks');
  const state = () => alice.$eval('.row:last-child .marks', (mark) => mark.textContent);
  const becomes = (words) => until(words, async () => (await state()) === words, state);
  await becomes('Sent');
  await until('the request', async () => (await bob.call('conversations')).conversations.length === 1);
  const [{ conversation }] = (await bob.call('conversations')).conversations;
  await bob.call('accept', { conversation });
  await becomes('Delivered');
  await alice.keyboard.press('Control+,');
  await alice.check('.segments [name=presence] >> nth=1', { force: true });
  await alice.keyboard.press('Escape');

  await alice.reload();
  await alice.waitForSelector('.row:last-child .marks');
  await becomes('Delivered');
  assert.equal(await alice.evaluate(() => Object.keys(localStorage).join()), 'sotto.theme');
  const [{ id }] = (await bob.call('history', { conversation, limit: 1 })).messages;
  await bob.call('mark_read', { conversation, id });
  await becomes('Read');
  await alice.keyboard.press('Control+,');
  await alice.waitForFunction(() => document.querySelectorAll('.segments [name=presence]')[1]?.checked);
  assert.deepEqual(alice.complaints, []);
});

test('messages that cannot be read are said to be so, and asked for again', async (t) => {
  const { visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  await signUp(alice, 'alice');
  await signUp(bob, 'bob');
  await startChat(alice, 'bob');
  await say(alice, 'still here');
  await lastIs(alice, 'still here');
  await alice.addInitScript(() => {
    const post = Worker.prototype.postMessage;
    window.failing = true;
    Worker.prototype.postMessage = function (message, ...rest) {
      if (!window.failing || message.method !== 'history' || message.params.limit === 1) {
        return post.call(this, message, ...rest);
      }
      const failure = { kind: 'unanswered', message: 'lost' };
      const data = [{ type: 'answer', id: message.id, failure }];
      queueMicrotask(() => this.dispatchEvent(new MessageEvent('message', { data })));
    };
  });
  await alice.reload();
  await alice.waitForSelector('.messages-wrong[role=alert]');
  assert.deepEqual(await axe(alice), []);
  await tabTo(alice, 'Try again');
  await alice.evaluate(() => {
    window.failing = false;
  });
  await alice.keyboard.press('Enter');
  await lastIs(alice, 'still here');
  assert.equal(await alice.$('.messages-wrong'), null);
  assert.deepEqual(alice.complaints, []);
});

test('a sign-up says what is wrong with a handle or an invitation where it is', async (t) => {
  const { visit } = await stage(t, { SOTTO_SIGN_UP: 'invite' });
  const page = await visit();
  const alert = (of) => page.textContent(`.field:has(#${of}) [role=alert]`);
  await page.fill('#handle', '_x');
  await page.fill('#invite', 'K7QM-2X9D');
  await page.keyboard.press('Enter');
  assert.match(await alert('handle'), /starting with a letter/, 'by the rule of the protocol');
  await page.fill('#handle', 'alice');
  await page.keyboard.press('Enter');
  assert.match(await alert('invite'), /no invitation code of this server/);
  const refused = page.complaints.filter((complaint) => !complaint.includes('403'));
  assert.deepEqual(refused, []);
});

test('a name and a picture are shown beside the handle, harmless, and are there after a reload', async (t) => {
  const { folder, server, visit } = await stage(t);
  const [alice, bob] = [await visit(), await visit()];
  await signUp(alice, 'alice');
  await signUp(bob, 'bob');
  await bob.keyboard.press('Control+,');
  await bob.fill('#display-name', '@\u202eBob\u200b Builder ');
  await bob.fill('#status-text', 'can fix it');
  await bob.keyboard.press('Enter');
  await bob.waitForSelector('.profile-save [role=status]:has-text("Saved")');
  assert.equal(await bob.inputValue('#display-name'), 'Bob Builder');
  const photo = await bob.evaluate(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 3000, height: 2000 });
    const context = canvas.getContext('2d');
    // Noise: what a picture format can make nothing of.
    const noise = context.createImageData(3000, 2000);
    for (let at = 0; at < noise.data.length; at += 1) noise.data[at] = Math.random() * 256;
    context.putImageData(noise, 0, 0);
    return canvas.toDataURL('image/jpeg').split(',')[1];
  });
  const file = (name, buffer) => ({ name, mimeType: 'image/jpeg', buffer });
  await bob.setInputFiles('.profile input[type=file]', file('me.jpg', Buffer.from('no picture')));
  await bob.waitForSelector('.profile [role=alert]:has-text("no picture")');
  await bob.setInputFiles('.profile input[type=file]', file('me.jpg', Buffer.from(photo, 'base64')));
  await bob.waitForSelector('.profile .avatar img');
  assert.deepEqual(await axe(bob), []);

  const seen = async () => {
    await alice.waitForFunction(() => document.querySelector('.chat-head .avatar img')?.naturalWidth === 128);
    for (const place of ['.chat-head', '.chat-row']) {
      assert.equal(await alice.textContent(`${place} .person`), 'Bob Builder@bob');
    }
  };
  await startChat(alice, 'bob');
  await seen();
  await alice.evaluate(() => navigator.serviceWorker.ready);
  assert.deepEqual([...alice.complaints, ...bob.complaints], []);
  await server.kill();
  await alice.reload();
  await seen();
  await server.restart();

  const carol = await Native.signUp(folder, 'carol', server);
  t.after(() => carol.close());
  const { avatar, ...said } = await carol.call('profile.get', { handle: 'bob' });
  assert.deepEqual(said, { handle: 'bob', display_name: 'Bob Builder', status_text: 'can fix it' });
  assert.ok(Buffer.from(avatar, 'base64url').length <= 24 * 1024);
});

test('of ten thousand messages at most 80 rows are in the document, and all can be scrolled to', async (t) => {
  const { folder, server, visit } = await stage(t);
  const alice = await visit();
  await signUp(alice, 'alice');
  const bob = await Native.signUp(folder, 'bob', server);
  t.after(() => bob.close());
  bob.conversation = await bob.direct('alice');
  const all = texts('message', 10_000);
  for (let from = 0; from < all.length; from += 500) await bob.burst(all.slice(from, from + 500));
  await until(
    'all are there',
    async () => (await alice.textContent('.chat-row .chat-row-last')) === all.at(-1),
  );
  await alice.click('.chat-row');
  await alice.waitForSelector('.row');
  await alice.evaluate(() => {
    window.most = 0;
    const count = () => {
      window.most = Math.max(window.most, document.querySelectorAll('.row').length);
    };
    new MutationObserver(count).observe(document.querySelector('.messages-list'), { childList: true });
  });
  await until('the first one is in view', async () => {
    await alice.evaluate(() => document.querySelector('.messages-view').scrollBy(0, -20_000));
    return (await shown(alice))[0] === all[0];
  });
  await alice.click('.to-end');
  await lastIs(alice, all.at(-1));
  const most = await alice.evaluate(() => window.most);
  assert.ok(most > 10 && most <= 80, `${most} rows`);
  assert.deepEqual(alice.complaints, []);
});

import { afterEach, expect, test } from 'vitest';
import { type TabMessage, Tabs } from '../src/worker/tabs.js';

const PROFILE = 'of two versions';
const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

/** The channel as a tab of another version uses it, and what it hears next. */
function otherVersion() {
  const channel = new BroadcastChannel(`sotto ${PROFILE}`);
  open.push(channel);
  const heard = new Promise<{ version: number }>((resolve) => {
    channel.onmessage = ({ data }) => resolve(data);
  });
  return { channel, heard };
}

function tab(heard: (message: TabMessage) => void, outdated: () => void) {
  const tabs = new Tabs(PROFILE, heard, outdated);
  open.push(tabs);
  return tabs;
}

test('a tab of an older version is not listened to, and hears that a newer one is there', async () => {
  const heard: TabMessage[] = [];
  tab(
    (message) => heard.push(message),
    () => expect.unreachable(),
  );
  const older = otherVersion();
  older.channel.postMessage({ version: 0, message: { type: 'who' } });
  expect((await older.heard).version).toBeGreaterThan(0);
  expect(heard).toEqual([]);
});

test('a tab learns that it is outdated from whatever a newer version says', async () => {
  const heard: TabMessage[] = [];
  const outdated = new Promise<void>((resolve) => tab((message) => heard.push(message), resolve));
  otherVersion().channel.postMessage({ version: 1_000, message: { type: 'of another kind' } });
  await outdated;
  expect(heard).toEqual([]);
});

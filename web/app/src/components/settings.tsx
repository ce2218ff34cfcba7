import { createSignal, For, Show } from 'solid-js';
import type { PathPolicy } from 'sotto';
import { tab } from '../state/connection.ts';
import { refreshStatus, status } from '../state/people.ts';
import { setTheme, type Theme, theme } from '../state/preferences.ts';
import { me, peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { POLICY_WORDS } from '../words/paths.ts';
import { Blocked } from './blocked.tsx';
import { Dialog } from './dialog.tsx';
import { NotYetEncrypted } from './privacy.tsx';
import { ProfileForm } from './profile.tsx';

const THEMES: [Theme, string][] = [
  ['system', 'System'],
  ['light', 'Light'],
  ['dark', 'Dark'],
];

export function Settings() {
  refreshStatus();
  return (
    <Dialog title="Settings" side>
      <ProfileForm />
      <PresenceChoice />
      <fieldset class="segments">
        <legend>Theme</legend>
        <For each={THEMES}>
          {([value, name]) => (
            <label>
              <input type="radio" name="theme" checked={theme() === value} onChange={() => setTheme(value)} />
              <span>{name}</span>
            </label>
          )}
        </For>
      </fieldset>
      <PolicyChoice />
      <Blocked />
      <h3>Account</h3>
      <dl class="facts">
        <Fact name="Server" value={me()?.server.replace(/^https?:\/\//, '')} />
        <Fact name="This device" value={me()?.device} code />
        <Fact name="Account" value={me()?.account} code />
        <Fact
          name="Connection"
          value={
            status()
              ? `${status()?.relay.up ? 'relay up' : 'relay down'}, ${status()?.server.up ? 'server up' : 'server down'}`
              : 'unknown'
          }
        />
        <Fact
          name="This tab"
          value={tab() === 'leading' ? 'keeps the connection' : 'shares the connection of another tab'}
        />
      </dl>
      <p class="fine">
        Your keys live in this browser only. Clearing its data for this site removes the account from it.{' '}
        <NotYetEncrypted />
      </p>
    </Dialog>
  );
}

function Fact(props: { name: string; value: string | undefined; code?: boolean }) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>
        <Show when={props.code} fallback={props.value}>
          <code>{props.value}</code>
        </Show>
      </dd>
    </div>
  );
}

function PresenceChoice() {
  const choose = (state: 'online' | 'away') => {
    peer()
      .setPresence(state)
      .then(refreshStatus, () => {}); // `ended` tells why nothing works any more
  };
  return (
    <fieldset class="segments">
      <legend>You are shown as</legend>
      <For
        each={
          [
            ['online', 'Online'],
            ['away', 'Away'],
          ] as const
        }
      >
        {([value, name]) => (
          <label>
            <input
              type="radio"
              name="presence"
              checked={(status()?.presence.state ?? 'online') === value}
              onChange={() => choose(value)}
            />
            <span>{name}</span>
          </label>
        )}
      </For>
    </fieldset>
  );
}

function PolicyChoice() {
  const [wrong, setWrong] = createSignal('');
  const choose = async (mode: PathPolicy) => {
    try {
      await peer().setPathPolicy(mode);
      setWrong('');
    } catch (error) {
      setWrong(trouble(error).text);
    }
    refreshStatus();
  };
  return (
    <fieldset class="choices">
      <legend>How messages travel</legend>
      <For each={Object.entries(POLICY_WORDS) as [PathPolicy, [string, string]][]}>
        {([mode, [name, about]]) => (
          <label class="choice">
            <input
              type="radio"
              name="policy"
              checked={status()?.policy === mode}
              onChange={() => choose(mode)}
            />
            <span>
              <strong>{name}</strong>
              <span class="quiet">{about}</span>
            </span>
          </label>
        )}
      </For>
      <Show when={wrong()}>
        <p class="notice is-bad" role="alert">
          {wrong()}
        </p>
      </Show>
    </fieldset>
  );
}

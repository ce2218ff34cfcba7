import { createEffect, createSignal, For, on, onCleanup, Show } from 'solid-js';
import type { Conversation, LinkStatus } from 'sotto';
import { other, title } from '../state/conversations.ts';
import { links, reach, refreshStatus } from '../state/people.ts';
import { profile } from '../state/profiles.ts';
import { peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { PATH_WHY, PATH_WORDS, REACH_WORDS, roundTrip } from '../words/paths.ts';
import { Dialog } from './dialog.tsx';
import { GroupDetails } from './group-details.tsx';
import { Icon } from './icon.tsx';
import { Avatar, Name, Title } from './name.tsx';

const REFRESH = 2000; // round trips change while one looks

/** Who is in a conversation and how they are reached. */
export function Details(props: { of: Conversation }) {
  refreshStatus();
  const timer = setInterval(refreshStatus, REFRESH);
  onCleanup(() => clearInterval(timer));
  return (
    <Dialog title={props.of.kind === 'direct' ? 'Path' : 'Group'} side>
      <div class="details-face">
        <Avatar name={title(props.of)} group={props.of.kind === 'group'} size="large" />
        <p class="start-title">
          <Title of={props.of} />
        </p>
        <Show when={props.of.kind === 'direct' && profile(other(props.of))?.status_text}>
          {(text) => (
            <p class="quiet">
              <Name of={text()} />
            </p>
          )}
        </Show>
      </div>
      <Show when={props.of.kind === 'direct'} fallback={<GroupDetails of={props.of} />}>
        <Paths handle={other(props.of)} />
        <Block of={props.of} />
      </Show>
    </Dialog>
  );
}

export function Paths(props: { handle: string }) {
  const now = () => reach(props.handle);
  return (
    <section class="paths">
      <p class={`path-now is-${now()}`}>
        <Icon name={now()} />
        <strong>{REACH_WORDS[now()]}</strong>
      </p>
      <Show when={links(props.handle).length === 0}>
        <p class="quiet">
          None of their devices is known to be there now. Messages wait on the server until one comes.
        </p>
      </Show>
      <For each={links(props.handle)}>{(link) => <Link of={link} />}</For>
    </section>
  );
}

function Link(props: { of: LinkStatus }) {
  return (
    <dl class="facts">
      <div>
        <dt>Path</dt>
        <dd>{PATH_WORDS[props.of.path]}</dd>
      </div>
      <div>
        <dt>Round trip</dt>
        <dd>{roundTrip([props.of]) ?? 'not measured'}</dd>
      </div>
      <div>
        <dt>Why</dt>
        <dd>{props.of.why ?? PATH_WHY[props.of.path]}</dd>
      </div>
      <div>
        <dt>Device</dt>
        <dd>
          <code>{props.of.device.slice(0, 8)}</code>
        </dd>
      </div>
    </dl>
  );
}

function Block(props: { of: Conversation }) {
  const [sure, setSure] = createSignal(false);
  const [wrong, setWrong] = createSignal('');
  createEffect(
    on(
      () => props.of.blocked,
      () => setSure(false),
    ),
  );
  const toggle = () => {
    if (!props.of.blocked && !sure()) return setSure(true);
    const change = props.of.blocked ? peer().unblock(other(props.of)) : peer().block(other(props.of));
    change.catch((error) => setWrong(trouble(error).text));
  };
  return (
    <section class="danger">
      <button type="button" class="button is-danger" onClick={toggle}>
        {props.of.blocked ? 'Unblock' : sure() ? 'Really block?' : 'Block'}
      </button>
      <p class="quiet">
        {props.of.blocked
          ? 'What was sent meanwhile arrives.'
          : 'Nothing of theirs is shown any more, and they learn nothing of it.'}
      </p>
      <Show when={wrong()}>
        <p class="notice is-bad" role="alert">
          {wrong()}
        </p>
      </Show>
    </section>
  );
}

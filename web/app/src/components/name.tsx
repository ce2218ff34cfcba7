import { createEffect, createSignal, on, Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { other, title } from '../state/conversations.ts';
import type { Reach } from '../state/people.ts';
import { displayName, profile } from '../state/profiles.ts';
import { hue, initial } from '../words/names.ts';

/** A name that somebody chose: isolated, so that its direction ends with it. */
export function Name(props: { of: string }) {
  return <bdi class="name">{props.of}</bdi>;
}

/** Somebody by handle: what they call themselves, and the handle, which alone says who they are. */
export function Person(props: { of: string }) {
  return (
    <span class="person">
      <Name of={displayName(props.of)} />
      <Show when={displayName(props.of) !== props.of}>
        <span class="handle">@{props.of}</span>
      </Show>
    </span>
  );
}

/** What a conversation is called. */
export function Title(props: { of: Conversation }) {
  return (
    <Show when={props.of.kind === 'direct'} fallback={<Name of={title(props.of)} />}>
      <Person of={other(props.of)} />
    </Show>
  );
}

/** The picture of a person, by handle, or a face for the name of a group; with `reach`, how its owner is reached. */
export function Avatar(props: {
  name: string;
  group?: boolean;
  reach?: Reach | undefined;
  size?: 'small' | 'large';
}) {
  const picture = () => (props.group ? undefined : profile(props.name)?.picture);
  const [broken, setBroken] = createSignal(false);
  createEffect(on(picture, () => setBroken(false)));
  return (
    <span
      class="avatar"
      classList={{
        'is-group': props.group,
        'is-small': props.size === 'small',
        'is-large': props.size === 'large',
      }}
      style={{ '--hue': String(hue(props.name)) }}
      aria-hidden="true"
    >
      <Show
        when={!broken() && picture()}
        fallback={initial(props.group ? props.name : displayName(props.name))}
      >
        {(address) => <img src={address()} alt="" onError={() => setBroken(true)} />}
      </Show>
      {props.reach && <span class={`reach-dot is-${props.reach}`} />}
    </span>
  );
}

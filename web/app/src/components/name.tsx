import type { Reach } from '../state/people.ts';
import { hue, initial, plain } from '../words/names.ts';

/** A name that somebody chose: isolated, so that its direction ends with it. */
export function Name(props: { of: string }) {
  return <bdi class="name">{plain(props.of)}</bdi>;
}

/** A face for a name; with `reach`, how its owner is reached. */
export function Avatar(props: {
  name: string;
  group?: boolean;
  reach?: Reach | undefined;
  size?: 'small' | 'large';
}) {
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
      {initial(props.name)}
      {props.reach && <span class={`reach-dot is-${props.reach}`} />}
    </span>
  );
}

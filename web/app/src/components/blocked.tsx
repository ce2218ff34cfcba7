import { createSignal, For, Show } from 'solid-js';
import { blocked, other } from '../state/conversations.ts';
import { peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { Avatar, Person } from './name.tsx';

/** In settings: whom this account has blocked, and the way back. */
export function Blocked() {
  return (
    <Show when={blocked().length > 0}>
      <h3>Blocked</h3>
      <ul class="people">
        <For each={blocked()}>
          {(each) => (
            <li>
              <Avatar name={other(each)} size="small" />
              <Person of={other(each)} />
              <Unblock handle={other(each)} />
            </li>
          )}
        </For>
      </ul>
    </Show>
  );
}

/** Instead of a composer. */
export function BlockedBar(props: { handle: string }) {
  return (
    <footer class="bar">
      <p>You have blocked this person. Nothing of theirs is shown, and they learn nothing.</p>
      <Unblock handle={props.handle} />
    </footer>
  );
}

function Unblock(props: { handle: string }) {
  const [wrong, setWrong] = createSignal('');
  const unblock = () => {
    setWrong('');
    peer()
      .unblock(props.handle)
      .catch((error) => setWrong(trouble(error).text));
  };
  return (
    <>
      <Show when={wrong()}>
        <p class="notice is-bad" role="alert">
          {wrong()}
        </p>
      </Show>
      <button type="button" class="button" onClick={unblock}>
        Unblock<span class="hidden"> {props.handle}</span>
      </button>
    </>
  );
}

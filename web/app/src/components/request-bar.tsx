import { createSignal, Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { other } from '../state/conversations.ts';
import { show } from '../state/route.ts';
import { peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { Person } from './name.tsx';

/** Instead of a composer while a conversation waits to be accepted. */
export function RequestBar(props: { of: Conversation }) {
  const [wrong, setWrong] = createSignal('');
  const run = (what: () => Promise<unknown>) => {
    setWrong('');
    what().catch((error) => setWrong(trouble(error).text));
  };
  const refuse = async () => {
    if (props.of.kind === 'direct') await peer().block(other(props.of));
    else await peer().leaveGroup(props.of.conversation);
    show(undefined);
  };
  return (
    <footer class="bar">
      <p>
        <Show when={props.of.kind === 'direct'} fallback="You were added to this group.">
          <strong>
            <Person of={other(props.of)} />
          </strong>{' '}
          wants to chat with you.
        </Show>{' '}
        Until you accept, they do not learn whether you are here or have read anything.
      </p>
      <div class="bar-buttons">
        <button type="button" class="button" onClick={() => run(refuse)}>
          {props.of.kind === 'direct' ? 'Block' : 'Leave'}
        </button>
        <button
          type="button"
          class="button is-primary"
          onClick={() => run(() => peer().accept(props.of.conversation))}
        >
          Accept
        </button>
      </div>
      <Show when={wrong()}>
        <p class="notice is-bad" role="alert">
          {wrong()}
        </p>
      </Show>
    </footer>
  );
}

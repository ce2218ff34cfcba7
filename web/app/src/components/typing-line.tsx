import { Show } from 'solid-js';
import { typing } from '../state/people.ts';
import { displayName } from '../state/profiles.ts';

export function TypingLine(props: { conversation: string }) {
  const words = () => {
    const who = typing(props.conversation);
    if (who.length === 0) return undefined;
    if (who.length > 2) return 'Several people are typing';
    return `${who.map(displayName).join(' and ')} ${who.length === 1 ? 'is' : 'are'} typing`;
  };
  return (
    <p class="typing-line">
      <Show when={words()}>
        {(text) => (
          <>
            <span class="dots" aria-hidden="true">
              <i />
              <i />
              <i />
            </span>
            {text()}
          </>
        )}
      </Show>
    </p>
  );
}

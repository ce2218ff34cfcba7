import { createEffect, createSignal, on, onCleanup, onMount, Show } from 'solid-js';
import { bytes, draft, keepDraft, MAX_TEXT_BYTES, sendDraft } from '../state/drafts.ts';
import { peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { Icon } from './icon.tsx';

const TYPING_AGAIN = 3000; // the others forget it after some seconds

export function Composer(props: { conversation: string; onSent: () => void }) {
  const text = () => draft(props.conversation);
  const [wrong, setWrong] = createSignal('');
  let area!: HTMLTextAreaElement;
  let told = 0;

  const over = () => {
    const size = bytes(text());
    return size > MAX_TEXT_BYTES
      ? `Too long by ${(size - MAX_TEXT_BYTES).toLocaleString()} bytes: a message has at most 32 KiB. Shorten it, or send it in parts.`
      : undefined;
  };
  const sendable = () => text().trim() !== '' && !over();

  const grow = () => {
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight, innerHeight * 0.4)}px`;
  };
  createEffect(on(text, grow));
  onMount(() => {
    if (matchMedia('(pointer: fine)').matches) area.focus();
  });

  const tellTyping = (on: boolean) => {
    if (on ? Date.now() - told < TYPING_AGAIN : told === 0) return;
    told = on ? Date.now() : 0;
    peer()
      .typing(props.conversation, on)
      .catch(() => {}); // nobody waits for it
  };
  onCleanup(() => tellTyping(false));

  const change = (value: string) => {
    keepDraft(props.conversation, value);
    setWrong('');
  };

  const send = async () => {
    area.focus();
    if (!sendable()) return;
    // First of all, before the page lays itself out anew: the peer works meanwhile.
    const sent = sendDraft(props.conversation, (text) => peer().send(props.conversation, text));
    setWrong('');
    tellTyping(false);
    props.onSent();
    await sent.catch((error) => setWrong(trouble(error).text));
  };

  const pressed = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send();
  };

  return (
    <footer class="composer">
      <Show when={over() || wrong()}>
        {(about) => (
          <p id="composer-about" class="notice is-bad" role="alert">
            {about()}
          </p>
        )}
      </Show>
      <div class="composer-box">
        <textarea
          id="composer"
          ref={area}
          rows={1}
          placeholder="Message"
          aria-label="Message"
          aria-invalid={over() ? 'true' : undefined}
          aria-describedby={over() || wrong() ? 'composer-about' : undefined}
          dir="auto"
          value={text()}
          onInput={(event) => {
            change(event.currentTarget.value);
            tellTyping(event.currentTarget.value.trim() !== '');
          }}
          onKeyDown={pressed}
        />
        <button type="button" class="send" aria-label="Send" disabled={!sendable()} onClick={send}>
          <Icon name="send" />
        </button>
      </div>
    </footer>
  );
}

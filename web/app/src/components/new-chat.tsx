import { createSignal, onMount } from 'solid-js';
import { show } from '../state/route.ts';
import { me, peer } from '../state/session.ts';
import { trouble } from '../words/errors.ts';
import { Dialog } from './dialog.tsx';
import { Field } from './field.tsx';

export function NewChat() {
  const [handle, setHandle] = createSignal('');
  const [wrong, setWrong] = createSignal<string>();
  const [busy, setBusy] = createSignal(false);
  let form!: HTMLFormElement;
  onMount(() => queueMicrotask(() => form.querySelector('input')?.focus()));

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = handle().trim();
    if (busy()) return;
    if (!wanted) return setWrong('Type the handle of the person you want to write to.');
    setBusy(true);
    try {
      show(await peer().direct(wanted));
    } catch (error) {
      const { text } = trouble(error);
      setWrong(
        (error as { kind?: string }).kind === 'not-found'
          ? `Nobody here is called ${wanted}. Check the spelling with them.`
          : text,
      );
      setBusy(false);
    }
  };
  return (
    <Dialog title="New chat">
      <form ref={form} onSubmit={submit} novalidate>
        <Field
          id="peer"
          label="Their handle"
          prefix="@"
          hint={`Yours is @${me()?.handle}.`}
          trouble={wrong()}
          value={handle()}
          maxlength={33}
          onInput={(event) => {
            setHandle(event.currentTarget.value);
            setWrong(undefined);
          }}
        />
        <div class="dialog-buttons">
          <button type="submit" class="button is-primary" disabled={busy()}>
            {busy() ? 'Looking…' : 'Start chat'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

import { createResource, createSignal, onMount, Show } from 'solid-js';
import { inviteWanted, signUp } from '../state/session.ts';
import { type Trouble, trouble } from '../words/errors.ts';
import { Field } from './field.tsx';
import { Mark } from './logo.tsx';
import { NotYetEncrypted } from './privacy.tsx';

export function SignUp() {
  const [handle, setHandle] = createSignal('');
  const [invite, setInvite] = createSignal('');
  const [wanted] = createResource(inviteWanted);
  const [refused, setRefused] = createSignal<Trouble>();
  const [busy, setBusy] = createSignal(false);
  let form!: HTMLFormElement;

  const asksInvite = () => wanted() || refused()?.field === 'invite';
  const focus = () =>
    (form.querySelector<HTMLInputElement>('[aria-invalid]') ?? form.querySelector('input'))?.focus();
  onMount(focus);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    setRefused(undefined);
    if (asksInvite() && !invite().trim()) {
      setRefused({
        field: 'invite',
        text: 'This server needs an invitation. Ask whoever runs it for a code.',
      });
      return focus();
    }
    setBusy(true);
    try {
      await signUp(handle().trim(), invite().trim());
    } catch (error) {
      const { text, field } = trouble(error);
      setRefused({ text, field: field ?? 'other' });
      setBusy(false);
      focus();
    }
  };
  const about = (field: string) => (refused()?.field === field ? refused()?.text : undefined);
  const general = () =>
    ['handle', 'invite'].includes(refused()?.field ?? 'handle') ? undefined : refused()?.text;

  return (
    <main class="single">
      <form ref={form} class="card" onSubmit={submit} novalidate>
        <Mark />
        <h1>Choose a handle</h1>
        <p class="quiet">
          It is how people find you on {location.host}. No email, no phone number, no password.
        </p>
        <Field
          id="handle"
          label="Handle"
          prefix="@"
          hint="2 to 32 of a–z, 0–9, dot, dash, underscore, from a letter on. It cannot be changed later."
          trouble={about('handle')}
          value={handle()}
          maxlength={33}
          disabled={busy()}
          onInput={(event) => setHandle(event.currentTarget.value)}
        />
        <Show when={asksInvite()}>
          <Field
            id="invite"
            label="Invitation code"
            hint="From whoever runs this server."
            trouble={about('invite')}
            value={invite()}
            disabled={busy()}
            onInput={(event) => setInvite(event.currentTarget.value)}
          />
        </Show>
        <Show when={general()}>
          {(text) => (
            <p class="notice is-bad" role="alert">
              {text()}
            </p>
          )}
        </Show>
        <button type="submit" class="button is-primary is-wide" disabled={busy()}>
          {busy() ? 'Making your keys…' : 'Start chatting'}
        </button>
        <p class="fine">
          Your keys are made in this browser and stay in it. <NotYetEncrypted />
        </p>
      </form>
    </main>
  );
}

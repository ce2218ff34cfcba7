import { createSignal, For, onMount, Show } from 'solid-js';
import { show } from '../state/route.ts';
import { peer } from '../state/session.ts';
import { type Trouble, trouble } from '../words/errors.ts';
import { Dialog } from './dialog.tsx';
import { Field } from './field.tsx';
import { Icon } from './icon.tsx';
import { Name } from './name.tsx';

const handles = (typed: string) =>
  typed
    .toLowerCase()
    .split(/[\s,;]+/)
    .map((each) => each.replace(/^@/, ''))
    .filter(Boolean);

export function NewGroup() {
  const [name, setName] = createSignal('');
  const [typed, setTyped] = createSignal('');
  const [members, setMembers] = createSignal<readonly string[]>([]);
  const [wrong, setWrong] = createSignal<Trouble>();
  const [busy, setBusy] = createSignal(false);
  let form!: HTMLFormElement;
  onMount(() => queueMicrotask(() => form.querySelector('input')?.focus()));

  const about = (field: string) => (wrong()?.field === field ? wrong()?.text : undefined);
  const add = () => {
    setMembers((before) => [...new Set([...before, ...handles(typed())])]);
    setTyped('');
  };
  const pressed = (event: KeyboardEvent) => {
    if (!(event.key === 'Enter' && typed().trim()) && event.key !== ',') return;
    event.preventDefault();
    add();
  };
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    add();
    setWrong(undefined);
    if (!name().trim())
      return setWrong({ field: 'name', text: 'Give the group a name of 1 to 64 characters.' });
    if (members().length === 0)
      return setWrong({ field: 'members', text: 'Add at least one person by handle.' });
    setBusy(true);
    try {
      show(await peer().createGroup({ name: name().trim(), members: [...members()] }));
    } catch (error) {
      const { text, field } = trouble(error);
      setWrong({ text, field: field === 'name' ? 'name' : 'members' });
      setBusy(false);
    }
  };
  return (
    <Dialog title="New group">
      <form ref={form} onSubmit={submit} novalidate>
        <Field
          id="group-name"
          label="Name"
          maxlength={64}
          trouble={about('name')}
          value={name()}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <Field
          id="group-members"
          label="Members"
          prefix="@"
          hint="One handle after the other; Enter adds it."
          trouble={about('members')}
          value={typed()}
          onInput={(event) => setTyped(event.currentTarget.value)}
          onKeyDown={pressed}
        />
        <Show when={members().length > 0}>
          <ul class="chips" aria-label="Members to be">
            <For each={members()}>
              {(handle) => (
                <li class="chip">
                  <Name of={handle} />
                  <button
                    type="button"
                    aria-label={`Leave out ${handle}`}
                    onClick={() => setMembers((all) => all.filter((each) => each !== handle))}
                  >
                    <Icon name="close" />
                  </button>
                </li>
              )}
            </For>
          </ul>
        </Show>
        <div class="dialog-buttons">
          <button type="submit" class="button is-primary" disabled={busy()}>
            {busy() ? 'Creating…' : 'Create group'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

import { createSignal, For, Show } from 'solid-js';
import type { Conversation } from 'sotto';
import { reach } from '../state/people.ts';
import { me, peer } from '../state/session.ts';
import { type Trouble, trouble } from '../words/errors.ts';
import { REACH_WORDS } from '../words/paths.ts';
import { Field } from './field.tsx';
import { Avatar, Person } from './name.tsx';

/** Members, name and leaving of a group. */
export function GroupDetails(props: { of: Conversation }) {
  const [name, setName] = createSignal(props.of.name ?? '');
  const [handle, setHandle] = createSignal('');
  const [wrong, setWrong] = createSignal<Trouble>();
  const [sure, setSure] = createSignal(false);

  const run = (field: string, what: () => Promise<unknown>) => {
    setWrong(undefined);
    what().catch((error) => setWrong({ text: trouble(error).text, field }));
  };
  const about = (field: string) => (wrong()?.field === field ? wrong()?.text : undefined);
  const rename = (event: SubmitEvent) => {
    event.preventDefault();
    run('name', () => peer().renameGroup(props.of.conversation, name().trim()));
  };
  const add = (event: SubmitEvent) => {
    event.preventDefault();
    run('handle', async () => {
      await peer().addToGroup(props.of.conversation, handle().trim());
      setHandle('');
    });
  };
  const leave = () => (sure() ? run('leave', () => peer().leaveGroup(props.of.conversation)) : setSure(true));

  return (
    <>
      <Show when={props.of.member}>
        <form class="inline-form" onSubmit={rename} novalidate>
          <Field
            id="rename"
            label="Name"
            maxlength={64}
            trouble={about('name')}
            value={name()}
            onInput={(event) => setName(event.currentTarget.value)}
          />
          <button type="submit" class="button" disabled={!name().trim() || name().trim() === props.of.name}>
            Rename
          </button>
        </form>
        <form class="inline-form" onSubmit={add} novalidate>
          <Field
            id="add"
            label="Add somebody"
            prefix="@"
            trouble={about('handle')}
            value={handle()}
            onInput={(event) => setHandle(event.currentTarget.value)}
          />
          <button type="submit" class="button" disabled={!handle().trim()}>
            Add
          </button>
        </form>
      </Show>
      <h3>Members</h3>
      <ul class="people">
        <For each={props.of.members}>
          {(member) => (
            <li>
              <Avatar name={member} size="small" />
              <Person of={member} />
              <span class="quiet">{member === me()?.handle ? 'you' : REACH_WORDS[reach(member)]}</span>
            </li>
          )}
        </For>
      </ul>
      <Show when={props.of.member}>
        <section class="danger">
          <button type="button" class="button is-danger" onClick={leave}>
            {sure() ? 'Really leave?' : 'Leave group'}
          </button>
          <p class="quiet">What was said stays here; nothing new arrives.</p>
          <Show when={about('leave')}>
            {(text) => (
              <p class="notice is-bad" role="alert">
                {text()}
              </p>
            )}
          </Show>
        </section>
      </Show>
    </>
  );
}

import { createSignal, Show } from 'solid-js';
import type { ProfileChange } from 'sotto';
import { shrunk } from '../state/picture.ts';
import { profile, setProfile } from '../state/profiles.ts';
import { me } from '../state/session.ts';
import { type Trouble, trouble } from '../words/errors.ts';
import { Field } from './field.tsx';
import { Avatar } from './name.tsx';

/** What others see beside the own handle, and changing it. */
export function ProfileForm() {
  const handle = me()?.handle ?? '';
  const now = () => profile(handle);
  // What is typed, until it is saved: news of the profile must not write over it.
  const [typedName, setName] = createSignal<string>();
  const [typedAbout, setAbout] = createSignal<string>();
  const name = () => typedName() ?? now()?.display_name ?? '';
  const about = () => typedAbout() ?? now()?.status_text ?? '';
  const [wrong, setWrong] = createSignal<Trouble>();
  const [said, setSaid] = createSignal('');
  const [busy, setBusy] = createSignal(false);
  const changed = () =>
    name().trim() !== (now()?.display_name ?? '') || about().trim() !== (now()?.status_text ?? '');

  const change = async (what: ProfileChange, done: string) => {
    if (busy()) return;
    setWrong(undefined);
    setSaid('');
    setBusy(true);
    try {
      await setProfile(what);
      setName((typed) => (typed?.trim() === what.display_name ? undefined : typed));
      setAbout((typed) => (typed?.trim() === what.status_text ? undefined : typed));
      setSaid(done);
    } catch (error) {
      setWrong(trouble(error));
    }
    setBusy(false);
  };
  const save = (event: SubmitEvent) => {
    event.preventDefault();
    if (!changed()) return;
    void change({ display_name: name().trim(), status_text: about().trim() }, 'Saved.');
  };
  const choose = async (input: HTMLInputElement) => {
    const [file] = input.files ?? [];
    input.value = ''; // the same one can be chosen again
    if (!file) return;
    const avatar = await shrunk(file);
    if (avatar) await change({ avatar }, 'Your picture is changed.');
    else
      setWrong({ field: 'avatar', text: 'This is no picture that the browser can read. Try a JPEG or PNG.' });
  };
  const mend = (field: string) => (wrong()?.field === field ? wrong()?.text : undefined);
  const general = () =>
    ['display_name', 'status_text'].includes(wrong()?.field ?? '') ? undefined : wrong()?.text;

  return (
    <form class="profile" onSubmit={save} novalidate>
      <div class="details-face">
        <Avatar name={handle} size="large" />
        <p class="start-title">@{handle}</p>
        <p class="quiet">Tell this to people who want to write to you.</p>
        <div class="bar-buttons">
          <label class="button is-file">
            {now()?.avatar ? 'Change picture' : 'Add picture'}
            <input
              type="file"
              accept="image/*"
              disabled={busy()}
              onChange={(event) => void choose(event.currentTarget)}
            />
          </label>
          <Show when={now()?.avatar}>
            <button
              type="button"
              class="button"
              onClick={() => void change({ avatar: null }, 'Your picture is taken away.')}
            >
              Remove picture
            </button>
          </Show>
        </div>
      </div>
      <Field
        id="display-name"
        label="Name"
        hint="Shown beside your handle. Everybody on this server may see it."
        maxlength={64}
        trouble={mend('display_name')}
        value={name()}
        onInput={(event) => setName(event.currentTarget.value)}
      />
      <Field
        id="status-text"
        label="About you"
        maxlength={120}
        trouble={mend('status_text')}
        value={about()}
        onInput={(event) => setAbout(event.currentTarget.value)}
      />
      <Show when={general()}>
        {(text) => (
          <p class="notice is-bad" role="alert">
            {text()}
          </p>
        )}
      </Show>
      <div class="profile-save">
        <p class="quiet" role="status">
          {changed() ? '' : said()}
        </p>
        <button type="submit" class="button is-primary" disabled={busy() || !changed()}>
          {busy() ? 'Saving…' : 'Save'}
        </button>
      </div>
    </form>
  );
}

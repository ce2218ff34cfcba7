// Which of its lives the page is in: opening the profile, asking for a handle, chatting, or unable to.
import { createSignal } from 'solid-js';
import { type Identity, Sotto, SottoError } from 'sotto';
import { trouble } from '../words/errors.ts';

export type Stage =
  | { at: 'opening' }
  | { at: 'sign-up' }
  | { at: 'ready'; identity: Identity }
  | { at: 'failed'; why: string };

const [stage, setStage] = createSignal<Stage>({ at: 'opening' });

export { stage };

let sotto: Sotto | undefined;

/** The peer. There is one whenever a screen that needs it is shown. */
export function peer(): Sotto {
  if (!sotto) throw new Error('the profile is not open yet');
  return sotto;
}

export const me = () => {
  const now = stage();
  return now.at === 'ready' ? now.identity : undefined;
};

/** Opens the profile; `listen` is called before anything can have happened. */
export async function open(listen: (sotto: Sotto) => void, ready: () => void): Promise<void> {
  try {
    sotto = await Sotto.open();
    sotto.on('identity', enter);
    sotto.on('ended', ({ kind, why }) => {
      setStage({ at: 'failed', why: trouble(new SottoError(kind, why)).text });
    });
    listen(sotto);
    begin = ready;
    if (sotto.identity) enter(sotto.identity);
    else setStage({ at: 'sign-up' });
  } catch (error) {
    setStage({ at: 'failed', why: trouble(error).text });
  }
}

let begin = () => {};

function enter(identity: Identity) {
  if (stage().at === 'ready') return;
  setStage({ at: 'ready', identity });
  begin();
}

export async function signUp(handle: string, invite: string): Promise<void> {
  enter(await peer().signUp(invite ? { handle, invite } : { handle }));
}

/** Whether the server wants an invitation code; undefined while it cannot be asked. */
export async function inviteWanted(): Promise<boolean | undefined> {
  try {
    const answer = await fetch('/v1/server');
    return ((await answer.json()) as { sign_up?: string }).sign_up === 'invite';
  } catch {
    return undefined;
  }
}

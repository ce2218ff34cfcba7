import { Match, Switch } from 'solid-js';
import { stage } from '../state/session.ts';
import { Shell } from './shell.tsx';
import { SignUp } from './sign-up.tsx';

export function App() {
  const failed = () => {
    const now = stage();
    return now.at === 'failed' ? now : undefined;
  };
  return (
    <Switch>
      <Match when={stage().at === 'opening'}>
        <main class="single" aria-busy="true">
          <p class="quiet appear-late">Opening…</p>
        </main>
      </Match>
      <Match when={stage().at === 'sign-up'}>
        <SignUp />
      </Match>
      <Match when={stage().at === 'ready'}>
        <Shell />
      </Match>
      <Match when={failed()}>
        {(now) => (
          <main class="single">
            <div class="card">
              <h1>Sotto has stopped</h1>
              <p role="alert">{now().why}</p>
              <button type="button" class="button is-primary" onClick={() => location.reload()}>
                Reload
              </button>
            </div>
          </main>
        )}
      </Match>
    </Switch>
  );
}

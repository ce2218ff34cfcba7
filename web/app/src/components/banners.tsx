import { createSignal, type JSX, onCleanup, Show } from 'solid-js';
import { alarms, dismissAlarm, down, tab } from '../state/connection.ts';
import { refreshStatus, status } from '../state/people.ts';
import { Icon, type IconName } from './icon.tsx';

function Banner(props: { icon: IconName; bad?: boolean; children: JSX.Element }) {
  return (
    <div class="banner" classList={{ 'is-bad': props.bad }}>
      <Icon name={props.icon} />
      <div>{props.children}</div>
    </div>
  );
}

const REFRESH = 2000; // why it is down changes with each try, and only the status says so

/** What is known of why; over TLS the browser itself knows more, such as that a certificate is not valid. */
function Why() {
  refreshStatus();
  const timer = setInterval(refreshStatus, REFRESH);
  onCleanup(() => clearInterval(timer));
  const why = () => status()?.relay.why ?? status()?.server.why;
  return (
    <>
      <Show when={why()}>
        <span class="quiet"> ({why()})</span>
      </Show>
      <Show when={location.protocol === 'https:'}>
        {' '}
        <a class="link" href="/healthz" target="_blank" rel="noreferrer">
          See what the browser says
        </a>
      </Show>
    </>
  );
}

const [understood, setUnderstood] = createSignal(false);

/** What concerns the whole app, above both panes. */
export function Banners() {
  return (
    <div class="banners" role="status">
      <Show when={alarms()[0]}>
        {(alarm) => (
          <Banner icon="alert" bad>
            <strong>
              <bdi>{alarm().about}</bdi>
            </strong>
            : {alarm().advice}{' '}
            <button type="button" class="link" onClick={dismissAlarm}>
              Understood
            </button>
          </Banner>
        )}
      </Show>
      <Show when={down().has('relay') || down().has('server')}>
        <Banner icon="offline">
          {down().has('relay')
            ? 'No connection to the server. You can go on writing: messages wait here and go out by themselves.'
            : 'The server is partly out of reach: new direct links have to wait. Messages still go out.'}
          <Why />
        </Banner>
      </Show>
      <Show when={tab() === 'following' && !understood()}>
        <Banner icon="details">
          Sotto is open in another tab, which keeps the connection. You can use both.{' '}
          <button type="button" class="link" onClick={() => setUnderstood(true)}>
            Understood
          </button>
        </Banner>
      </Show>
      <Show when={tab() === 'taking-over'}>
        <Banner icon="waiting">
          The tab that kept the connection is gone; another one is taking over. This takes a few seconds.
        </Banner>
      </Show>
    </div>
  );
}

import { render } from 'solid-js/web';
import { App } from './components/app.tsx';
import { applyTheme } from './state/preferences.ts';
import { start } from './state/start.ts';
import './styles/tokens.css';
import './styles/base.css';
import './styles/controls.css';
import './styles/shell.css';
import './styles/sidebar.css';
import './styles/chat.css';
import './styles/messages.css';
import './styles/dialogs.css';

const root = document.getElementById('app');
if (!root) throw new Error('the page has no #app');

root.textContent = ''; // what is said there when this script does not come
render(() => {
  applyTheme();
  return <App />;
}, root);
void start();

if (import.meta.env.PROD && 'serviceWorker' in navigator) {
  void import('./offline.ts').then(
    ({ keepShell }) => keepShell(),
    () => {}, // next time
  );
}

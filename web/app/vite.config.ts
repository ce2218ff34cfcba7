import { defineConfig } from 'vite';
import solid from 'vite-plugin-solid';
import { offlineShell } from './build/offline-shell.ts';
import { trustedTemplates } from './build/trusted-templates.ts';

export default defineConfig({
  base: '/',
  plugins: [trustedTemplates(), solid(), offlineShell()],
  build: {
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'], // light-dark() as it is
    assetsInlineLimit: 0, // no data: URLs, which the CSP refuses
    modulePreload: { polyfill: false },
  },
  worker: { format: 'es' },
  server: { proxy: { '/v1': { target: 'http://127.0.0.1:8080', ws: true } } },
});

// Builds src/service-worker.ts to /sw.js with the list of files that make up the shell, named after their content.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Plugin, transformWithOxc } from 'vite';

export function offlineShell(): Plugin {
  let root = '';
  return {
    name: 'offline-shell',
    apply: 'build',
    configResolved(config) {
      root = config.root;
    },
    async generateBundle(_, bundle) {
      const built = Object.keys(bundle).filter(
        (name) => name.startsWith('assets/') && !name.endsWith('.map'),
      );
      const fixed = readdirSync(join(root, 'public'), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(join(root, 'public/').length));
      const files = ['/', ...[...built, ...fixed].sort().map((name) => `/${name}`)];
      const digest = createHash('sha256').update(files.join());
      for (const name of fixed) digest.update(readFileSync(join(root, 'public', name)));
      const version = digest.digest('hex').slice(0, 16);

      const source = join(root, 'src/service-worker.ts');
      const { code } = await transformWithOxc(readFileSync(source, 'utf8'), source);
      const constants = `const VERSION = ${JSON.stringify(version)};\nconst SHELL = ${JSON.stringify(files)};\n`;
      this.emitFile({ type: 'asset', fileName: 'sw.js', source: constants + code });
    },
  };
}

// The server, as a process of its own. It is `sotto-server` of the target folder, as cargo builds it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const target = process.env.CARGO_TARGET_DIR ?? join(homedir(), '.cache/sotto/target');
const program = join(target, 'debug/sotto-server');

/** Starts it on a free port; its origin, and how to stop it. */
export async function startServer() {
  const folder = await mkdtemp(join(tmpdir(), 'sotto-server-'));
  const child = spawn(program, ['serve', '--listen', '127.0.0.1:0', '--data-dir', folder], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit').then(([status]) =>
    Promise.reject(new Error(`the server ended with ${status}`)),
  );
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  const origin = line.replace('listening on ', '');
  const stop = async () => {
    child.kill();
    await ended.catch(() => {});
    await rm(folder, { recursive: true });
  };
  return { origin, stop };
}

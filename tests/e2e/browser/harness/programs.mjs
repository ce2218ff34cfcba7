// The programs of this repository, as children of a test: built, without the settings of whoever runs the test, and
// with a log that is shown when the test fails.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? join(homedir(), '.cache/sotto/target');
/** Tests run debug builds, measurements `release` ones. */
const BUILD = process.env.SOTTO_TEST_BUILD ?? 'debug';

/** Starts a program of this workspace; its standard error goes to the end of a log. */
export function start(name, args, { log, input = 'ignore', env = {} }) {
  const path = join(TARGET, BUILD, name);
  if (!existsSync(path)) throw new Error(`${path} is not there: make build (make test does it)`);
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('SOTTO_'));
  const stderr = openSync(log, 'a');
  const child = spawn(path, args, {
    env: { ...Object.fromEntries(own), ...env },
    stdio: [input, 'pipe', stderr],
  });
  closeSync(stderr);
  child.stdout.setEncoding('utf8');
  return child;
}

/** SIGKILL, or another one; resolves when it is gone. */
export async function end(child, signal = 'SIGKILL') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

/** A program that panicked fails the test, whatever else was seen. */
export function assertNoPanic(log) {
  const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
  if (text.includes('panicked at')) throw new Error(`it panicked:\n${text}`);
}

/** The last lines of a log, for the error of a test. */
export const tail = (log) =>
  existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(-30).join('\n') : '';

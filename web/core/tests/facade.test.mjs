// The module's interface: sign-up, restoring, commands and their errors, writes, timeouts, and what is no input.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Core, json, outputs, parse, random, SignUp } from './module.mjs';

const SERVER = 'http://localhost:8080';
const CONVERSATION = '01'.repeat(16);
const SESSION = 'A'.repeat(22);
const PROBLEM = 'urn:sotto:problem:';

const begin = () => SignUp.begin('Alice', SERVER, 'tab', 1_795_500_000_000, random(64));

/** The rows of a profile whose sign-up the server has taken. */
function signedUp() {
  const signUp = begin();
  const { account } = parse(signUp.request().body);
  return signUp.conclude(201, json({ account, handle: 'alice', profile: {} })).writes.puts;
}

/** A core on its rows, at a time that the test sets. */
function start(rows = signedUp()) {
  const core = Core.restore(rows, 0, 1_795_500_000_000, random(32));
  return {
    core,
    give(input, at = 0) {
      core.handle(at, 1_795_500_000_000 + at, input);
      return this.drain();
    },
    drain() {
      return [...outputs(core)];
    },
  };
}

const of = (given, type) => given.filter((output) => output.type === type);
const ask = (method, params) => ({ type: 'command', id: 7, method, params });

function thrown(what) {
  try {
    what();
  } catch (error) {
    assert.ok(error instanceof Error, `${error}`);
    return { code: error.code, ...error.data };
  }
  assert.fail('nothing was thrown');
}

test('a sign-up goes on with the same keys after its answer was lost', () => {
  const signUp = begin();
  assert.deepEqual([signUp.handle, signUp.server], ['alice', SERVER]);
  const { puts } = signUp.writes();
  const lost = signUp.conclude(502, json('<html>'));
  assert.equal(lost.done, false);
  assert.equal(lost.writes, undefined);
  assert.deepEqual([lost.error.code, lost.error.data], [-32006, { kind: 'offline' }]);

  const resumed = SignUp.resume(puts);
  const { method, path, body } = resumed.request('an invitation');
  assert.deepEqual([method, path], ['POST', '/v1/accounts']);
  assert.deepEqual({ ...parse(signUp.request().body), invite: 'an invitation' }, parse(body));
  const { account } = parse(body);
  const taken = resumed.conclude(200, json({ account, handle: 'alice', profile: {} }));
  assert.deepEqual([taken.done, taken.error], [true, undefined]);
  assert.deepEqual(taken.writes.deletes, [[puts[0][0], puts[0][1]]]);
  const { device, ...identity } = start(taken.writes.puts).core.identity();
  assert.deepEqual(identity, { account, handle: 'alice', server: SERVER });
  assert.match(device, /^[0-9a-f]{32}$/);
  assert.equal(SignUp.resume(taken.writes.puts), undefined);
});

test('a sign-up that is refused is forgotten, and says which field was wrong', () => {
  const problem = { type: `${PROBLEM}handle-taken`, title: 'Taken', status: 409, field: 'handle' };
  const { done, writes, error } = begin().conclude(409, json(problem));
  assert.deepEqual([done, writes.puts.length, writes.deletes.length], [false, 0, 1]);
  assert.deepEqual([error.code, error.data], [-32007, { kind: 'refused', field: 'handle', problem: 'handle-taken' }]);
  assert.deepEqual(begin().conclude(404, json('no API')).error.data, {
    kind: 'invalid-params',
    field: 'server',
  });
});

test('what cannot be signed up is thrown with its field', () => {
  const field = (...of) => thrown(() => SignUp.begin(...of)).field;
  assert.equal(field('a b', SERVER, 'tab', 5, random(64)), 'handle');
  assert.equal(field('alice', `${SERVER}/`, 'tab', 5, random(64)), 'server');
  assert.equal(field('alice', 'nowhere', 'tab', 5, random(64)), 'server');
  assert.equal(field('alice', SERVER, 'tab', Number.NaN, random(64)), 'wallMs');
  assert.equal(field('alice', SERVER, 'tab', 5, random(63)), 'random');
  const info = { version: '0', sign_up: 'open', now: 0, ice_servers: [] };
  begin().check(200, json({ ...info, origins: ['http://other', SERVER] }));
  assert.equal(
    thrown(() => begin().check(200, json({ ...info, origins: ['http://other'] }))).field,
    'server',
  );
  assert.equal(thrown(() => begin().check(200, json('<html>'))).field, 'server');
});

test('rows that are none, damaged or of a newer version are thrown', () => {
  const restore = (rows) => thrown(() => Core.restore(rows, 0, 0, random(32)));
  assert.deepEqual(restore([]), { code: -32001, kind: 'not-signed-up' });
  const [[table, key, value]] = signedUp();
  assert.deepEqual(restore([[table, key, value.slice(1)]]), { code: -32010, kind: 'profile' });
  assert.deepEqual(
    restore([
      [table, key, value],
      ['account', random(3), random(3)],
    ]),
    { code: -32010, kind: 'profile' },
  );
  assert.deepEqual(restore([['of a later version', key, value]]), { code: -32010, kind: 'profile' });
  for (const rows of [undefined, {}, [7], [[7, key, value]], [[table, key]], [[table, 'key', value]]]) {
    assert.equal(restore(rows).field, 'hot');
  }
  assert.equal(thrown(() => Core.restore(signedUp(), -1, 0, random(32))).field, 'monotonicMs');
  assert.equal(thrown(() => Core.restore(signedUp(), 0, 0, random(31))).field, 'seed');
});

test('a bad command is answered with an error, a good one with its result', () => {
  const peer = start();
  const error = (method, params) => {
    const [{ id, result, error }] = of(peer.give(ask(method, params)), 'reply');
    assert.deepEqual([id, result], [7, undefined]);
    return { code: error.code, ...error.data };
  };
  assert.deepEqual(error('dance'), { code: -32601, kind: 'method-not-found' });
  assert.deepEqual(error('direct', { handle: 'no spaces' }), {
    code: -32602,
    kind: 'invalid-params',
    field: 'handle',
  });
  assert.deepEqual(error('status', { x: 1 }), { code: -32602, kind: 'invalid-params', field: 'x' });
  const circular = {};
  circular.self = circular;
  for (const params of [[], 'bob', null, circular, { handle: 1n }, () => {}]) {
    assert.deepEqual(error('direct', params), { code: -32602, kind: 'invalid-params' });
  }
  const nowhere = { conversation: CONVERSATION, limit: 10 };
  assert.deepEqual(error('history', nowhere), { code: -32003, kind: 'not-found' });

  const [status] = of(peer.give(ask('status')), 'reply');
  assert.deepEqual(status.result, {
    account: peer.core.identity().account,
    handle: 'alice',
    device: peer.core.identity().device,
    server: { up: false },
    relay: { up: false },
    policy: 'auto',
    presence: { state: 'online' },
    conversations: [],
    links: [],
  });
});

test('what an answer says is durable: it comes after the write', () => {
  const rows = signedUp();
  const peer = start(rows);
  const given = peer.give(ask('path.policy', { mode: 'hedge' }));
  const [{ token, writes }] = of(given, 'persist');
  assert.deepEqual(of(given, 'reply'), []);
  const [{ result }] = of(peer.give({ type: 'persisted', token }), 'reply');
  assert.deepEqual(result, {});

  const again = start([...rows, ...writes.puts]);
  assert.equal(of(again.give(ask('status')), 'reply')[0].result.policy, 'hedge');
});

test('the core says when to come back, and tries again then', () => {
  const peer = start();
  const asked = of(peer.drain(), 'http').find(({ path }) => path === '/v1/challenges');
  assert.deepEqual([asked.method, asked.token], ['POST', undefined]);
  assert.equal(parse(asked.body).device, peer.core.identity().device);
  peer.give({ type: 'http', id: asked.id, error: 'connection refused' }, 10.25);
  const [{ result }] = of(peer.give(ask('status'), 10.25), 'reply');
  assert.match(result.server.why, /connection refused/);

  const at = peer.core.next_timeout();
  assert.ok(at > 10.25, `${at}`);
  assert.deepEqual(of(peer.give({ type: 'timeout' }, at - 0.01), 'http'), [], 'not before its time');
  const retried = of(peer.give({ type: 'timeout' }, at), 'http');
  assert.ok(
    retried.some(({ path }) => path === '/v1/challenges'),
    'at the very time that it said',
  );
});

test('what is no input is thrown with its field, and the core goes on', () => {
  const peer = start();
  const link = (event) => ({ type: 'link', device: '01'.repeat(16), session: SESSION, event });
  for (const [input, field] of [
    [undefined, 'input'],
    ['timeout', 'input'],
    [{}, 'type'],
    [{ type: 'dance' }, 'type'],
    [{ type: 'command', method: 'status' }, 'id'],
    [{ type: 'command', id: -1, method: 'status' }, 'id'],
    [{ type: 'command', id: 2 ** 53, method: 'status' }, 'id'],
    [{ type: 'command', id: 1 }, 'method'],
    [{ type: 'persisted', token: 1.5 }, 'token'],
    [{ type: 'loaded', id: 1, rows: [random(3)] }, 'rows'],
    [{ type: 'loaded', id: 1 }, 'rows'],
    [{ type: 'http', id: 1 }, 'status'],
    [{ type: 'http', id: 1, status: 65_536 }, 'status'],
    [{ type: 'http', id: 1, status: 200, body: 'text' }, 'body'],
    [{ type: 'socket', socket: 'other', event: 'opened' }, 'socket'],
    [{ type: 'socket', socket: 'relay', event: 'dance' }, 'event'],
    [{ type: 'socket', socket: 'relay', event: 'message', message: [1] }, 'message'],
    [{ ...link({ type: 'open', channel: 'msg' }), device: 'x' }, 'device'],
    [{ ...link({ type: 'open', channel: 'msg' }), session: 'x' }, 'session'],
    [link('open'), 'event'],
    [link({ type: 'dance' }), 'type'],
    [link({ type: 'open', channel: 'bulk' }), 'channel'],
    [link({ type: 'message', channel: 'msg', message: new ArrayBuffer(3) }), 'message'],
    [link({ type: 'description', kind: 'rollback', sdp: '' }), 'kind'],
    [link({ type: 'candidate', mid: null }), 'candidate'],
    [link({ type: 'state', state: 'new' }), 'state'],
    [link({ type: 'path', path: 'relay' }), 'path'],
    [link({ type: 'failed' }), 'why'],
  ]) {
    const { code, field: named } = thrown(() => peer.give(input));
    assert.deepEqual([code, named], [-32602, field], JSON.stringify(input));
  }
  const getter = Object.defineProperty({}, 'type', { get: () => assert.fail('a getter that throws') });
  assert.equal(thrown(() => peer.give(getter)).field, 'type');
  assert.equal(thrown(() => peer.give({ type: 'timeout' }, Number.NaN)).field, 'monotonicMs');

  // What nobody asked for is an input all the same, and ignored.
  for (const input of [
    { type: 'persisted', token: 99 },
    { type: 'loaded', id: 99, rows: [] },
    { type: 'http', id: 99, status: 200, body: random(10) },
    { type: 'socket', socket: 'relay', event: 'message', message: random(100) },
    { type: 'socket', socket: 'signal', event: 'closed' },
    link({ type: 'message', channel: 'msg', message: random(10) }),
    { type: 'network_changed' },
    { type: 'timeout' },
  ]) {
    peer.give(input);
  }
  assert.equal(of(peer.give(ask('status')), 'reply').length, 1);
});

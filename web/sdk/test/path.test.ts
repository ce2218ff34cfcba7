import { expect, test } from 'vitest';
import { pathOf } from '../src/page/links.js';

const stats = (...reports: object[]) =>
  new Map(reports.map((report) => [(report as { id: string }).id, report])) as unknown as RTCStatsReport;
const pair = { id: 'p', type: 'candidate-pair', localCandidateId: 'l', remoteCandidateId: 'r' };
const local = (candidateType: string) => ({ id: 'l', type: 'local-candidate', candidateType });
const remote = (candidateType: string) => ({ id: 'r', type: 'remote-candidate', candidateType });
const transport = { id: 't', type: 'transport', selectedCandidatePairId: 'p' };

test('a pair of own addresses is direct', () => {
  expect(pathOf(stats(transport, pair, local('host'), remote('prflx')))).toBe('direct');
});

test('a relayed address at either end is turn', () => {
  expect(pathOf(stats(transport, pair, local('relay'), remote('host')))).toBe('turn');
  expect(pathOf(stats(transport, pair, local('srflx'), remote('relay')))).toBe('turn');
});

test('Firefox marks the pair', () => {
  expect(pathOf(stats({ ...pair, selected: true }, local('host'), remote('host')))).toBe('direct');
});

test('without a selected pair nothing is said', () => {
  expect(pathOf(stats(pair, local('host'), remote('host')))).toBeUndefined();
});

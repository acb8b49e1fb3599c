import assert from 'node:assert/strict';
import test from 'node:test';
import { simulate } from './herd.mjs';

// As many as a test has time for; `npm run herd` simulates 10,000 and draws them.
const CLIENTS = 2_000;
const peak = (counts) => Math.max(...counts);
const sum = (counts) => counts.reduce((total, count) => total + count, 0);

test('a server that crashes: its clients come back spread out, and each attempt in vain makes them rarer', async () => {
  const { attempts, backAt } = await simulate({ clients: CLIENTS, how: 'crash', downMs: 5_000, perSecond: 400 });
  // The first tries are spread evenly over half a second, with the second tries of some behind them.
  assert.ok(peak(attempts) < 0.32 * CLIENTS, `at most ${peak(attempts)} in a tenth of a second`);
  const seconds = (from, to) => sum(attempts.slice(from * 10, to * 10));
  assert.ok(seconds(4, 5) < seconds(0, 1) / 3, 'rarer while it is down');
  assert.ok(peak(attempts.slice(50)) < 0.05 * CLIENTS, `never a herd at the door of a server that is back: ${peak(attempts.slice(50))}`);
  assert.ok(backAt > 0 && backAt < 30_000, `all are back after ${backAt} ms`);
});

test('a server that drains: each of its clients goes when it was told to', async () => {
  const { attempts, backAt } = await simulate({ clients: CLIENTS, how: 'drain', downMs: 1, perSecond: 800 });
  assert.ok(peak(attempts) < 0.035 * CLIENTS, `at most ${peak(attempts)} in a tenth of a second`);
  assert.equal(sum(attempts), CLIENTS, 'one attempt each');
  assert.ok(backAt < 6_000, `all are back after ${backAt} ms`);
});

test('the measure measures: without jitter they come as one', async () => {
  const { attempts } = await simulate({ clients: 1_000, how: 'crash', downMs: 5_000, perSecond: 2_000, random: () => 0.99 });
  assert.ok(peak(attempts) > 900);
});

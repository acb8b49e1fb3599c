// Schemas of three libraries, through Standard Schema, in both directions.
import { type } from 'arktype';
import assert from 'node:assert/strict';
import test from 'node:test';
import * as v from 'valibot';
import { z } from 'zod';
import { SchemaError, schemas } from '../dist/schema.js';
import { codeOf, openRig } from './support.mjs';

const libraries = {
  zod: z.object({ message: z.string().min(1), at: z.coerce.number().default(7) }),
  valibot: v.object({ message: v.pipe(v.string(), v.minLength(1)), at: v.optional(v.number(), 7) }),
  arktype: type({ message: 'string >= 1', at: 'number = 7' }),
};

for (const [name, chat] of Object.entries(libraries)) {
  test(`${name}: what a schema says is what arrives, with its defaults`, async () => {
    const it = await openRig(schemas({ incoming: { chat }, outgoing: { chat } }));
    it.peer.frame('chat', { message: 'hello' }, { seq: 1 });
    assert.deepEqual(it.seen.messages, [{ type: 'chat', seq: 1, payload: { message: 'hello', at: 7 } }]);
    it.socket.send({ type: 'chat', payload: { message: 'hello' } });
    assert.deepEqual(it.peer.sent.at(-1).payload, { message: 'hello', at: 7 });
  });

  test(`${name}: what a schema refuses does not reach the application, nor the server`, async () => {
    const it = await openRig(schemas({ incoming: { chat }, outgoing: { chat } }));
    it.peer.frame('chat', { message: '' }, { seq: 1 });
    it.peer.frame('toString', {}, { seq: 2 });
    assert.deepEqual(it.seen.messages, []);
    assert.deepEqual(it.seen.errors.map(({ code }) => code), ['invalid_message', 'invalid_message']);
    assert.ok(it.seen.errors[0].cause instanceof SchemaError);
    assert.ok(it.seen.errors[0].cause.issues.length > 0);
    for (const message of [{ type: 'chat', payload: { message: '' } }, { type: 'other' }, { type: '__proto__' }]) {
      assert.equal(await codeOf(it.socket.send(message)), 'invalid_message', message.type);
    }
    assert.deepEqual(it.peer.sent, []);
    it.peer.frame('chat', { message: 'next' }, { seq: 3 });
    assert.equal(it.seen.messages.length, 1, 'a refused message does not stop the next');
  });
}

test('a direction without schemas is not checked', async () => {
  const it = await openRig(schemas({ incoming: { chat: libraries.zod } }));
  it.socket.send({ type: 'anything', payload: 1 });
  assert.equal(it.peer.sent.length, 1);
});

test('a schema that answers with a promise is refused, in words', async () => {
  const chat = z.string().refine(async () => true);
  const slow = { '~standard': { version: 1, vendor: 'test', validate: async (value) => ({ value }) } };
  for (const schema of [chat, slow]) {
    const it = await openRig(schemas({ outgoing: { chat: schema } }));
    assert.equal(await codeOf(it.socket.send({ type: 'chat', payload: 'x' })), 'invalid_message');
  }
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import * as protocol from '../dist/protocol.js';

const vectors = JSON.parse(readFileSync(new URL('../../../vectors/protocol.json', import.meta.url), 'utf8'));

test('the words of the protocol are those of the vectors', () => {
  assert.equal(protocol.SUBPROTOCOL, vectors.subprotocol);
  assert.equal(protocol.SUBPROTOCOL_BEARER_PREFIX, vectors.subprotocolBearerPrefix);
  assert.deepEqual([...protocol.ERROR_CODES], vectors.errorCodes.map(({ code }) => code));
  assert.deepEqual(protocol.CLOSE_CODE, Object.fromEntries(vectors.closeCodes.map(({ code, name }) => [name, code])));
  assert.deepEqual(
    protocol.RECONNECT,
    Object.fromEntries(vectors.closeCodes.map(({ code, reconnect }) => [code, reconnect])),
  );
  assert.deepEqual([...protocol.SERVER_FRAME_TYPES], vectors.serverFrames);
  assert.deepEqual([...protocol.CSRF_EXEMPT_TYPES], vectors.clientFrames);
  for (const [name, value] of Object.entries(vectors.limits)) assert.equal(protocol[name], value, name);
});

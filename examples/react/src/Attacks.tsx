import { SecureWebSocket, type SecureWebSocketError } from '@wsguard/client';
import type { UseSecureWebSocket } from '@wsguard/client/react';
import { useState } from 'react';
import { forgeNextToken } from './network.ts';
import { fetchToken } from './token.ts';

interface AttacksProps {
  send: UseSecureWebSocket<any, any>['send'];
  say: (message: string) => Promise<void>;
  name: string;
}

interface Outcome {
  good: boolean;
  code: string;
  ref: string | undefined;
}

export function Attacks({ send, say, name }: AttacksProps) {
  const attacks = [
    {
      title: 'Forged CSRF token',
      text: 'A script in the page writes a message with a token that it made up.',
      run: () => {
        forgeNextToken();
        return send({ type: 'echo', payload: 'forged' });
      },
    },
    {
      title: 'Markup in a message',
      text: 'The room sees text; no browser runs it, even where a page is careless.',
      run: async () => {
        await say('<img src=x onerror="alert(1)">');
        return 'harmless';
      },
    },
    { title: 'A room without an invitation', text: 'A message to a room that was not joined.', run: () => send({ type: 'chat', payload: { message: 'psst', room: 'board' } }) },
    { title: 'A type nobody knows', text: 'What has no schema is not handled.', run: () => send({ type: 'admin.delete', payload: { everything: true } }) },
    { title: 'Prototype pollution', text: 'A key __proto__: the client refuses it before the server has to.', run: () => send({ type: 'echo', payload: JSON.parse('{"__proto__": {"admin": true}}') }) },
    {
      title: 'An expired token',
      text: 'A second connection with a token of yesterday.',
      run: () => expired(name),
    },
    {
      title: 'A flood of 90 messages',
      text: 'More than the quota: they wait and arrive at the pace of the server.',
      run: async () => {
        const started = performance.now();
        await Promise.all(Array.from({ length: 90 }, (_, n) => send({ type: 'echo', payload: n })));
        return `90 handled in ${((performance.now() - started) / 1000).toFixed(1)} s`;
      },
    },
  ];
  return (
    <section className="card attacks" aria-label="Attacks">
      <h2>Attacks, refused</h2>
      <ul>
        {attacks.map((attack) => (
          <Attack key={attack.title} {...attack} />
        ))}
      </ul>
    </section>
  );
}

function Attack({ title, text, run }: { title: string; text: string; run: () => Promise<unknown> }) {
  const [outcome, setOutcome] = useState<Outcome | 'running'>();
  const attack = async () => {
    setOutcome('running');
    try {
      const told = await run();
      // What was meant to be refused and was handled is shown as what it is.
      setOutcome(typeof told === 'string' ? { good: true, code: told, ref: undefined } : { good: false, code: 'handled', ref: undefined });
    } catch (error) {
      const { code, ref } = error as SecureWebSocketError;
      setOutcome({ good: true, code, ref });
    }
  };
  return (
    <li>
      <div>
        <h3>{title}</h3>
        <p>{text}</p>
        {outcome && outcome !== 'running' && (
          <output className={outcome.good ? 'good' : 'bad'}>
            {outcome.code}
            {outcome.ref && <small title="finds the full story in the server's log"> ref {outcome.ref}</small>}
          </output>
        )}
      </div>
      <button type="button" className="quiet" disabled={outcome === 'running'} onClick={attack}>
        {outcome === 'running' ? '…' : 'Try'}
      </button>
    </li>
  );
}

/** Connects with a token that has ended, and says how that ends. */
async function expired(name: string): Promise<never> {
  const { token } = await fetchToken(name, '-1s');
  const socket = new SecureWebSocket({ url: `${location.origin.replace('http', 'ws')}/ws`, authToken: token });
  const error = await new Promise<unknown>((resolve) =>
    socket.addEventListener('close', (event) => !event.willReconnect && resolve(event.error)),
  );
  throw error;
}

import { SecureWebSocket, type SecureWebSocketError } from '@wsguard/client';
import type { UseSecureWebSocket } from '@wsguard/client/react';
import { useState } from 'react';
import { forgeNextToken } from './network.ts';
import { fetchToken } from './token.ts';

interface AttacksProps {
  connection: UseSecureWebSocket<any, any>;
  name: string;
}

interface AttackProps {
  title: string;
  text: string;
  /** The code that refuses it. Without one it is to be handled, and `run` says what came of it. */
  refusal?: string;
  run: () => Promise<unknown>;
}

interface Outcome {
  good: boolean;
  told: string;
  ref?: string | undefined;
}

const MARKUP = '<img src=x onerror="alert(1)">';

export function Attacks({ connection: { socket, send }, name }: AttacksProps) {
  const attacks: AttackProps[] = [
    {
      title: 'Forged CSRF token',
      text: 'A script in the page writes a message with a token that it made up.',
      refusal: 'csrf_invalid',
      run: () => {
        forgeNextToken();
        return send({ type: 'echo', payload: 'forged' });
      },
    },
    {
      title: 'Markup in a message',
      text: 'The room sees text; no browser runs it, even where a page is careless.',
      run: async () => {
        const [heard] = await Promise.all([next(socket, 'onerror'), send({ type: 'chat', payload: { message: MARKUP } })]);
        // What a careless page would make of it.
        const { body } = new DOMParser().parseFromString(heard, 'text/html');
        if (body.childElementCount > 0) throw { code: 'an element' };
        return 'harmless';
      },
    },
    {
      title: 'A room without an invitation',
      text: 'A message to a room that was not joined.',
      refusal: 'forbidden',
      run: () => send({ type: 'chat', payload: { message: 'psst', room: 'board' } }),
    },
    {
      title: 'A type nobody knows',
      text: 'What has no schema is not handled.',
      refusal: 'unknown_type',
      run: () => send({ type: 'admin.delete', payload: { everything: true } }),
    },
    {
      title: 'Prototype pollution',
      text: 'A key __proto__: the client refuses it before the server has to.',
      refusal: 'unsafe_content',
      run: () => send({ type: 'echo', payload: JSON.parse('{"__proto__": {"admin": true}}') }),
    },
    {
      title: 'An expired token',
      text: 'A second connection with a token of yesterday.',
      refusal: 'unauthenticated',
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

function Attack({ title, text, refusal, run }: AttackProps) {
  const [outcome, setOutcome] = useState<Outcome | 'running'>();
  const attack = async () => {
    setOutcome('running');
    try {
      const told = await run();
      // What was meant to be refused and was handled is shown as what it is.
      setOutcome(refusal ? { good: false, told: 'handled' } : { good: true, told: String(told) });
    } catch (error) {
      const { code, message, ref } = error as Partial<SecureWebSocketError>;
      // Another end than the refusal, such as a lost connection, proves nothing.
      setOutcome({ good: code === refusal && code !== undefined, told: code ?? message ?? String(error), ref });
    }
  };
  return (
    <li>
      <div>
        <h3>{title}</h3>
        <p>{text}</p>
        {outcome && outcome !== 'running' && (
          <output className={outcome.good ? 'good' : 'bad'}>
            {outcome.told}
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

/** The text of the next line of the room that has `part` in it. */
function next(socket: AttacksProps['connection']['socket'], part: string): Promise<string> {
  return new Promise((resolve) => {
    const stop = new AbortController();
    const hear = ({ data: { type, payload } }: { data: { type: string; payload?: any } }) => {
      if (type !== 'chat' || !payload.message.includes(part)) return;
      stop.abort();
      resolve(payload.message);
    };
    socket?.addEventListener('message', hear, stop);
  });
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

import { SecureWebSocketError } from '@wsguard/client';
import { useMessage, useSecureWebSocket } from '@wsguard/client/react';
import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react';
import { Attacks } from './Attacks.tsx';
import { Connection } from './Connection.tsx';
import { incoming, type Line } from './messages.ts';
import { PlayWebSocket } from './network.ts';
import { fetchToken, type Token } from './token.ts';

/** Short, so that its renewal is seen. */
const TOKEN_TTL = '90s';

/** Lines that the page keeps. */
const LINES_MAX = 500;

/** A message of ours that the server has not acknowledged, or has refused. */
interface Draft {
  key: number;
  message: string;
  error?: SecureWebSocketError;
}

let lastKey = 0;

export function Chat({ name }: { name: string }) {
  const [lines, setLines] = useState<Line[]>([]);
  const [drafts, setDrafts] = useState<Draft[]>([]);
  const [expiresAt, setExpiresAt] = useState<number>();
  const [renewals, setRenewals] = useState(-1);
  const kept = useRef<Token | undefined>(undefined);

  const connection = useSecureWebSocket({
    url: `${location.origin.replace('http', 'ws')}/ws`,
    WebSocket: PlayWebSocket,
    ...incoming,
    authToken: async ({ reason }) => {
      // A token is kept until it ends or is refused.
      if (reason !== 'connect' || !kept.current) {
        kept.current = await fetchToken(name, TOKEN_TTL);
        setExpiresAt(kept.current.expiresAt);
        setRenewals((before) => before + 1);
      }
      return kept.current.token;
    },
    onOpen: ({ resumed }) => {
      // What was said while we were away is only known to a session that goes on.
      if (!resumed) setLines([]);
    },
  });
  const { socket, send } = connection;
  useMessage(socket, 'chat', ({ payload }) => setLines((before) => [...before, payload].slice(-LINES_MAX)));

  const say = useCallback(
    (message: string) => {
      const key = ++lastKey;
      const settle = (change: (draft: Draft) => Draft[]) =>
        setDrafts((before) => before.flatMap((draft) => (draft.key === key ? change(draft) : [draft])));
      setDrafts((before) => [...before, { key, message }]);
      // The server's copy comes as a message of the room: the draft goes when it is acknowledged.
      return send({ type: 'chat', payload: { message } }).then(
        () => settle(() => []),
        (error: SecureWebSocketError) => settle((draft) => [{ ...draft, error }]),
      );
    },
    [send],
  );
  const forget = (key: number) => setDrafts((before) => before.filter((draft) => draft.key !== key));
  const pending = drafts.filter(({ error }) => !error).length;

  return (
    <main className="layout">
      <section className="card chat" aria-label="Chat">
        <Connection connection={connection} pending={pending} expiresAt={expiresAt} renewals={Math.max(0, renewals)} />
        <Lines name={name} lines={lines} drafts={drafts} onAgain={(draft) => (forget(draft.key), void say(draft.message))} onForget={forget} />
        <Compose onSay={say} offline={connection.state !== 'open'} closed={connection.state === 'closed'} />
      </section>
      <Attacks connection={connection} name={name} />
    </main>
  );
}

interface LinesProps {
  name: string;
  lines: Line[];
  drafts: Draft[];
  onAgain: (draft: Draft) => void;
  onForget: (key: number) => void;
}

function Lines({ name, lines, drafts, onAgain, onForget }: LinesProps) {
  const end = useRef<HTMLLIElement>(null);
  useEffect(() => {
    void end.current?.scrollIntoView({ block: 'nearest' });
  }, [lines, drafts]);
  return (
    <ol className="lines" aria-live="polite">
      {lines.length + drafts.length === 0 && <li className="empty">Nothing was said yet. Say hello.</li>}
      {lines.map((line, at) => (
        <li key={at} className={line.from === name ? 'mine' : 'theirs'}>
          <span className="who">{line.from === name ? 'you' : line.from}</span>
          <p>{line.message}</p>
          <time dateTime={new Date(line.at).toISOString()}>{new Date(line.at).toLocaleTimeString([], { timeStyle: 'short' })}</time>
        </li>
      ))}
      {drafts.map((draft) => (
        <li key={`draft ${draft.key}`} className={draft.error ? 'mine failed' : 'mine pending'}>
          <span className="who">you</span>
          <p>{draft.message}</p>
          {draft.error ? (
            <span className="note">
              {draft.error.code === 'delivery_unknown' ? 'may have arrived' : `not sent: ${draft.error.code}`}
              <button type="button" className="link" onClick={() => onAgain(draft)}>
                Send again
              </button>
              <button type="button" className="link" onClick={() => onForget(draft.key)}>
                Forget
              </button>
            </span>
          ) : (
            <span className="note">waiting…</span>
          )}
        </li>
      ))}
      <li ref={end} className="end" aria-hidden="true" />
    </ol>
  );
}

function Compose({ onSay, offline, closed }: { onSay: (message: string) => void; offline: boolean; closed: boolean }) {
  const [text, setText] = useState('');
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim()) return;
    onSay(text);
    setText('');
  };
  return (
    <form className="compose" onSubmit={submit}>
      <input
        aria-label="Message"
        placeholder={closed ? 'The connection is closed' : offline ? 'Not connected: messages wait' : 'Say something'}
        value={text}
        maxLength={4000}
        disabled={closed}
        onChange={(event) => setText(event.target.value)}
      />
      <button type="submit" disabled={closed || !text.trim()}>
        Send
      </button>
    </form>
  );
}

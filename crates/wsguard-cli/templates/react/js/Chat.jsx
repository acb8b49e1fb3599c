// A chat over the guarded WebSocket. Made by `wsguard setup`; yours to change.
import { describe } from '@wsguard/client/describe';
import { useMessage, useSecureWebSocket } from '@wsguard/client/react';
import { useMemo, useState } from 'react';
import { tokenFor, url } from './client.js';
import './chat.css';

/** Lines that the page keeps. */
const LINES_MAX = 200;

const STATES = { connecting: 'Connecting', open: 'Connected', reconnecting: 'Reconnecting', closed: 'Closed' };

export function Chat() {
  const [name, setName] = useState('');
  return (
    <section className="wsguard-chat" aria-label="Chat">
      {name ? <Room name={name} /> : <SignIn onName={setName} />}
    </section>
  );
}

function SignIn({ onName }) {
  const [name, setName] = useState('');
  const submit = (event) => {
    event.preventDefault();
    if (name.trim()) onName(name.trim());
  };
  return (
    <form onSubmit={submit}>
      <input aria-label="Your name" placeholder="Your name" value={name} maxLength={40} onChange={(event) => setName(event.target.value)} />
      <button type="submit" disabled={!name.trim()}>
        Come in
      </button>
    </form>
  );
}

function Room({ name }) {
  const [lines, setLines] = useState([]);
  const [drafts, setDrafts] = useState([]);
  const [text, setText] = useState('');
  const authToken = useMemo(() => tokenFor(name), [name]);
  const connection = useSecureWebSocket({ url, authToken });
  const { state, socket, send } = connection;
  const why = 'error' in connection && connection.error ? `: ${describe(connection.error)}` : '';
  useMessage(socket, 'chat', ({ payload }) => setLines((before) => [...before, payload].slice(-LINES_MAX)));

  const say = (event) => {
    event.preventDefault();
    const message = text.trim();
    if (!message) return;
    const key = performance.now();
    setDrafts((before) => [...before, { key, message }]);
    setText('');
    // The line itself comes from the server, once it has been handled: then the draft goes.
    send({ type: 'chat', payload: { message } }).then(
      () => setDrafts((before) => before.filter((draft) => draft.key !== key)),
      ({ code }) =>
        setDrafts((before) => before.map((draft) => (draft.key === key ? { ...draft, error: code } : draft))),
    );
  };

  return (
    <>
      <p className="state" data-state={state}>
        {STATES[state]} as {name}
        {why}
      </p>
      <ol aria-live="polite">
        {lines.map((line) => (
          <li key={`${line.at} ${line.from} ${line.message}`} data-mine={line.from === name}>
            <b>{line.from}</b> {line.message}
          </li>
        ))}
        {drafts.map((draft) => (
          <li key={draft.key} data-mine data-draft>
            {draft.message} <small>{draft.error ? `not sent: ${draft.error}` : 'waiting…'}</small>
          </li>
        ))}
      </ol>
      <form onSubmit={say}>
        <input
          aria-label="Message"
          placeholder={state === 'open' ? 'Say something' : 'Not connected: messages wait'}
          value={text}
          maxLength={4000}
          disabled={state === 'closed'}
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" disabled={state === 'closed' || !text.trim()}>
          Send
        </button>
      </form>
    </>
  );
}

import { type FormEvent, useState } from 'react';
import { Chat } from './Chat.tsx';

export function App() {
  const [name, setName] = useState(nameInAddress);
  return (
    <>
      <header className="top">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M16 2 28 7v9c0 7-5 12-12 14C9 28 4 23 4 16V7z" />
          <path d="m10 16 4.5 4.5L23 12" className="tick" />
        </svg>
        <h1>wsguard chat</h1>
        {name && (
          <button type="button" className="quiet" onClick={() => setName('')}>
            Sign out
          </button>
        )}
      </header>
      {name ? <Chat key={name} name={name} /> : <SignIn onName={setName} />}
    </>
  );
}

/** `#Ann` signs Ann in. */
function nameInAddress(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
}

function SignIn({ onName }: { onName: (name: string) => void }) {
  const [name, setName] = useState('Ann');
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) onName(name.trim());
  };
  return (
    <main className="sign-in">
      <form className="card" onSubmit={submit}>
        <h2>Who is there?</h2>
        <p>Open this page in two windows, with two names.</p>
        <label>
          Name
          <input value={name} maxLength={40} onChange={(event) => setName(event.target.value)} autoFocus />
        </label>
        <button type="submit">Come in</button>
      </form>
    </main>
  );
}

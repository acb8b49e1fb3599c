import { describe } from '@wsguard/client/describe';
import { type UseSecureWebSocket, useRtt } from '@wsguard/client/react';
import { useEffect, useState } from 'react';
import { plug } from './network.ts';

interface ConnectionProps {
  connection: UseSecureWebSocket<any, any>;
  pending: number;
  expiresAt: number | undefined;
  renewals: number;
}

const WORDS = { connecting: 'Connecting', open: 'Connected', reconnecting: 'Reconnecting', closed: 'Closed' };

export function Connection({ connection, pending, expiresAt, renewals }: ConnectionProps) {
  const [plugged, setPlugged] = useState(true);
  const rtt = useRtt(connection.socket);
  const now = useNow();
  const toggle = () => {
    plug(!plugged);
    setPlugged(!plugged);
  };
  return (
    <div className={`connection ${connection.state}`}>
      <div className="state" role="status">
        <i className="dot" aria-hidden="true" />
        <strong>{WORDS[connection.state]}</strong>
        <span className="why">{why(connection, now)}</span>
      </div>
      <dl>
        <div>
          <dt>Round trip</dt>
          <dd>{rtt && connection.state === 'open' ? `${ms(rtt.median)} ± ${ms(rtt.jitter)}` : '–'}</dd>
        </div>
        <div>
          <dt>Waiting</dt>
          <dd className={pending > 0 ? 'busy' : ''}>{pending}</dd>
        </div>
        <div>
          <dt>Token</dt>
          <dd title={`renewed ${renewals} times`}>
            {expiresAt ? `${Math.max(0, Math.round((expiresAt - Date.now()) / 1000))} s` : '–'}
            <small> ↻ {renewals}</small>
          </dd>
        </div>
      </dl>
      <label className="plug">
        <input type="checkbox" role="switch" checked={plugged} onChange={toggle} /> Network
      </label>
    </div>
  );
}

const ms = (value: number) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function why(connection: UseSecureWebSocket<any, any>, now: number): string {
  switch (connection.state) {
    case 'open':
      return connection.welcome.resumed ? 'session resumed' : `as ${connection.welcome.subject}`;
    case 'reconnecting': {
      const { retryAt } = connection;
      return retryAt <= now ? 'trying now' : `next try in ${Math.max(0, Math.ceil((retryAt - now) / 1000))} s`;
    }
    case 'closed':
      return connection.error ? describe(connection.error) : '';
    default:
      return '';
  }
}

/** The time on the clock of `retryAt`, a few times a second. */
function useNow(): number {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 250);
    return () => clearInterval(timer);
  }, []);
  return now;
}

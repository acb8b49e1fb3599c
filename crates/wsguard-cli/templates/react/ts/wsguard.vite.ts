// The page and the WebSocket server under one origin, as in production behind one name. Made by `wsguard setup`.
import type { Plugin } from 'vite'

/** Where `wsguard serve --dev` listens. */
const target = 'http://127.0.0.1:3000'

export function wsguard(): Plugin {
  // The endpoint and what is below it, and not /wsguard.
  const proxy = { '^/ws(/|\\?|$)': { target, ws: true }, '/dev/token': { target } }
  return { name: 'wsguard', config: () => ({ server: { proxy }, preview: { proxy } }) }
}

import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

declare const process: { env: Record<string, string | undefined> };

/** A server that runs with `wsguard serve --dev`. */
const server = process.env['WSGUARD_URL'] ?? 'http://127.0.0.1:3000';

// The page and the server have one origin, as in production behind one name.
const proxy = { '/ws': { target: server, ws: true }, '/dev/token': { target: server } };

export default defineConfig({ plugins: [react()], server: { proxy }, preview: { proxy } });

// Firefox over WebDriver BiDi, with the few methods of Playwright's browsers that the tests use: Playwright itself drives
// only a Firefox of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { until } from './support.mjs';

export async function launchFirefox(executable) {
  const profile = mkdtempSync(join(tmpdir(), 'wsguard-firefox-'));
  const own = spawn(executable, ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port=0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: profile },
  });
  let log = '';
  own.stderr.on('data', (text) => (log += text));
  const address = await until('Firefox listens', () => /WebDriver BiDi listening on (ws:\S+)/.exec(log)?.[1]);
  const socket = new WebSocket(`${address}/session`);
  const waiting = new Map();
  let last = 0;
  socket.on('message', (data) => {
    const { id, type, result, error, message, params } = JSON.parse(String(data));
    // The server's own pages allow nothing: the tests bring the client into an empty one of the same origin.
    if (params?.isBlocked) void command('network.provideResponse', { request: params.request.request, statusCode: 200 });
    const answer = waiting.get(id);
    waiting.delete(id);
    if (type === 'error') answer?.reject(new Error(`${error}: ${message}`));
    else answer?.resolve(result);
  });
  await once(socket, 'open');
  const command = (method, params = {}) => {
    const id = ++last;
    socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  };
  await command('session.new', { capabilities: {} });
  await command('session.subscribe', { events: ['network.beforeRequestSent'] });
  const urlPatterns = [{ type: 'pattern', pathname: '/health' }];
  await command('network.addIntercept', { phases: ['beforeRequestSent'], urlPatterns });

  const openPage = async (userContext) => {
    const { context } = await command('browsingContext.create', { type: 'tab', userContext });
    const run = async (expression) => {
      const answer = await command('script.evaluate', { expression, target: { context }, awaitPromise: true });
      if (answer.type === 'exception') throw new Error(answer.exceptionDetails.text);
      return answer.result.value;
    };
    return {
      goto: (url) => command('browsingContext.navigate', { context, url, wait: 'complete' }),
      addScriptTag: ({ content }) => run(content.replace(/^"use strict";/, '').replace('var wsguard =', 'globalThis.wsguard =')),
      evaluate: async (act, argument) => {
        const text = await run(`(async () => JSON.stringify({ value: await (${act})(${JSON.stringify(argument)}) }))()`);
        return JSON.parse(text).value;
      },
      close: () => command('browsingContext.close', { context }),
    };
  };

  return {
    newContext: async () => {
      const { userContext } = await command('browser.createUserContext');
      return {
        newPage: () => openPage(userContext),
        addCookies: async (cookies) => {
          for (const { name, value, url, httpOnly, sameSite } of cookies) {
            await command('storage.setCookie', {
              cookie: { name, value: { type: 'string', value }, domain: new URL(url).hostname, path: '/', httpOnly, sameSite: sameSite.toLowerCase() },
              partition: { type: 'storageKey', userContext },
            });
          }
        },
        close: () => command('browser.removeUserContext', { userContext }),
      };
    },
    close: async () => {
      const ended = once(own, 'exit');
      await command('browser.close').catch(() => own.kill());
      await ended;
      socket.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

// Chromium over its own protocol. Playwright makes every page look as if it were seen, and such a page is never frozen.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { until } from './support.mjs';

/** A browser with pages that can be hidden, frozen and thawed. */
export class Browser {
  #process;
  #socket;
  #profile = mkdtempSync(join(tmpdir(), 'wsguard-chromium-'));
  #last = 0;
  #waiting = new Map();

  static async launch() {
    const browser = new Browser();
    const own = spawn(
      process.env.CHROMIUM ?? '/usr/bin/chromium',
      ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0', `--user-data-dir=${browser.#profile}`, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    browser.#process = own;
    let log = '';
    own.stderr.on('data', (text) => (log += text));
    const url = await until('Chromium listens', () => /DevTools listening on (ws:\S+)/.exec(log)?.[1]);
    browser.#socket = new WebSocket(url);
    browser.#socket.on('message', (data) => {
      const { id, result, error } = JSON.parse(String(data));
      const answer = browser.#waiting.get(id);
      browser.#waiting.delete(id);
      if (error) answer?.reject(new Error(error.message));
      else answer?.resolve(result);
    });
    await once(browser.#socket, 'open');
    return browser;
  }

  #send(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** A new tab, in front of the others. */
  async open(url) {
    const { targetId } = await this.#send('Target.createTarget', { url });
    const { sessionId } = await this.#send('Target.attachToTarget', { targetId, flatten: true });
    const page = {
      /** Runs an expression in the page and returns its value. */
      evaluate: async (expression) => {
        const { result, exceptionDetails } = await this.#send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true }, sessionId);
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      },
      show: () => this.#send('Target.activateTarget', { targetId }),
      freeze: () => this.#send('Page.setWebLifecycleState', { state: 'frozen' }, sessionId),
      thaw: () => this.#send('Page.setWebLifecycleState', { state: 'active' }, sessionId),
    };
    await until('the page is loaded', () => page.evaluate(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`));
    return page;
  }

  async close() {
    const exit = once(this.#process, 'exit');
    await this.#send('Browser.close');
    await exit;
    // Its children may still be writing their last.
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

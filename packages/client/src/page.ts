/** What surrounds the socket and comes and goes: a tab may be hidden or frozen, a device offline. */
export interface Page {
  /** Whether nobody looks at the page or the device is offline: then tries to connect are rare. */
  readonly dormant: boolean;
  /** Calls `wake` whenever that may have changed, until `signal` aborts. */
  listen(wake: () => void, signal: AbortSignal): void;
}

/** The page or worker that this runs in; under Node, which is neither, it never sleeps. */
export const thisPage: Page = {
  get dormant() {
    return globalThis.navigator?.onLine === false || !!globalThis.document?.hidden;
  },
  listen(wake, signal) {
    // Events after which a connection may be dead, or worth another try. Those of the document pass the window when they
    // are captured, whether they bubble or not.
    for (const event of ['online', 'offline', 'visibilitychange', 'pageshow', 'resume']) {
      globalThis.addEventListener?.(event, wake, { capture: true, signal });
    }
  },
};

// Runs in the sandboxed frame, whose origin is opaque: a foreign page that even holds a good token.
// It tries the handshake once and tells the parent what a page can see of the answer.

addEventListener("message", (event: MessageEvent<{ url: string; token: string }>) => {
  if (event.source !== parent) return;
  const tell = (result: Record<string, unknown>): void => parent.postMessage({ from: "foreign", ...result }, "*");
  const frames: string[] = [];
  let blocked = false;
  // A policy of the page that stops the attempt proves nothing about the guard.
  document.addEventListener("securitypolicyviolation", () => (blocked = true));
  try {
    const socket = new WebSocket(event.data.url, ["wsguard.v1", `wsguard.bearer.${event.data.token}`]);
    let opened = false;
    socket.addEventListener("open", () => {
      opened = true;
      setTimeout(() => socket.close(), 500);
    });
    socket.addEventListener("message", (message) => frames.push(String(message.data)));
    socket.addEventListener("close", (close) => tell({ opened, blocked, code: close.code, frames }));
  } catch (error) {
    tell({ opened: false, blocked: true, code: 0, frames, problem: String(error) });
  }
});
parent.postMessage({ from: "foreign", ready: true }, "*");
export {};

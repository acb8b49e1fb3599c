// A server as the `ws` package makes it: echoes every message to who brings the token, knows nothing else.
//
//   node testkit/peers/serve.mjs [TOKEN]      prints its port; ends with its standard input, or after two minutes
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const token = process.argv[2];
const server = createServer((_, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) {
    socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (open) => {
    open.on("message", (message, isBinary) => open.send(message, { binary: isBinary }));
    open.on("error", () => {});
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
setTimeout(() => process.exit(0), 120_000);

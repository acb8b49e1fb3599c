"""websockets 10.4, with its defaults of that time."""
import asyncio
import http

import labaio
import labapp
import websockets
from websockets.legacy.server import WebSocketServerProtocol

LIB = labapp.O.get("lib", {})


class Protocol(WebSocketServerProtocol):
    async def process_request(self, path, request_headers):
        headers = labaio.lower(request_headers.raw_items())
        if "upgrade" not in headers:
            status, h, body = labapp.http("GET", path, headers)
            return http.HTTPStatus(status), list(h.items()), body.encode()
        self.judged = labapp.judge(path, headers, self.remote_address[0])
        if not self.judged.ok:
            return http.HTTPStatus(self.judged.status), list(self.judged.headers.items()), self.judged.body.encode()


async def handler(ws, path):
    await labaio.converse(ws.judged, ws)


async def main():
    how = {k: (None if v == 0 else v) for k, v in LIB.items()}
    server = await websockets.serve(handler, "127.0.0.1", labapp.port(), create_protocol=Protocol, subprotocols=["lab.v1"], **how)
    labapp.say(labapp.port())
    await server.wait_closed()


asyncio.run(main())

"""Joins labapp.Conn, which is synchronous, with asyncio libraries: what it says is queued and written in order."""
import asyncio

import labapp


class Pump:
    """`send` and `close` are the library's coroutines."""

    def __init__(self, judged, send, close):
        self.queue, self.send, self.close = asyncio.Queue(), send, close
        self.task = asyncio.ensure_future(self._run())
        loop = asyncio.get_running_loop()
        self.conn = labapp.Conn(judged, lambda text: self.queue.put_nowait(("send", text)), lambda code, reason: self.queue.put_nowait(("close", code, reason)), loop.call_later)

    async def _run(self):
        try:
            while True:
                what, *args = await self.queue.get()
                if what == "send":
                    await self.send(*args)
                else:
                    await self.close(*args)
                    return
        except asyncio.CancelledError:
            raise
        except Exception:
            return  # the peer is gone

    def message(self, data, binary=False):
        self.conn.message(data, binary)

    def over(self):
        self.conn.closed()
        self.task.cancel()


async def converse(judged, peer):
    """Answers a peer whose messages are iterated over."""
    pump = Pump(judged, peer.send, peer.close)
    try:
        async for message in peer:
            pump.message(message, isinstance(message, bytes))
    finally:
        pump.over()


async def relay(pump, receive):
    """Answers a peer whose messages come as events of ASGI."""
    try:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            text = event.get("text")
            pump.message(text if text is not None else event["bytes"], text is None)
    finally:
        pump.over()


def lower(headers):
    """Header pairs as a dictionary of lower-case names; bytes or str."""
    text = lambda x: x.decode("latin-1") if isinstance(x, bytes) else x
    return {text(k).lower(): text(v) for k, v in headers}


async def asgi(scope, receive, send):
    """The lab's application as a bare ASGI application."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    headers = lower(scope["headers"])
    # Servers give the path with its quoting undone; the route is what they give.
    url = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope.get("query_string") else "")
    if scope["type"] == "http":
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        status, h, text = labapp.http(scope["method"], url, headers, body)
        await send({"type": "http.response.start", "status": status, "headers": [(k.lower().encode(), v.encode()) for k, v in h.items()]})
        await send({"type": "http.response.body", "body": text.encode()})
        return
    await receive()
    address = (scope.get("client") or ["?"])[0]
    if labapp.O["gate_on_upgrade"] and "upgrade" not in headers:
        # A gate that knows a handshake by its Upgrade header sees none in HTTP/2.
        judged = labapp.Judged(True, identity={"user": "alice", "exp": None, "credential": ""}, address=address)
    else:
        judged = labapp.judge(url, headers, address)
    if not judged.ok:
        if "websocket.http.response" in scope.get("extensions", {}):
            await send({"type": "websocket.http.response.start", "status": judged.status, "headers": [(k.lower().encode(), v.encode()) for k, v in judged.headers.items()]})
            await send({"type": "websocket.http.response.body", "body": judged.body.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept", "subprotocol": judged.protocol, "headers": [(k.lower().encode(), v.encode()) for k, v in judged.headers.items()]})
    pump = Pump(judged, lambda text: send({"type": "websocket.send", "text": text}), lambda code, reason: send({"type": "websocket.close", "code": code, "reason": reason}))
    await relay(pump, receive)

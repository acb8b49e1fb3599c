"""A client for wsguard in one file, on the package `websockets`: it authenticates, carries the CSRF token, waits for
acknowledgements, renews its token, and resumes its session after a lost connection.

    async with Client("wss://chat.example/ws", fetch_token) as client:
        await client.send("chat", {"message": "hello"})      # returns when the server has handled it
        async for kind, payload in client:
            ...
"""
import asyncio
import itertools
import json
import random
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

# After these the server does not want the client back: see "Close codes" in docs/protocol.md.
FINAL = {1000, 1002, 1003, 1007, 1008, 1009, 4403, 4409}
UNAUTHENTICATED, RATE_LIMITED = 4401, 4429
# Full jitter: a random time below a bound that doubles from try to try.
DELAY_MIN_SECONDS, DELAY_MAX_SECONDS = 0.5, 20.0
WELCOME_SECONDS = 10.0
# The server keeps what was not acknowledged, 64 KiB of it; it may be told every 200 ms.
ACK_EVERY_SECONDS = 1.0


class Refused(Exception):
    """The server refused a message. `ref` finds the reason in its log; nobody else gets to know it."""

    def __init__(self, error):
        super().__init__(f"{error['code']} (ref {error['ref']})")
        self.code, self.ref, self.retry_after = error["code"], error["ref"], error.get("retryAfterMs", 0) / 1000


class DeliveryUnknown(Exception):
    """The session ended while the message was under way: the server may have handled it."""


class Closed(Exception):
    """The connection is over for good."""


class Client:
    """`token` is an async function; it is asked again whenever the last token ends or was refused."""

    def __init__(self, url, token):
        self._url, self._token = url, token
        self._ids = itertools.count(1)
        self._unanswered = {}  # id: [future, kind, payload, whether it was written], in the order of the calls
        self._messages = asyncio.Queue()
        self._socket = self._csrf = self._resume = None
        self._seq, self._acked_at, self._retry_after = 0, 0.0, 0.0
        self._welcomed = asyncio.get_running_loop().create_future()
        self.subject = None

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        await self._welcomed
        return self

    async def __aexit__(self, *_):
        if self._socket:
            await self._socket.close()  # 1000: the server keeps nothing for a session that said goodbye
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aiter__(self):
        while (message := await self._messages.get()) is not None:
            yield message

    async def send(self, kind, payload):
        """Returns when the server has handled the message; what is sent while there is no connection waits for it."""
        if self._task.done():
            raise Closed("closed")
        number, future = next(self._ids), asyncio.get_running_loop().create_future()
        self._unanswered[number] = [future, kind, payload, False]
        try:
            if self._socket:
                await self._write(number)
            await future
        finally:
            self._unanswered.pop(number, None)

    async def _run(self):
        end = Closed("closed")
        try:
            await self._stay_connected()
        except Exception as error:
            end = error
        finally:
            if not self._welcomed.done():
                self._welcomed.set_exception(end)
            for future, *_ in self._unanswered.values():
                if not future.done():
                    future.set_exception(end)
            self._messages.put_nowait(None)

    async def _stay_connected(self):
        tries, refused_tokens = 0, 0
        while True:
            opened_at, code = time.monotonic(), 1006
            try:
                code = await self._converse()
            except InvalidStatus as error:
                code = {401: UNAUTHENTICATED, 403: 4403, 400: 1002}.get(error.response.status_code, code)
                self._retry_after = float(error.response.headers.get("Retry-After", 0))
            except (OSError, asyncio.TimeoutError):
                pass
            if code in FINAL or (code == UNAUTHENTICATED and refused_tokens):
                raise Closed(f"closed with {code}")
            refused_tokens = 1 if code == UNAUTHENTICATED else 0
            tries = 0 if time.monotonic() - opened_at > 5 else tries + 1
            bound = min(DELAY_MAX_SECONDS, DELAY_MIN_SECONDS * 2**tries)
            await asyncio.sleep(self._retry_after + random.uniform(0, bound))
            self._retry_after = 0.0

    async def _converse(self):
        """One connection, from its handshake to its close code."""
        resume = f"wsguard.resume.{self._resume}.{self._seq}" if self._resume else "wsguard.resume"
        headers = {"Authorization": f"Bearer {await self._token()}"}
        async with connect(self._url, subprotocols=["wsguard.v1", resume], additional_headers=headers,
                           open_timeout=WELCOME_SECONDS) as socket:
            try:
                async for text in socket:
                    await self._on_frame(socket, json.loads(text))
            except ConnectionClosed:
                pass
            finally:
                self._socket = None
            return socket.close_code or 1006

    async def _on_frame(self, socket, frame):
        payload = frame["payload"]
        match frame["type"]:
            case "welcome":
                await self._on_welcome(socket, payload)
            case "ack":
                self._answer(frame["id"], None)
            case "error":
                self._retry_after = payload.get("retryAfterMs", 0) / 1000
                self._answer(frame.get("id"), Refused(payload))
            case "csrf":
                self._csrf = payload["csrfToken"]
            case "auth.expiring":
                await socket.send(json.dumps({"type": "auth.refresh", "payload": {"token": await self._token()}}))
            case "draining":
                self._retry_after = payload["reconnectAfterMs"] / 1000
            case "auth.refreshed" | "pong":
                pass
            case kind:
                self._seq = frame["seq"]
                self._messages.put_nowait((kind, payload))
                if time.monotonic() - self._acked_at > ACK_EVERY_SECONDS:
                    self._acked_at = time.monotonic()
                    await socket.send(json.dumps({"type": "ack", "payload": {"seq": self._seq}}))

    async def _on_welcome(self, socket, welcome):
        self.subject, self._csrf, self._resume = welcome["subject"], welcome["csrfToken"], welcome.get("resumeToken")
        if not welcome["resumed"]:
            self._seq = 0
            for future, _, _, written in self._unanswered.values():
                if written and not future.done():
                    future.set_exception(DeliveryUnknown("the session was lost"))
        # Within one session sending again is safe: the server knows the ids that it has handled.
        for number, (future, *_) in list(self._unanswered.items()):
            if not future.done():
                await self._write(number, socket)
        self._socket = socket
        if not self._welcomed.done():
            self._welcomed.set_result(None)

    async def _write(self, number, socket=None):
        entry = self._unanswered[number]
        entry[3] = True
        message = {"type": entry[1], "id": number, "csrfToken": self._csrf, "payload": entry[2]}
        try:
            await (socket or self._socket).send(json.dumps(message))
        except ConnectionClosed:
            pass  # it is sent again after the next welcome

    def _answer(self, number, error):
        if (entry := self._unanswered.get(number)) and not entry[0].done():
            entry[0].set_exception(error) if error else entry[0].set_result(None)

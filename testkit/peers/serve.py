"""A server as the `websockets` package makes it: echoes every message to who brings the token.

    python3 testkit/peers/serve.py [TOKEN]      prints its port; ends with its standard input, or after two minutes
"""

import asyncio
import http
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / ".cache" / "peers"))
from websockets.asyncio.server import serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

TOKEN = sys.argv[1] if len(sys.argv) > 1 else None


def admit(connection, request):
    if TOKEN is not None and request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no\n")
    return None


async def echo(connection):
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def main():
    async with serve(echo, "127.0.0.1", 0, process_request=admit, ping_interval=1) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        await asyncio.wait({loop.run_in_executor(None, sys.stdin.read)}, timeout=120)


asyncio.run(main())

"""websockets, current, asyncio."""
import asyncio
import http

import labaio
import labapp
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

LIB = labapp.O.get("lib", {})


def process_request(connection, request):
    headers = labaio.lower(request.headers.raw_items())
    if "upgrade" not in headers:
        status, h, body = labapp.http("GET", request.path, headers)
        return Response(status, http.HTTPStatus(status).phrase, Headers({**h, "Content-Length": str(len(body.encode())), "Connection": "close"}), body.encode())
    judged = labapp.judge(request.path, headers, connection.remote_address[0])
    if not judged.ok:
        return Response(judged.status, http.HTTPStatus(judged.status).phrase, Headers({**judged.headers, "Content-Length": str(len(judged.body.encode())), "Connection": "close"}), judged.body.encode())
    connection.judged = judged


def choose(connection, offered):
    return "lab.v1" if "lab.v1" in offered else None


async def handler(connection):
    await labaio.converse(connection.judged, connection)


async def main():
    how = {k: v for k, v in LIB.items()}
    if how.get("compression") == "none":
        how["compression"] = None
    for k in ("max_size", "ping_interval"):
        if how.get(k) == 0:
            how[k] = None
    if labapp.O["banner"] == "":
        how["server_header"] = None
    async with serve(handler, "127.0.0.1", labapp.port(), process_request=process_request, select_subprotocol=choose, **how):
        labapp.say(labapp.port())
        await asyncio.get_running_loop().create_future()


asyncio.run(main())

"""python-socketio on aiohttp, authentication in the CONNECT packet."""
import json

import labaio
import labapp
import socketio
from aiohttp import web

LIB = labapp.O.get("lib", {})
sio = socketio.AsyncServer(async_mode="aiohttp", **LIB)
conns = {}


class Judged:
    def __init__(self, identity, address):
        self.identity, self.address = identity, address


@sio.event
async def connect(sid, environ, auth):
    address = environ.get("REMOTE_ADDR", "?")
    identity = {"user": "guest", "exp": None, "credential": ""}
    if labapp.O["credential"] == "connect":
        identity = labapp.identify((auth or {}).get("token"))
        if not identity:
            raise socketio.exceptions.ConnectionRefusedError("unauthenticated")
    conns[sid] = labaio.Pump(Judged(identity, address), lambda text: sio.emit("message", json.loads(text), to=sid), lambda code, reason: sio.disconnect(sid))


@sio.event
async def message(sid, data):
    if sid in conns:
        conns[sid].message(json.dumps(data))


@sio.event
async def disconnect(sid, *_):
    if sid in conns:
        conns.pop(sid).over()


async def pages(request):
    status, h, body = labapp.http(request.method, request.raw_path, labaio.lower(request.raw_headers), await request.read())
    return web.Response(status=status, headers=h, text=body)


app = web.Application()
sio.attach(app)
app.router.add_route("*", "/{any:.*}", pages)
web.run_app(app, host="127.0.0.1", port=labapp.port(), print=None)

"""aiohttp's own server and WebSocketResponse."""
import os
import ssl

import labaio
import labapp
from aiohttp import WSMsgType, web

LIB = labapp.O.get("lib", {})


async def every(request):
    headers, url = labaio.lower(request.raw_headers), request.raw_path
    if headers.get("upgrade", "").lower() != "websocket":
        status, h, body = labapp.http(request.method, url, headers, await request.read())
        return web.Response(status=status, headers=h, text=body)
    judged = labapp.judge(url, headers, request.remote)
    if not judged.ok:
        return web.Response(status=judged.status, headers=judged.headers, text=judged.body)
    how = {k: (None if k == "heartbeat" and v == 0 else v) for k, v in LIB.items()}
    ws = web.WebSocketResponse(protocols=["lab.v1"], **how)
    await ws.prepare(request)
    pump = labaio.Pump(judged, ws.send_str, lambda code, reason: ws.close(code=code, message=reason.encode()))
    try:
        async for message in ws:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                pump.message(message.data, message.type == WSMsgType.BINARY)
    finally:
        pump.over()
    return ws


app = web.Application(client_max_size=65536)
app.router.add_route("*", "/{any:.*}", every)


async def ready(_):
    labapp.say(labapp.port())


app.on_startup.append(ready)
context = None
if os.environ.get("LAB_CERT"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["LAB_CERT"], os.environ["LAB_KEY"])
if not labapp.O["banner"]:
    async def bare(request, response):
        response.headers["Server"] = ""
    app.on_response_prepare.append(bare)
web.run_app(app, host="127.0.0.1", port=labapp.port(), print=None, ssl_context=context)

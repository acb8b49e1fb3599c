"""Starlette under uvicorn with its `websockets` back end."""
import os

import labaio
import labapp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

LIB = labapp.O.get("lib", {})


def raw_url(scope):
    return scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")


async def pages(request):
    status, h, body = labapp.http(request.method, raw_url(request.scope), labaio.lower(request.scope["headers"]), await request.body())
    return Response(body, status, h)


async def socket(ws):
    judged = labapp.judge(raw_url(ws.scope), labaio.lower(ws.scope["headers"]), ws.client.host)
    if not judged.ok:
        await ws.send_denial_response(Response(judged.body, judged.status, judged.headers))
        return
    await ws.accept(judged.protocol)
    pump = labaio.Pump(judged, ws.send_text, ws.close)
    try:
        while True:
            event = await ws.receive()
            if event["type"] == "websocket.disconnect":
                return
            text = event.get("text")
            pump.message(text if text is not None else event["bytes"], text is None)
    except WebSocketDisconnect:
        pass
    finally:
        pump.over()


app = Starlette(debug=bool(labapp.O["trace_404"]), routes=[WebSocketRoute(labapp.O["path"], socket), WebSocketRoute("/{any:path}", socket), Route("/{any:path}", pages, methods=["GET", "POST"])])
how = dict(LIB)
if os.environ.get("LAB_CERT"):
    how.update(ssl_certfile=os.environ["LAB_CERT"], ssl_keyfile=os.environ["LAB_KEY"])
uvicorn.run(app, host="127.0.0.1", port=labapp.port(), log_level="error", **{"ws": "websockets", **how})

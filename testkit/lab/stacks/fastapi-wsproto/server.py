"""FastAPI under uvicorn with its `wsproto` back end."""
import labaio
import labapp
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

LIB = labapp.O.get("lib", {})
# As it comes: the interactive documentation is on.
app = FastAPI(debug=bool(labapp.O["trace_404"]))


def raw_url(scope):
    return scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")


@app.websocket("/{path:path}")
async def socket(ws: WebSocket, path: str):
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


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def pages(request: Request, path: str):
    status, h, body = labapp.http(request.method, raw_url(request.scope), labaio.lower(request.scope["headers"]), await request.body())
    return Response(body, status, h)


uvicorn.run(app, host="127.0.0.1", port=labapp.port(), log_level="error", **{"ws": "wsproto", **LIB})

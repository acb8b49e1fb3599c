"""What servers over Starlette's WebSocket share."""
import labaio
import labapp
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect


def raw_url(scope):
    return scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")


async def socket(ws):
    judged = labapp.judge(raw_url(ws.scope), labaio.lower(ws.scope["headers"]), ws.client.host)
    if not judged.ok:
        await ws.send_denial_response(Response(judged.body, judged.status, judged.headers))
        return
    await ws.accept(judged.protocol)
    try:
        await labaio.relay(labaio.Pump(judged, ws.send_text, ws.close), ws.receive)
    except WebSocketDisconnect:
        pass


async def pages(request):
    status, h, body = labapp.http(request.method, raw_url(request.scope), labaio.lower(request.scope["headers"]), await request.body())
    return Response(body, status, h)

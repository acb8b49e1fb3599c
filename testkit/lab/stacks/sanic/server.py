"""Sanic with its built-in WebSocket support, one process."""
import labaio
import labapp
from sanic import Sanic
from sanic.response import text

app = Sanic("lab", configure_logging=False)
for name, value in labapp.O.get("lib", {}).items():
    app.config[name] = value
app.config.FALLBACK_ERROR_FORMAT = "text"
app.config.ACCESS_LOG = False


def url(request):
    return request.path + ("?" + request.query_string if request.query_string else "")


@app.on_request
async def gate(request):
    if request.headers.get("upgrade", "").lower() == "websocket":
        request.ctx.judged = labapp.judge(url(request), labaio.lower(request.headers.items()), request.ip)
        if not request.ctx.judged.ok:
            return text(request.ctx.judged.body, request.ctx.judged.status, request.ctx.judged.headers)


@app.websocket(labapp.O["path"])
async def socket(request, ws):
    pump = labaio.Pump(request.ctx.judged, ws.send, ws.close)
    try:
        async for message in ws:
            pump.message(message, isinstance(message, bytes))
    finally:
        pump.over()


@app.route("/<any:path>", methods=["GET", "POST"])
async def pages(request, any):
    status, h, body = labapp.http(request.method, url(request), labaio.lower(request.headers.items()), request.body)
    kind = h.pop("Content-Type")
    return text(body, status, h, kind)


if __name__ == "__main__":
    app.run("127.0.0.1", labapp.port(), single_process=True, motd=False, debug=bool(labapp.O["trace_404"]))

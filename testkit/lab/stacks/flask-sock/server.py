"""Flask with flask-sock under Werkzeug's threaded server, as its documentation starts it."""
import labapp
import simple_websocket
from flask import Flask, Response, request
from flask_sock import Sock

LIB = labapp.O.get("lib", {})
app = Flask("lab")
app.config["SOCK_SERVER_OPTIONS"] = LIB
sock = Sock(app)


def url():
    return request.full_path.rstrip("?")


def headers():
    return {k.lower(): v for k, v in request.headers}


@app.before_request
def gate():
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return None
    request.judged = labapp.judge(url(), headers(), request.remote_addr)
    if not request.judged.ok:
        return Response(request.judged.body, request.judged.status, request.judged.headers)


@sock.route(labapp.O["path"])
def socket(ws):
    def send(text):
        try:
            ws.send(text)
        except simple_websocket.ConnectionClosed:
            pass

    def close(code, reason):
        try:
            ws.close(code, reason)
        except simple_websocket.ConnectionClosed:
            pass

    conn = labapp.Conn(request.judged, send, close)
    try:
        while True:
            data = ws.receive()
            conn.message(data, isinstance(data, (bytes, bytearray)))
    finally:
        conn.closed()


@app.route("/", methods=["GET", "POST"], defaults={"any": ""})
@app.route("/<path:any>", methods=["GET", "POST"])
def pages(any):
    status, h, body = labapp.http(request.method, url(), headers(), request.get_data())
    return Response(body, status, h)


app.run("127.0.0.1", labapp.port(), threaded=True, debug=False)

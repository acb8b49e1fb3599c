"""gevent-websocket 0.10.1 under gevent's pywsgi."""
from gevent import monkey

monkey.patch_all()
import gevent
import labapp
from gevent.pywsgi import WSGIServer
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler


def headers(environ):
    h = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    return h


class Later:
    def __init__(self, seconds, act):
        self.job = gevent.spawn_later(seconds, act)

    def cancel(self):
        self.job.kill(block=False)


def application(environ, start_response):
    url = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ.get("QUERY_STRING") else "")
    ws = environ.get("wsgi.websocket")
    if ws is None:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, h, body = labapp.http(environ["REQUEST_METHOD"], url, headers(environ), environ["wsgi.input"].read(length) if length else b"")
        start_response(f"{status} Answer", list(h.items()))
        return [body.encode()]
    # The library has already answered 101: a refusal is a close.
    judged = labapp.judge(url, headers(environ), environ["REMOTE_ADDR"])
    if not judged.ok:
        ws.close(1008)
        return []

    def send(text):
        try:
            ws.send(text)
        except WebSocketError:
            pass

    conn = labapp.Conn(judged, send, lambda code, reason: ws.close(code, reason.encode()), Later)
    try:
        while (message := ws.receive()) is not None:
            conn.message(message, isinstance(message, (bytes, bytearray)))
    except WebSocketError:
        pass
    finally:
        conn.closed()
    return []


WSGIServer(("127.0.0.1", labapp.port()), application, handler_class=WebSocketHandler, log=None).serve_forever()

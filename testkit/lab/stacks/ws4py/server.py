"""ws4py 0.6.0 under wsgiref, as its documentation starts it."""
from wsgiref.simple_server import make_server

import labapp
from ws4py.server.wsgirefserver import WebSocketWSGIRequestHandler, WSGIServer
from ws4py.server.wsgiutils import WebSocketWSGIApplication
from ws4py.websocket import WebSocket


class Socket(WebSocket):
    def opened(self):
        def send(text):
            try:
                self.send(text)
            except (OSError, RuntimeError):
                pass

        self.conn = labapp.Conn(self.environ["lab.judged"], send, lambda code, reason: self.close(code, reason))

    def received_message(self, message):
        self.conn.message(message.data if message.is_binary else message.data.decode("utf-8", "replace"), message.is_binary)

    def closed(self, code, reason=None):
        if hasattr(self, "conn"):
            self.conn.closed()


upgrade = WebSocketWSGIApplication(handler_cls=Socket, protocols=["lab.v1"])


def application(environ, start_response):
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    url = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ.get("QUERY_STRING") else "")
    if headers.get("upgrade", "").lower() != "websocket":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, h, body = labapp.http(environ["REQUEST_METHOD"], url, headers, environ["wsgi.input"].read(length) if length else b"")
        start_response(f"{status} Answer", list(h.items()))
        return [body.encode()]
    judged = labapp.judge(url, headers, environ["REMOTE_ADDR"])
    if not judged.ok:
        start_response(f"{judged.status} Refused", list(judged.headers.items()))
        return [judged.body.encode()]
    environ["lab.judged"] = judged
    return upgrade(environ, start_response)


server = make_server("127.0.0.1", labapp.port(), server_class=WSGIServer, handler_class=WebSocketWSGIRequestHandler, app=application)
server.initialize_websockets_manager()
labapp.say(labapp.port())
server.serve_forever()

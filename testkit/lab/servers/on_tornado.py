"""Tornado's WebSocketHandler."""
import collections
import collections.abc

for name in ("MutableMapping", "Mapping", "Iterable"):  # names that old releases look for where Python 3.10 no longer has them
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))

import asyncio

import labaio
import labapp
import tornado.httpserver
import tornado.ioloop
import tornado.web
import tornado.websocket

LIB = labapp.O.get("lib", {})


class Quiet:
    def set_default_headers(self):
        if not labapp.O["banner"]:
            self.clear_header("Server")


class Pages(Quiet, tornado.web.RequestHandler):
    def run(self):
        status, h, body = labapp.http(self.request.method, self.request.uri, labaio.lower(self.request.headers.get_all()), self.request.body)
        self.set_status(status)
        for k, v in h.items():
            self.set_header(k, v)
        self.finish(body or None)

    get = post = run


class Socket(Quiet, tornado.websocket.WebSocketHandler):
    def check_origin(self, origin):
        return True  # the application judges

    def select_subprotocol(self, offered):
        return "lab.v1" if "lab.v1" in offered else None

    def get_compression_options(self):
        return {} if LIB.get("deflate") else None

    def prepare(self):
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            return
        self.judged = labapp.judge(self.request.uri, labaio.lower(self.request.headers.get_all()), self.request.remote_ip)
        if not self.judged.ok:
            self.set_status(self.judged.status)
            for k, v in self.judged.headers.items():
                self.set_header(k, v)
            self.finish(self.judged.body)

    def open(self, *_):
        loop = tornado.ioloop.IOLoop.current()

        class Later:
            def __init__(self, seconds, act):
                self.handle = loop.call_later(seconds, act)

            def cancel(self):
                loop.remove_timeout(self.handle)

        def send(text):
            try:
                self.write_message(text)
            except tornado.websocket.WebSocketClosedError:
                pass

        self.conn = labapp.Conn(self.judged, send, lambda code, reason: self.close(code, reason), Later)

    def on_message(self, message):
        self.conn.message(message, isinstance(message, bytes))

    def on_close(self):
        if hasattr(self, "conn"):
            self.conn.closed()


settings = {k: v for k, v in LIB.items() if k.startswith("websocket_")}
app = tornado.web.Application([(labapp.O["path"], Socket), (r"/.*", Pages)], debug=False, serve_traceback=bool(labapp.O["trace_404"]), **settings)
asyncio.set_event_loop(asyncio.new_event_loop())
app.listen(labapp.port(), "127.0.0.1")
labapp.say(labapp.port())
tornado.ioloop.IOLoop.current().start()

"""Autobahn's WebSocket server on Twisted, alone on its port."""
import labapp
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor

LIB = labapp.O.get("lib", {})


class Socket(WebSocketServerProtocol):
    def onConnect(self, request):
        url = self.http_request_uri
        self.judged = labapp.judge(url, {k.lower(): v for k, v in request.headers.items()}, self.transport.getPeer().host)
        if not self.judged.ok:
            raise ConnectionDeny(self.judged.status, "refused")
        return (self.judged.protocol, self.judged.headers) if self.judged.headers else self.judged.protocol

    def onOpen(self):
        class Later:
            def __init__(self, seconds, act):
                self.call = reactor.callLater(seconds, act)

            def cancel(self):
                if self.call.active():
                    self.call.cancel()

        # The library sends 1000 and 3000 to 4999 only.
        self.conn = labapp.Conn(self.judged, lambda text: self.sendMessage(text.encode("utf-8", "replace"), False), lambda code, reason: self.sendClose(code if code == 1000 or code >= 3000 else 3000 + code, reason), Later)

    def onMessage(self, payload, isBinary):
        self.conn.message(payload if isBinary else payload.decode("utf-8", "replace"), isBinary)

    def onClose(self, clean, code, reason):
        if hasattr(self, "conn"):
            self.conn.closed()


factory = WebSocketServerFactory(f"ws://127.0.0.1:{labapp.port()}", server=labapp.O["banner"] or None, protocols=["lab.v1"])
factory.protocol = Socket
if LIB:
    factory.setProtocolOptions(**LIB)
reactor.listenTCP(labapp.port(), factory, interface="127.0.0.1")
labapp.say(labapp.port())
reactor.run()

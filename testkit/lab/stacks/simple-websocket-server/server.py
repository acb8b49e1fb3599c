"""simple-websocket-server 0.4.4: one select loop; the credential is the first message."""
import labapp
from simple_websocket_server import WebSocket, WebSocketServer


class Judged:
    identity = {"user": "guest", "exp": None, "credential": ""} if labapp.O["credential"] == "none" else None

    def __init__(self, address):
        self.address = address


class Socket(WebSocket):
    def connected(self):
        self.conn = labapp.Conn(Judged(self.address[0]), self.send_message, self.close)

    def handle(self):
        self.conn.message(self.data, not isinstance(self.data, str))

    def handle_close(self):
        if hasattr(self, "conn"):
            self.conn.closed()


server = WebSocketServer("127.0.0.1", labapp.port(), Socket)
labapp.say(labapp.port())
server.serve_forever()

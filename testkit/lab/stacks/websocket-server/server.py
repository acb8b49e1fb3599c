"""websocket-server 0.6.4: a small server without a way to refuse a handshake; the credential is the first message."""
import labapp
from websocket_server import WebsocketServer

server = WebsocketServer(host="127.0.0.1", port=labapp.port())
conns = {}


class Judged:
    identity = {"user": "guest", "exp": None, "credential": ""} if labapp.O["credential"] == "none" else None

    def __init__(self, address):
        self.address = address


def joined(client, server):
    def close(code, reason):
        try:
            client["handler"].send_close(code, reason.encode())
            client["handler"].keep_alive = False
            client["handler"].connection.shutdown(2)
        except OSError:
            pass

    conns[client["id"]] = labapp.Conn(Judged(client["address"][0]), lambda text: server.send_message(client, text), close)


def left(client, server):
    conn = conns.pop(client["id"], None) if client else None
    if conn:
        conn.closed()


def said(client, server, message):
    conns[client["id"]].message(message)


server.set_fn_new_client(joined)
server.set_fn_client_left(left)
server.set_fn_message_received(said)
labapp.say(server.port)
server.run_forever()

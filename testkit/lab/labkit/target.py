"""How one speaks to a running stack: its handshake, its credential, its dialect."""
import json
import re
import secrets
import socket
import ssl
import struct
import threading
import time

from . import msgpack, raw
from .raw import Gone, Peer
from .stack import ORIGIN

_next = [0]
_guard = threading.Lock()


def new_address():
    """Another loopback address for each probe, so that a limit per address met by one does not colour the next."""
    with _guard:
        _next[0] += 1
        n = _next[0]
    return f"127.{10 + (n >> 16) % 200}.{(n >> 8) % 256}.{n % 254 + 1}"


# Dialects: the path, what is said on opening, and how an application message is wrapped.
APP = '{@MORE@"type":"echo","text":@TEXT@,"n":@N@}'
DIALECTS = {
    "json": {"template": APP, "expect": r'"text": ?"@MARK@"'},
    "rpc": {"template": '{@MORE@"jsonrpc":"2.0","id":1,"method":"echo","params":{"text":@TEXT@,"n":@N@}}', "expect": r'"text": ?"@MARK@"'},
    "socketio4": {"path": "/socket.io/?EIO=4&transport=websocket", "greet": [["", "^0"], ["40@AUTH@", "^40"]], "template": '42["message",' + APP + "]", "expect": r'"text": ?"@MARK@"'},
    "socketio2": {"path": "/socket.io/?EIO=3&transport=websocket", "greet": [["", "^0"], ["", "^40"]], "template": '42["message",' + APP + "]", "expect": r'"text": ?"@MARK@"'},
    "engineio3": {"path": "/engine.io/?EIO=3&transport=websocket", "greet": [["", "^0"]], "template": "4" + APP, "expect": r'^4.*"text": ?"@MARK@"'},
    "engineio4": {"path": "/engine.io/?EIO=4&transport=websocket", "greet": [["", "^0"]], "template": "4" + APP, "expect": r'^4.*"text": ?"@MARK@"'},
    "sockjs": {"path": "/sockjs/000/lab@RANDOM@/websocket", "greet": [["", "^o"]], "template": APP, "expect": r'"text": ?"@MARK@"'},
    "graphql-transport-ws": {"protocol": "graphql-transport-ws", "greet": [['{"type":"connection_init","payload":@AUTH@}', "connection_ack"]],
                             "template": '{@MORE@"id":"@MARK@","type":"subscribe","payload":{"query":"query Q($t:String!){echo(text:$t)}","variables":{"t":@TEXT@}}}', "expect": r'"echo":"@MARK@"'},
    "graphql-ws": {"protocol": "graphql-ws", "greet": [['{"type":"connection_init","payload":@AUTH@}', "connection_ack"]],
                   "template": '{@MORE@"id":"@MARK@","type":"start","payload":{"query":"query Q($t:String!){echo(text:$t)}","variables":{"t":@TEXT@}}}', "expect": r'"echo":"@MARK@"'},
    "msgpack": {"template": APP, "expect": r'"text": ?"@MARK@"'},
    "bytes": {"protocol": "binary"},
}


class Packing(Peer):
    """Sends what is a document in MessagePack, and everything else as it is."""

    def send(self, opcode, payload=b"", **how):
        if opcode == 1 and not how:
            try:
                opcode, payload = 2, msgpack.pack(json.loads(payload))
            except ValueError:
                pass
        super().send(opcode, payload, **how)


class Refused(Exception):
    """The handshake or what follows it did not open the way."""

    def __init__(self, how, status=0, reply=None):
        super().__init__(how)
        self.how, self.status, self.reply = how, status, reply


class Target:
    """A running stack as the probes see it. One per probe: each has its own source address."""

    def __init__(self, running):
        self.run, self.stack, self.speak = running, running.stack, running.stack.speak
        self.dialect = self.speak.get("dialect", "json")
        self.form = {**DIALECTS[self.dialect], **{k: v for k, v in self.speak.items() if k in ("template", "expect", "greet", "protocol")}}
        self.credential = self.stack.opt("credential", "header")
        self.source, self.host, self.port = new_address(), running.host, running.port
        self.open_sockets = []

    # Facts

    @property
    def tls(self):
        return bool(self.run.tls)

    @property
    def path(self):
        return self.speak.get("path") or self.form.get("path") or self.stack.opt("path", "/ws")

    @property
    def ambient(self):
        """Whether a browser would send the credential by itself."""
        return self.credential == "cookie"

    @property
    def in_band(self):
        """Whether the credential travels after the upgrade."""
        return self.credential in ("first", "connect")

    @property
    def origin(self):
        """The Origin of the stack's own pages."""
        if self.stack.opt("origin") == "same-host":
            return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"
        return ORIGIN

    @property
    def public(self):
        return self.credential == "none"

    @property
    def speaks(self):
        """Whether the stack carries the lab's application, which answers."""
        return "template" in self.form

    # Bytes

    def connect(self, tls=None, source=None):
        s = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(8)
        s.bind((source or self.source, 0))
        s.connect((self.host, self.port))
        if self.tls if tls is None else tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            s = context.wrap_socket(s, server_hostname="localhost")
        self.open_sockets.append(s)
        return s

    def done(self):
        for s in self.open_sockets:
            try:
                s.close()
            except OSError:
                pass

    def request(self, path=None, token=None, origin="", host=None, key=None, version="13", method="GET", http="HTTP/1.1", protocols=None, extensions=None,
                headers=(), upgrade=True, target=None):
        """The bytes of a handshake. `token` False: none."""
        token = self.run.token() if token is None else token
        origin = self.origin if origin == "" else origin
        path = path or self.path
        path = path.replace("@RANDOM@", secrets.token_hex(4))
        lines, offers = [], list(protocols) if protocols is not None else []
        if protocols is None and self.form.get("protocol"):
            offers.append(self.form["protocol"])
        if token:
            if self.credential == "header":
                lines.append(f"Authorization: Bearer {token}")
            elif self.credential == "cookie":
                lines.append(f"Cookie: sid={token}")
            elif self.credential == "query":
                path += ("&" if "?" in path else "?") + f"token={token}"
            elif self.credential == "subprotocol":
                offers += ["lab.v1", f"bearer.{token}"]
        if offers:
            lines.append("Sec-WebSocket-Protocol: " + ", ".join(offers))
        if origin is not None:
            lines.append(f"Origin: {origin}")
        if extensions:
            lines.append(f"Sec-WebSocket-Extensions: {extensions}")
        if upgrade:
            lines += ["Upgrade: websocket", "Connection: Upgrade"]
        if version is not None:
            lines.append(f"Sec-WebSocket-Version: {version}")
        if key is not False:
            lines.append(f"Sec-WebSocket-Key: {key or raw.new_key()}")
        lines += list(headers)
        host = f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}" if host is None else host
        return (f"{method} {target or path} {http}\r\nHost: {host}\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n").encode("latin-1")

    def exchange(self, data, wait=5.0, sock=None):
        """Sends bytes, reads the head of the answer; None when the other end closed or stayed silent."""
        sock = sock or self.connect()
        try:
            sock.settimeout(5)
            sock.sendall(data)
        except OSError:
            pass
        reply = raw.read_reply(sock, wait)
        if reply is None:
            sock.close()
        return reply

    def handshake(self, wait=5.0, **how):
        return self.exchange(self.request(**how), wait)

    def get(self, path, method="GET", headers=(), body=b"", host=None):
        head = f"{method} {path} HTTP/1.1\r\nHost: {host or f'{self.host}:{self.port}'}\r\n" + "".join(h + "\r\n" for h in headers)
        head += f"Connection: close\r\n{f'Content-Length: {len(body)}' if body or method == 'POST' else 'X-Lab: 1'}\r\n\r\n"
        return self.exchange(head.encode() + body)

    # Conversation

    def open(self, token=None, greet=True, wait=4.0, **how):
        """An open, authenticated conversation. Raises Refused."""
        token = self.run.token() if token is None else token
        reply = self.handshake(token=token, **how)
        if reply is None:
            raise Refused("no answer to the handshake")
        if reply.status != 101:
            raise Refused(f"status {reply.status}", reply.status, reply)
        peer = (Packing if self.dialect == "msgpack" else Peer)(reply.sock, reply.rest)
        peer.reply = reply
        if greet:
            self.greet(peer, token, wait)
            if self.stack.opt("welcome") == "session" and not any('"welcome"' in x for x in peer.texts):
                try:
                    self.until(peer, '"welcome"', 2)
                except Gone:
                    pass
        return peer

    def greet(self, peer, token, wait=4.0):
        steps = list(self.form.get("greet", []))
        if self.credential == "first" and self.dialect in ("json", "rpc"):
            steps.append([json.dumps({"type": "auth", "token": token or ""}), '"ready"'])
        auth = json.dumps({"token": token}) if self.credential == "connect" and token else ("" if self.dialect.startswith("socketio") else "{}")
        for say, expect in steps:
            try:
                if say:
                    peer.send(1, say.replace("@AUTH@", auth))
                got = self.until(peer, expect, wait)
            except Gone as e:
                raise Refused(e.how) from None
            if got is None:
                raise Refused(f"no {expect} in answer to {say[:30]!r}")

    def texts(self, payload):
        if self.dialect == "msgpack":
            try:
                return [json.dumps(msgpack.unpack(payload), separators=(",", ":"))]
            except (ValueError, LookupError, struct.error):
                return []
        text = payload.decode("utf-8", "replace")
        if self.dialect == "sockjs" and text[:1] == "a":
            try:
                return json.loads(text[1:])
            except ValueError:
                return [text]
        return [text]

    def wrap(self, text):
        return json.dumps([text]) if self.dialect == "sockjs" else text

    def until(self, peer, pattern, wait=2.0):
        """The first text that matches; None after `wait`. Other texts are kept in peer.texts. Answers dialects' own pings."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            got = peer.frame(left)
            if got is None:
                return None
            if got[0] not in (1, 2):
                continue
            for text in self.texts(got[1]):
                if text == "2" and self.dialect in ("socketio4", "engineio4"):
                    peer.pings += 1
                    if peer.pong:
                        peer.send(1, "3")
                    continue
                peer.texts.append(text)
                if re.search(pattern, text, re.S):
                    return text
        return None

    def compose(self, mark, text=None, n="1", more=""):
        """An application message. `text`, `n`: raw JSON; `more`: raw members put first."""
        t = self.form["template"]
        if more and not more.endswith(","):
            more += ","
        return t.replace("@MORE@", more).replace("@TEXT@", json.dumps(mark) if text is None else text).replace("@N@", n).replace("@MARK@", mark)

    def ask(self, peer, mark=None, wait=2.5, expect=None, **how):
        """Sends a valid message, returns the reply that carries its mark, or None."""
        mark = mark or "m" + secrets.token_hex(5)
        peer.send(1, self.wrap(self.compose(mark, **how)))
        return self.until(peer, (expect or self.form["expect"]).replace("@MARK@", mark), wait)

    def outcome(self, peer, message, pattern, wait=1.5, opcode=1):
        """What a message led to: ("reply", text), ("error", text), ("closed", how) or ("silence", "")."""
        before = len(peer.texts)
        try:
            peer.send(opcode, self.wrap(message) if opcode == 1 and isinstance(message, str) else message)
            got = self.until(peer, pattern, wait)
        except Gone as e:
            said = peer.texts[before:]
            return ("closed", e.how + (" after " + said[0][:120] if said else ""))
        if got is not None:
            return ("reply", got)
        said = peer.texts[before:]
        return ("error", said[0]) if said else ("silence", "")

    def usable(self, **how):
        """Whether a conversation opens and answers: (bool, evidence)."""
        try:
            peer = self.open(**how)
        except Refused as e:
            return False, e.how
        try:
            if not self.speaks:
                alive = peer.alive()
                return bool(alive), "101 and a pong" if alive else "101, then no pong"
            got = self.ask(peer)
            return got is not None, f"101 and {got[:70]}" if got else "101, no reply"
        except Gone as e:
            return False, f"101, then {e.how}"
        finally:
            peer.end()

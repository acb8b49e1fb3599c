"""A WebSocket peer made of bytes: it sends what no library would, and reports what came back."""
import base64
import hashlib
import os
import socket
import ssl
import struct
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Gone(Exception):
    """The connection ended. `code`: the close code, or None for a bare end."""

    def __init__(self, how, code=None, reason=b""):
        super().__init__(how)
        self.how, self.code, self.reason = how, code, reason


class Reply:
    """The head of an HTTP answer, what followed it, and the socket it came on."""

    def __init__(self, sock, head, rest):
        self.sock, self.head, self.rest = sock, head, rest
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        self.status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        self.headers = [(k.strip().lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines[1:] if line)]

    def get(self, name, default=""):
        return next((v for k, v in self.headers if k == name), default)

    def every(self, name):
        return [v for k, v in self.headers if k == name]

    def body(self, wait=1.0, most=262144):
        data, until = self.rest, time.monotonic() + wait
        length = self.get("content-length")
        want, chunked = int(length) if length.isdigit() else most, self.get("transfer-encoding").lower() == "chunked"
        self.sock.settimeout(0.2)
        while len(data) < min(want, most) and time.monotonic() < until and not (chunked and data.endswith(b"0\r\n\r\n")):
            try:
                more = self.sock.recv(65536)
            except (TimeoutError, ssl.SSLError):
                continue
            except OSError:
                break
            if not more:
                break
            data += more
        return dechunked(data) if self.get("transfer-encoding").lower() == "chunked" else data

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


def dechunked(data):
    out = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        try:
            n = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if n == 0:
            break
        out, data = out + data[:n], data[n + 2 :]
    return out


def read_reply(sock, wait=5.0):
    """Reads an HTTP head; None when the other end closed or stayed silent."""
    data, until = b"", time.monotonic() + wait
    while b"\r\n\r\n" not in data:
        left = until - time.monotonic()
        if left <= 0 or len(data) > 131072:
            return None
        sock.settimeout(left)
        try:
            more = sock.recv(65536)
        except OSError:
            return None
        if not more:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return Reply(sock, head, rest)


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, declare=None, width=None):
    """Encodes one frame. `declare`: a length other than the payload's. `width`: force 7, 16 or 64 bits."""
    if isinstance(payload, str):
        payload = payload.encode("utf-8", "surrogatepass")
    n = len(payload) if declare is None else declare
    out = bytes([(0x80 if fin else 0) | (rsv << 4) | opcode])
    bit = 0x80 if masked else 0
    width = width or (7 if n < 126 else 16 if n < 65536 else 64)
    if width == 7:
        out += bytes([bit | n])
    elif width == 16:
        out += bytes([bit | 126]) + struct.pack("!H", n)
    else:
        out += bytes([bit | 127]) + struct.pack("!Q", n)
    if not masked:
        return out + payload
    key = os.urandom(4)
    whole = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big") if payload else b""
    return out + key + mixed


class Peer:
    """An open WebSocket. Answers pings only when `pong` is set."""

    def __init__(self, sock, rest=b""):
        self.sock, self.buffer, self.pong, self.texts = sock, rest, True, []
        self.pings = 0

    def write(self, data):
        self.sock.settimeout(10)
        try:
            self.sock.sendall(data)
        except OSError as e:
            # What the other end said before it hung up is still worth reading.
            while True:
                got = self.frame(0.3)
                if got is None:
                    raise Gone(f"write: {e}") from None

    def send(self, opcode, payload=b"", **how):
        self.write(frame(opcode, payload, **how))

    def _need(self, n, until):
        while len(self.buffer) < n:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(max(left, 0.01))
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError as e:
                raise Gone(f"reset: {e}") from None
            if not more:
                raise Gone("end of stream")
            self.buffer += more

    def frame(self, wait=2.0):
        """The next frame as (opcode, payload, fin, rsv, masked), or None after `wait`. Raises Gone on a close."""
        until = time.monotonic() + wait
        try:
            self._need(2, until)
            n, at = self.buffer[1] & 0x7F, 2
            if n == 126:
                self._need(4, until)
                n, at = struct.unpack("!H", self.buffer[2:4])[0], 4
            elif n == 127:
                self._need(10, until)
                n, at = struct.unpack("!Q", self.buffer[2:10])[0], 10
            masked = bool(self.buffer[1] & 0x80)
            at += 4 if masked else 0
            self._need(at + n, until)
        except TimeoutError:
            return None
        first, payload = self.buffer[0], self.buffer[at : at + n]
        if masked:
            key = self.buffer[at - 4 : at]
            payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
        self.buffer = self.buffer[at + n :]
        opcode = first & 0x0F
        if opcode == 8:
            code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
            raise Gone(f"close {code} {payload[2:].decode('utf-8', 'replace')}".strip(), code, payload[2:])
        if opcode == 9:
            self.pings += 1
            if self.pong:
                self.write(frame(10, payload))
        return opcode, payload, bool(first & 0x80), (first >> 4) & 7, masked

    def alive(self, wait=2.0):
        """Whether a ping is answered; None when the connection ended."""
        mark = os.urandom(6)
        try:
            self.send(9, mark)
            until = time.monotonic() + wait
            while time.monotonic() < until:
                got = self.frame(max(0.05, until - time.monotonic()))
                if got and got[0] == 10 and got[1] == mark:
                    return True
                if got and got[0] in (1, 2):
                    self.texts.append(got[1])
            return False
        except Gone:
            return None

    def end(self):
        try:
            self.sock.close()
        except OSError:
            pass

"""Documents in MessagePack, as far as JSON has them."""
import struct
import sys

sys.setrecursionlimit(10_000)  # probes nest deeper than Python likes


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return bytes([value]) if 0 <= value < 128 else b"\xd3" + struct.pack("!q", value) if value < 1 << 63 else b"\xcf" + struct.pack("!Q", value)
    if isinstance(value, (int, float)):
        return b"\xcb" + struct.pack("!d", value)
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return b"\xdb" + struct.pack("!I", len(raw)) + raw
    if isinstance(value, list):
        return b"\xdd" + struct.pack("!I", len(value)) + b"".join(map(pack, value))
    return b"\xdf" + struct.pack("!I", len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def unpack(data):
    """One document and nothing behind it."""
    value, rest = _take(data)
    if rest:
        raise ValueError("more than one document")
    return value


def _take(data):
    first, rest = data[0], data[1:]
    if first < 0x80:
        return first, rest
    if first < 0x90:
        return _members(first & 15, rest)
    if first < 0xA0:
        return _items(first & 15, rest)
    if first < 0xC0:
        return rest[: first & 31].decode(), rest[first & 31 :]
    if first >= 0xE0:
        return first - 256, rest
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], rest
    form = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q",
            0xD9: "B", 0xDA: "H", 0xDB: "I", 0xDC: "H", 0xDD: "I", 0xDE: "H", 0xDF: "I"}[first]
    size = struct.calcsize("!" + form)
    number, rest = struct.unpack("!" + form, rest[:size])[0], rest[size:]
    if first <= 0xD3:
        return number, rest
    if first <= 0xDB:
        return rest[:number].decode(), rest[number:]
    return _items(number, rest) if first <= 0xDD else _members(number, rest)


def _items(count, rest):
    found = []
    for _ in range(count):
        value, rest = _take(rest)
        found.append(value)
    return found, rest


def _members(count, rest):
    found = {}
    for _ in range(count):
        key, rest = _take(rest)
        found[key], rest = _take(rest)
    return found, rest

#!/usr/bin/env python3
"""Writes fuzz/corpus/ anew from vectors/ and from the tables below: `python3 fuzz/seeds.py`.

Each file is named by the hash of its bytes, so that the same seeds give the same tree.
"""
import hashlib
import json
import pathlib
import random
import shutil

FUZZ = pathlib.Path(__file__).resolve().parent
VECTORS = FUZZ.parent / "vectors"
BYTES_MAX = 2_048
FILES_MAX = 48  # a target's; spread over the vectors, so that every family of attacks is there


def vectors(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def put(target, seeds):
    folder = FUZZ / "corpus" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seeds = [seed.encode() if isinstance(seed, str) else seed for seed in seeds]
    seeds = [seed for seed in dict.fromkeys(seeds) if len(seed) <= BYTES_MAX]
    step = max(1, -(-len(seeds) // FILES_MAX))
    for seed in seeds[::step]:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def frame(first, payload, key=b"\x37\xfa\x21\x3d"):
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    length = len(payload)
    head = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return bytes([first]) + head + key + masked


messages = [case["text"] for case in vectors("hostile/json")]
payloads = [json.dumps(case["payload"], ensure_ascii=False) for case in vectors("innocent/payload")]
markup = vectors("markup")
texts = [case["text"] for case in markup["hostile"] + markup["innocent"]]

wire = [b"".join(bytes.fromhex(part["hex"]) * min(part["times"], 30) for part in case["parts"]) for case in vectors("hostile/wire")]
good = [
    frame(0x81, b"hello"),
    frame(0x81, b"x" * 200) + frame(0x89, b"?") + frame(0x8A, b""),
    frame(0x01, "gr\u00fc".encode()[:3]) + frame(0x89, b"between") + frame(0x80, "gr\u00fc".encode()[3:] + b"n"),
    frame(0x02, b"\0\1") + frame(0x00, b"") + frame(0x80, b"\xff"),
    frame(0x88, b"\x03\xe8bye") + frame(0x81, b"late"),
]
put("frame", [b"\x07" + bytes_ for bytes_ in good + wire])
put("scan", messages + payloads)
put("envelope", [b"\xff".join(text.encode() for text in messages[at:at + 3]) for at in range(0, len(messages), 3)]
    + [f'{{"type":"chat","id":{at},"csrfToken":"$CSRF","payload":{{"message":{json.dumps(text)}}}}}' for at, text in enumerate(texts)]
    + [f'{{"type":"echo","csrfToken":"$CSRF","payload":{payload}}}' for payload in payloads]
    + ['{"type":"join","csrfToken":"$CSRF","payload":{"room":"a"}}', '{"type":"ping","payload":{"t":1}}',
       '{"type":"auth.refresh","payload":{"token":"x"}}', '{"type":"ack","payload":{"seq":1}}'])
put("content", texts + [case["text"] for case in vectors("innocent/text")])

# The validator's input chooses; random choices are as good a start as any.
chance = random.Random(1)
put("schema", [bytes(chance.randrange(256) for _ in range(96)) for _ in range(FILES_MAX)])

heads = ["\r\n".join(case["request"]) + "\r\n\r\n" for case in vectors("hostile/handshake") if "request" in case]
heads = [head.replace("$HOST", "localhost").replace("$PORT", "3000").replace("$TOKEN", "test_token") for head in heads]
upgrade = ("GET /ws{} HTTP/1.1\r\nHost: localhost:3000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n")
put("handshake", [upgrade.format(*case) for case in [
    ("", ""), ("", "Authorization: Bearer test_token\r\n"), ("", "Origin: http://localhost:3000\r\n"),
    ("", "Origin: http://localhost:3000\r\nSec-WebSocket-Protocol: wsguard.v1, wsguard.bearer.test_token\r\n"),
    ("", "Sec-WebSocket-Protocol: wsguard.v1\r\nSec-WebSocket-Protocol: wsguard.bearer.bad\r\n"),
    ("", "Origin: http://localhost:3000\r\nCookie: a=b; __Host-wsguard=test_token\r\n"),
    ("?ticket=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""), ("?token=test_token", ""),
]] + heads)

header = '{"alg":"HS256","typ":"JWT"}'
claims = ['{"sub":"ann","exp":1700000900}', '{"sub":"ann","exp":1700000900,"sub":"bob"}', '{"sub":"ann","exp":1}',
          '{"sub":"ann","exp":1700000900.5,"nbf":1,"iat":1,"jti":"x","roles":["editor"],"scope":"read write"}',
          '{"sub":"","exp":1700000900}', '{"sub":"\\u0061nn","exp":17e8,"aud":["x"],"iss":"y"}', "{}", "[]"]
eddsa = ['{"alg":"EdDSA"}', '{"alg":"EdDSA","kid":"x"}', '{"alg":"none"}', '{"alg":"HS256"}', '{"alg":"EdDSA","crit":["x"]}',
         '{"alg":"EdDSA","jwk":{}}', '{"alg":"EdDSA","typ":"at+jwt"}', '{"alg":"EdDSA","b64":false}']
put("token", [f"\1{header}\n{claim}" for claim in claims] + [f"\2{head}\n{claims[0]}" for head in eddsa] + [
    f"\3{header}\n{claims[0]}",
    "\0eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDB9.",
    "\0eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDB9.AAAA",
    "\0a.b.c",
])

example = (FUZZ.parent / "wsguard.example.toml").read_text()
blocks = [block for block in example.split("\n\n") if block.strip()]
live = ["\n".join(line.removeprefix("# ") if "=" in line else line for line in block.splitlines()) for block in blocks]
put("config", live + [
    "", "[server", "[server]\nlisten = 1\n", '[rate]\nburst = "fast"\n', "[rate]\nburst = 1\nburst = 2\n", "[nowhere]\nx = 1\n",
    '[origin]\nallow = ["https://app.example"]\n[host]\nallow = ["app.example"]\n', '[session]\nidle = "30m"\nmax = "1ms"\n',
    '[auth]\nmethods = ["bearer", "telepathy"]\n', "server.listen = 'x\n", '[log]\nformat = "\u202e"\n', "[rate.types]\nchat = 5\n",
    '[proxy]\ntrusted = ["10.0.0.0/8", "::/0", "10.0.0.1/33"]\n', "\ufeff[server]\n",
])

"""F1: what a TLS client may learn, with ClientHellos made of bytes where no library speaks any more."""
import os
import re
import socket
import ssl
import struct
import subprocess
import time

from . import informational, not_applicable, probe, sound, vulnerable

NO_TLS = "the stack listens in clear on loopback"
SUITES = {
    "NULL": [0x0001, 0x0002, 0x003B, 0xC006, 0xC010],
    "anonymous": [0x0034, 0x003A, 0x006C, 0x00A6, 0xC018],
    "EXPORT": [0x0003, 0x0006, 0x0008, 0x0014],
    "RC4": [0x0004, 0x0005, 0xC007, 0xC011],
    "3DES": [0x000A, 0x0016, 0xC008, 0xC012],
    "RSA key exchange": [0x002F, 0x0035, 0x003C, 0x009C, 0x009D],
    "CBC with SHA-1": [0xC009, 0xC00A, 0xC013, 0xC014],
}
ALL = [0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA8, 0xCCA9, 0xC009, 0xC013, 0xC00A, 0xC014, 0x002F, 0x0035, 0x000A]


def hello(version, suites, compression=b"\x00"):
    """A ClientHello of TLS 1.0 to 1.2."""
    name = b"localhost"
    ext = lambda t, d: struct.pack("!HH", t, len(d)) + d
    extensions = ext(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name) + ext(10, bytes.fromhex("0006001d00170018")) + ext(11, b"\x01\x00")
    schemes = bytes.fromhex("040308040401050308050501080606010201")
    extensions += ext(13, struct.pack("!H", len(schemes)) + schemes) if version >= 0x0303 else b""
    body = struct.pack("!H", version) + os.urandom(32) + b"\x00" + struct.pack("!H", 2 * len(suites)) + b"".join(struct.pack("!H", s) for s in suites)
    body += bytes([len(compression)]) + compression + struct.pack("!H", len(extensions)) + extensions
    shake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(shake)) + shake


def answer(t, data):
    """("hello", version, suite, compression), ("alert", code) or ("end",)."""
    s = t.connect(tls=False)
    s.sendall(data)
    got = b""
    s.settimeout(4)
    try:
        while len(got) < 100:
            more = s.recv(4096)
            if not more:
                break
            got += more
    except OSError:
        pass
    s.close()
    if len(got) >= 7 and got[0] == 0x15:
        return ("alert", got[6])
    if len(got) > 50 and got[0] == 0x16 and got[5] == 2:
        at = 5 + 4 + 2 + 32
        at += 1 + got[at]
        return ("hello", struct.unpack("!H", got[9:11])[0], struct.unpack("!H", got[at : at + 2])[0], got[at + 2])
    return ("end",)


def verified(t, hostname="127.0.0.1", check_name=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(t.run.certificate.ca)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the strength of the key is the matter of WSA-TLS-07
    s = t.connect(tls=False)
    with context.wrap_socket(s, server_hostname=hostname) as w:
        return w.version()


def leaf(t, *what):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(t.connect(tls=False)) as w:
        der = w.getpeercert(True)
    return subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", *what], input=der, capture_output=True).stdout.decode()


@probe("WSA-TLS-01")
def clear(t):
    if not t.tls:
        return informational("ws:// on loopback answers in clear, which no other machine can see")
    s = t.connect(tls=False)
    r = t.exchange(t.request(), sock=s, wait=3)
    if r and r.status == 101:
        return vulnerable("the TLS port answers 101 to a handshake in clear")
    return sound(f"a handshake in clear is answered {r.status if r else 'with an end of stream'}")


@probe("WSA-TLS-02")
def old_versions(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    got = {v: answer(t, hello(n, ALL)) for v, n in (("1.0", 0x0301), ("1.1", 0x0302))}
    bad = [v for v, a in got.items() if a[0] == "hello" and a[1] <= 0x0302]
    return vulnerable(f"a ServerHello of TLS {' and '.join(bad)}") if bad else sound(f"TLS 1.0 and 1.1 answered {got['1.0']} and {got['1.1']}")


@probe("WSA-TLS-03")
def newest(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    s = t.connect()
    return sound("negotiates TLSv1.3") if s.version() == "TLSv1.3" else vulnerable(f"best it speaks: {s.version()}")


@probe("WSA-TLS-04")
def chain(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    try:
        verified(t)
        return sound("the chain verifies against the lab's CA")
    except ssl.SSLCertVerificationError as e:
        if "expired" in e.verify_message:
            return None  # WSA-TLS-06 judges that
        return vulnerable(e.verify_message)


@probe("WSA-TLS-05")
def name(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    got = leaf(t, "-ext", "subjectAltName")
    return sound("SAN holds 127.0.0.1") if "127.0.0.1" in got else vulnerable("SAN is " + " ".join(got.split())[-60:])


@probe("WSA-TLS-06")
def validity(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    end = ssl.cert_time_to_seconds(leaf(t, "-enddate").strip().removeprefix("notAfter="))
    days = (end - time.time()) / 86400
    return sound(f"{days:.0f} days left") if days > 14 else vulnerable(f"{days:.0f} days left")


@probe("WSA-TLS-07")
def key(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    text = leaf(t, "-text")
    bits = int(re.search(r"Public-Key: \((\d+) bit", text)[1])
    ec, sha1 = "id-ecPublicKey" in text, "sha1With" in text
    weak = sha1 or bits < (256 if ec else 2048)
    return (vulnerable if weak else sound)(f"{'EC' if ec else 'RSA'} {bits} bits{', SHA-1' if sha1 else ''}")


@probe("WSA-TLS-08")
def suites(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    took = [n for n, s in SUITES.items() if answer(t, hello(0x0303, s))[0] == "hello"]
    return vulnerable("accepts " + ", ".join(took)) if took else sound("refuses NULL, anonymous, EXPORT, RC4, 3DES, RSA key exchange, CBC with SHA-1")


@probe("WSA-TLS-09")
def hsts(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    r = t.get("/")
    if not r:
        return None
    age = re.search(r"max-age=(\d+)", r.get("strict-transport-security"))
    return sound(f"max-age={age[1]}") if age and int(age[1]) >= 31536000 else vulnerable(f"GET / has Strict-Transport-Security {r.get('strict-transport-security') or 'absent'}")


@probe("WSA-TLS-10")
def early(t):
    if not t.tls:
        return not_applicable(NO_TLS)
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{t.port}", "-tls1_3", "-ign_eof"], input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=15)
    text = done.stdout.decode("latin-1")
    most = max([int(x) for x in re.findall(r"Max Early Data: (\d+)", text)] or [0])
    squeezed = answer(t, hello(0x0303, ALL, b"\x01\x00"))
    if squeezed[0] == "hello" and squeezed[3]:
        return vulnerable("chooses TLS compression")
    return vulnerable(f"session tickets allow {most} bytes of early data") if most else sound("no early data, no compression")

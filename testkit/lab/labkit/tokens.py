"""Credentials for the stacks, made with the standard library: JWTs, session ids, and forgeries of them."""
import base64
import hashlib
import hmac
import json
import time


def b64(data):
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(secret, sub, lifetime=3600, aud="lab", now=None, **more):
    now = int(now or time.time())
    signed = b64({"alg": "HS256", "typ": "JWT"}) + "." + b64({"sub": sub, "aud": aud, "iat": now, "exp": now + lifetime, **more})
    return signed + "." + b64(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def forgeries(token):
    """What only a verifier that looks refuses: (name, token)."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    raised = b64({**claims, "sub": "mallory"})
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    yield "alg none", f"{b64({'alg': 'none', 'typ': 'JWT'})}.{body}."
    yield "alg NonE", f"{b64({'alg': 'NonE', 'typ': 'JWT'})}.{body}."
    yield "signature flipped", f"{head}.{body}.{flipped}"
    yield "payload changed", f"{head}.{raised}.{signature}"
    yield "signature dropped", f"{head}.{body}."


def guess(token, words):
    """The HMAC secret of a token, if it is one of the words."""
    head, body, signature = token.split(".")
    for word in words:
        good = b64(hmac.new(word.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest())
        if hmac.compare_digest(good, signature):
            return word
    return None

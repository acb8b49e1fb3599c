"""F5: what becomes of input that no honest client sends."""
import json
import secrets

from ..raw import Gone
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable

TRACE = r"Traceback \(most recent|\n\s+at .+:\d+:\d+|File \".+\", line \d+|sqlite3\.|Error: .+\n|pickle: |site-packages|node_modules"


def each(t, cases, wait=1.2):
    """[(name, message, pattern)] -> {name: outcome}, each on a conversation of its own when the last one ended."""
    out, peer = {}, None
    for name, message, pattern in cases:
        if peer is None:
            t.source = new_address()
            try:
                peer = t.open()
            except (Refused, Gone) as e:
                out[name] = ("refused", getattr(e, "how", str(e)))
                continue
        out[name] = t.outcome(peer, message, pattern, wait)
        if out[name][0] in ("closed", "silence"):
            peer.end()
            peer = None
    return out


def served(t):
    """Whether a fresh conversation still works."""
    t.source = new_address()
    return t.usable()[0]


def mark():
    return "m" + secrets.token_hex(5)


def with_expect(t, m):
    return t.form["expect"].replace("@MARK@", m)


def brief(out):
    return "; ".join(f"{k}: {v[0]} {v[1][:50]}".strip() for k, v in out.items())


@probe("WSA-IN-01")
def malformed(t):
    if not t.speaks:
        return None
    prefix = t.form["template"].split("{", 1)[0]
    never = "@@never@@"
    out = each(t, [("unfinished", prefix + '{"a":', never), ("bare key", prefix + "{a:1}", never), ("empty", "", never), ("one byte", "x", never)])
    if not served(t):
        return vulnerable("after malformed messages a new conversation fails: " + brief(out))
    abnormal = [k for k, v in out.items() if v[0] == "closed" and ("1011" in v[1] or "1006" in v[1] or "reset" in v[1])]
    if abnormal:
        return vulnerable("answered with an abnormal end: " + brief(out))
    silent = [k for k, v in out.items() if v[0] == "silence"]
    if "unfinished" in silent or "bare key" in silent:
        return vulnerable("ignored without a word: " + ", ".join(silent))
    return sound(brief(out))


@probe("WSA-IN-02")
def schema(t):
    if not t.speaks:
        return None
    m = [mark() for _ in range(4)]
    base = t.form["template"]
    cases = [("wrong type", t.compose(m[1], text='["' + m[1] + '"]'), m[1]), ("unknown field", t.compose(m[0], more='"zzz":"1"'), with_expect(t, m[0]))]
    if '"type":"echo"' in base:
        cases += [("missing field", t.compose(m[2]).replace('"text":"' + m[2] + '",', ""), '"type": ?"echo"'), ("unknown method", t.compose(m[3]).replace('"echo"', '"zzz"'), with_expect(t, m[3]))]
    out = each(t, cases)
    if out["wrong type"][0] == "reply" and "error" not in out["wrong type"][1][:60].lower():
        return vulnerable("a list where text belongs is taken: " + out["wrong type"][1][:90])
    if out.get("missing field", ("",))[0] == "reply":
        return vulnerable("a message without its text is taken: " + out["missing field"][1][:90])
    if out["unknown field"][0] == "reply":
        return informational("an unknown field is ignored; wrong types are refused")
    return sound(brief(out))


@probe("WSA-IN-03")
def doubled(t):
    if not t.speaks:
        return None
    m, n = mark(), mark()
    first = t.form["template"].split('"')[1]
    member = '"type":"echo",' if '"type":"echo"' in t.form["template"] else '"type":"subscribe",' if '"subscribe"' in t.form["template"] else '"type":"start",'
    out = each(t, [("doubled", t.compose(m, more=member), with_expect(t, m)), ("doubled by escape", t.compose(n, more=member.replace("type", "t\\u0079pe")), with_expect(t, n))])
    took = [k for k, v in out.items() if v[0] == "reply"]
    return vulnerable("taken: " + ", ".join(took)) if took else sound(brief(out))


@probe("WSA-IN-04")
def nesting(t):
    if not t.speaks:
        return None
    cases = []
    for depth in (64, 512):
        m = mark()
        cases.append((f"depth {depth}", t.compose(m, more=f'"zzz":{"[" * depth}{"]" * depth}'), with_expect(t, m)))
    out = each(t, cases)
    took = [k for k, v in out.items() if v[0] == "reply"]
    return vulnerable("taken: " + ", ".join(took)) if took else sound(brief(out))


@probe("WSA-IN-05")
def numbers(t):
    if not t.speaks or "@N@" not in t.form["template"]:
        return None
    cases = []
    for name, n in (("1E400", "1E400"), ("NaN", "NaN"), ("2^53+1", "9007199254740993"), ("300 digits", "1" * 300)):
        m = mark()
        cases.append((name, t.compose(m, n=n), with_expect(t, m)))
    out = each(t, cases)
    took = [f"{k} ({v[1][-40:]})" for k, v in out.items() if v[0] == "reply"]
    return vulnerable("taken: " + ", ".join(took)) if took else sound(brief(out))


@probe("WSA-IN-06", last=True)
def prototype(t):
    if not t.speaks:
        return None
    stain = "s" + secrets.token_hex(4)
    m = [mark() for _ in range(3)]
    cases = [("__proto__", t.compose(m[0], more='"__proto__":{"%s":"1"}' % stain), with_expect(t, m[0])),
             ("constructor.prototype", t.compose(m[1], more='"constructor":{"prototype":{"%s":"1"}}' % stain), with_expect(t, m[1])),
             ("escaped", t.compose(m[2], more='"\\u005f\\u005fproto\\u005f\\u005f":{"%s":"1"}' % stain), with_expect(t, m[2]))]
    out = each(t, cases)
    t.source = new_address()
    try:
        other = t.ask(t.open())
    except (Refused, Gone) as e:
        return vulnerable(f"after prototype keys the next conversation fails: {e}")
    if other and stain in other:
        return vulnerable("another connection's reply now holds the member: " + other[:110])
    took = [k for k, v in out.items() if v[0] == "reply"]
    return informational("taken, without effect elsewhere: " + ", ".join(took)) if took else sound(brief(out))


@probe("WSA-IN-07")
def strings(t):
    if not t.speaks:
        return None
    cases = []
    for name, bad in (("NUL", "\\u0000"), ("lone surrogate", "\\ud800"), ("U+202E", "\u202e"), ("raw tab", "\t")):
        m = mark()
        cases.append((name, t.compose(m, text=f'"{m}{bad}z"'), m + r"[^\"]*"))
    out = each(t, cases)
    took = [k for k, v in out.items() if v[0] == "reply" and '"error"' not in v[1][:40]]
    # What turns the direction of text has its place in languages that need it.
    return vulnerable("echoed: " + ", ".join(took)) if set(took) - {"U+202E"} else sound(brief(out))


@probe("WSA-IN-08")
def markup(t):
    if not t.speaks:
        return None
    m = mark()
    try:
        peer = t.open()
        how, text = t.outcome(peer, t.compose(m, text=json.dumps(f'{m}<x y="1">')), m)
    except (Refused, Gone):
        return None
    if how == "reply" and '"html"' in text and "<x y=" in text.split('"html"')[1]:
        return vulnerable("raw in a field named html: " + text[-90:])
    if how == "reply" and m + "<x" in text:
        return informational("raw in a JSON text field: the client has to encode")
    return sound(f"{how}: {text[:90]}")


@probe("WSA-IN-09")
def injection(t):
    if not t.speaks:
        return None
    a, b = secrets.randbelow(900) + 100, secrets.randbelow(900) + 100
    m = [mark() for _ in range(3)]
    out = each(t, [("quote", t.compose(m[0], text=f'"{m[0]}\'x"'), m[0]), ("template", t.compose(m[1], text=f'"{m[1]}{{{{{a}*{b}}}}}"'), m[1]), ("operator", t.compose(m[2], text='{"$ne":null}'), m[2])])
    if out["template"][0] == "reply" and str(a * b) in out["template"][1]:
        return vulnerable(f"{{{{{a}*{b}}}}} comes back as {a * b}")
    quote = out["quote"]
    if any(w in quote[1] for w in ("sqlite3", "SQL", "syntax error")):
        return vulnerable("a single quote: " + quote[1][:110])
    return sound(brief(out))


@probe("WSA-IN-10", slow=True)
def oversized(t):
    if not t.speaks:
        return None
    for size in (65537, 262144, 1048576 + 64):
        t.source = new_address()
        m = mark()
        try:
            peer = t.open()
            peer.write(__import__("labkit.raw", fromlist=["x"]).frame(1, t.wrap(t.compose(m, text='"' + m + "x" * size + '"'))))
            got = t.until(peer, m, 25)
        except Gone as e:
            return sound(f"{size} bytes: {e.how}")
        except Refused:
            return None
        if got is None:
            return sound(f"{size} bytes: {peer.texts[0][:80]}") if peer.texts else None
        if '"error"' in got[:60]:
            return sound(f"{size} bytes: {got[:60]}")
        peer.end()
    return vulnerable("a message of 1 MiB is taken and answered")


@probe("WSA-IN-11")
def opcodes(t):
    if not t.speaks:
        return None
    m = mark()
    cases, hits = [("JSON as binary", t.wrap(t.compose(m)).encode(), with_expect(t, m)), ("msgpack", bytes.fromhex("82a16101a16202"), "."), ("pickle", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x2a", "."), ("java", bytes.fromhex("aced0005740001"), ".")], {}
    for name, data, pattern in cases:
        t.source = new_address()
        try:
            hits[name] = t.outcome(t.open(), data, pattern, 1.2, opcode=2)
        except Refused:
            return None
    errors = [f"{k}: {v[1][:90]}" for k, v in hits.items() if v[0] in ("reply", "error") and any(w in v[1] for w in ("pickle", "Unpickling", "Traceback", "\\n    at ", "StreamCorrupted"))]
    if errors:
        return vulnerable("the deserialiser speaks: " + errors[0])
    if hits["JSON as binary"][0] == "reply":
        return informational("JSON in a binary frame is served as text is")
    return sound(brief(hits))


@probe("WSA-IN-12")
def assignment(t):
    if not t.speaks or t.dialect.startswith("graphql"):
        return None
    m, n = mark(), mark()
    value = "r" + secrets.token_hex(4)
    out = each(t, [("extra members", t.compose(m, more=f'"role":"{value}","isAdmin":true,"userId":4711'), with_expect(t, m)), ("object for text", t.compose(n, text='{"k":"%s"}' % n), n)])
    if out["extra members"][0] == "reply" and value in out["extra members"][1]:
        return vulnerable("role and isAdmin come back: " + out["extra members"][1][:110])
    return sound(brief(out))

"""Certificates for the TLS stacks: a test CA and leaves, good and bad, made by the openssl command."""
import pathlib
import subprocess
import threading

_lock = threading.Lock()


class Certificate:
    def __init__(self, chain, key, ca):
        self.chain, self.key, self.ca = chain, key, ca


def _openssl(*words, where):
    subprocess.run(["openssl", *words], cwd=where, check=True, capture_output=True)


def make(where, want):
    """`want`: { kind = "good" | "expired" | "expiring" | "other-name" | "self-signed" | "weak-key" }."""
    where = pathlib.Path(where)
    kind = want.get("kind", "good")
    name = "other.example.test" if kind == "other-name" else "127.0.0.1"
    san = "DNS:other.example.test" if kind == "other-name" else "IP:127.0.0.1,DNS:localhost"
    (where / "ext").write_text(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
             "-days", "3650", "-subj", "/CN=lab test CA", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign", where=where)
    new = ["-newkey", "rsa:1024"] if kind == "weak-key" else ["-newkey", "rsa:2048"] if want.get("rsa") else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    _openssl("req", "-new", *new, "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", f"/CN={name}", where=where)
    if kind == "self-signed":
        _openssl("x509", "-req", "-in", "leaf.csr", "-signkey", "leaf.key", "-days", "200", "-extfile", "ext", "-out", "leaf.pem", where=where)
    elif kind in ("expired", "expiring"):
        # `x509` cannot set a start in the past on every release: `ca` can.
        (where / "index.txt").write_text("")
        (where / "serial").write_text("01\n")
        (where / "ca.conf").write_text("[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        import datetime
        now = datetime.datetime.now(datetime.timezone.utc)
        end = now + datetime.timedelta(days=-2 if kind == "expired" else 5)
        stamp = lambda t: t.strftime("%Y%m%d%H%M%SZ")
        _openssl("ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "leaf.csr", "-out", "leaf.pem", "-notext",
                 "-startdate", stamp(now - datetime.timedelta(days=80)), "-enddate", stamp(end), "-extfile", "ext", where=where)
    else:
        _openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "200", "-extfile", "ext", "-out", "leaf.pem", where=where)
    (where / "both.pem").write_text((where / "leaf.pem").read_text() + (where / "leaf.key").read_text())
    return Certificate(where / "leaf.pem", where / "leaf.key", where / "ca.pem")

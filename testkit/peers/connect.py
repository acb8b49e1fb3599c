#!/usr/bin/env python3
"""Connects to wsguard with the Python package `websockets`, which knows nothing of wsguard, and sends one chat.

Prints one JSON line. Exit code 0: welcomed, acknowledged and heard itself; 1: anything else; 2: wrong usage.
"""
import argparse
import asyncio
import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path

# Where install.sh puts the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".cache" / "peers"))
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

METHODS = ["header", "subprotocol", "ticket", "first-message"]
PATIENCE_SECONDS = 10
# Text that looks like markup and is none has to arrive as it was sent.
MESSAGE = "a stranger says hello: 1 < 2 && 3 > 2"
ID = "stranger-1"


def ticket(options):
    """A single-use ticket for the query: what a browser does that must not put a token into a URL."""
    address = urllib.parse.urljoin(options.url.replace("ws", "http", 1), "/ws/ticket")
    headers = {"Authorization": f"Bearer {options.token}", **({"Origin": options.origin} if options.origin else {})}
    request = urllib.request.Request(address, method="POST", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return json.load(response)["ticket"]


async def talk(options):
    url, subprotocols, headers = options.url, ["wsguard.v1"], {}
    if options.method == "header":
        headers["Authorization"] = f"Bearer {options.token}"
    elif options.method == "subprotocol":
        subprotocols.append(f"wsguard.bearer.{options.token}")
    elif options.method == "ticket":
        url += "?ticket=" + urllib.parse.quote(await asyncio.to_thread(ticket, options), safe="")

    # No proxy: the server is on this machine whatever the environment says.
    async with connect(url, subprotocols=subprotocols, additional_headers=headers, origin=options.origin,
                       proxy=None) as socket:
        if options.method == "first-message":
            await socket.send(json.dumps({"type": "auth", "payload": {"token": options.token}}))
        welcome, acknowledged, heard = None, False, False
        async for text in socket:
            frame = json.loads(text)
            payload = frame["payload"]
            if frame["type"] == "error":
                return {"refused": payload["code"], "ref": payload["ref"]}
            if frame["type"] == "welcome":
                welcome = payload
                await socket.send(json.dumps({"type": "chat", "id": ID, "csrfToken": welcome["csrfToken"],
                                              "payload": {"message": options.message}}))
            elif welcome is not None:
                acknowledged |= frame["type"] == "ack" and frame["id"] == ID
                heard |= (frame["type"] == "chat" and payload["message"] == options.message
                          and payload["from"] == welcome["subject"])
            if acknowledged and heard:
                return {"ok": True, "subject": welcome["subject"], "subprotocol": socket.subprotocol}
        return {"closed": socket.close_code, "reason": socket.close_reason}


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--origin")
    parser.add_argument("--message", default=MESSAGE)
    options = parser.parse_args()
    try:
        facts = await asyncio.wait_for(talk(options), PATIENCE_SECONDS)
    except InvalidStatus as error:
        facts = {"error": f"handshake answered with {error.response.status_code}"}
    except ConnectionClosed as error:
        facts = {"closed": error.rcvd.code if error.rcvd else 1006}
    except asyncio.TimeoutError:
        facts = {"error": f"not done after {PATIENCE_SECONDS} s"}
    except (OSError, ValueError, KeyError) as error:
        facts = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"ok": False, "client": "websockets", "method": options.method, **facts}))
    return 0 if facts.get("ok") else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

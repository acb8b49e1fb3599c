"""A bare ASGI application under hypercorn, which speaks WebSocket over HTTP/1.1 and HTTP/2."""
import asyncio
import os

import labaio
import labapp
from hypercorn.asyncio import serve
from hypercorn.config import Config

config = Config()
config.bind = [f"127.0.0.1:{labapp.port()}"]
config.include_server_header = bool(labapp.O["banner"])
config.loglevel = "CRITICAL"
for name, value in labapp.O.get("lib", {}).items():
    setattr(config, name, value)
if os.environ.get("LAB_CERT"):
    config.certfile, config.keyfile = os.environ["LAB_CERT"], os.environ["LAB_KEY"]
asyncio.run(serve(labaio.asgi, config))

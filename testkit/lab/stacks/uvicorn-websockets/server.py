"""Starlette under uvicorn with its `websockets` back end."""
import os

import labapp
import labasgi
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

LIB = labapp.O.get("lib", {})
sockets = [WebSocketRoute(path, labasgi.socket) for path in (labapp.O["path"], "/{any:path}")]
app = Starlette(debug=bool(labapp.O["trace_404"]), routes=[*sockets, Route("/{any:path}", labasgi.pages, methods=["GET", "POST"])])
how = dict(LIB)
if os.environ.get("LAB_CERT"):
    how.update(ssl_certfile=os.environ["LAB_CERT"], ssl_keyfile=os.environ["LAB_KEY"])
uvicorn.run(app, host="127.0.0.1", port=labapp.port(), log_level="error", **{"ws": "websockets", **how})

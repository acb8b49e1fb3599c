"""FastAPI under uvicorn with its `wsproto` back end."""
import labapp
import labasgi
import uvicorn
from fastapi import FastAPI, Request, WebSocket

LIB = labapp.O.get("lib", {})
# As it comes: the interactive documentation is on.
app = FastAPI(debug=bool(labapp.O["trace_404"]))


@app.websocket("/{path:path}")
async def socket(ws: WebSocket, path: str):
    await labasgi.socket(ws)


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def pages(request: Request, path: str):
    return await labasgi.pages(request)


uvicorn.run(app, host="127.0.0.1", port=labapp.port(), log_level="error", **{"ws": "wsproto", **LIB})

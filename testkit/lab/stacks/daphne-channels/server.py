"""Django Channels' consumer under daphne."""
import os
import sys

import django
import labaio
import labapp
from django.conf import settings

settings.configure(DEBUG=bool(labapp.O["trace_404"]), SECRET_KEY=os.urandom(24).hex(), ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls", INSTALLED_APPS=["channels"])
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class Consumer(AsyncWebsocketConsumer):
    async def connect(self):
        scope = self.scope
        url = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
        judged = labapp.judge(url, labaio.lower(scope["headers"]), scope["client"][0])
        if not judged.ok:
            await self.close()
            return
        await self.accept(judged.protocol)
        self.pump = labaio.Pump(judged, self.send, lambda code, reason: self.close(code=code))

    async def receive(self, text_data=None, bytes_data=None):
        if hasattr(self, "pump"):
            self.pump.message(text_data if text_data is not None else bytes_data, text_data is None)

    async def disconnect(self, code):
        if hasattr(self, "pump"):
            self.pump.over()


application = ProtocolTypeRouter({"http": labaio.asgi, "websocket": Consumer.as_asgi()})

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server

Server(application, endpoints=build_endpoint_description_strings(host="127.0.0.1", port=labapp.port()), server_name=labapp.O["banner"], **labapp.O.get("lib", {})).run()

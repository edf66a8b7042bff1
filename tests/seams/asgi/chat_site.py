"""A site with a chat, by Channels or by hand, as servers start it: CHAT_REDIS names the channel layer's database."""

from __future__ import annotations

import os

import django

SECRET_KEY = "test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
urlpatterns = []
HOSTS = {"CONFIG": {"hosts": [os.environ["CHAT_REDIS"]]}} if "CHAT_REDIS" in os.environ else {}
CHANNEL_LAYERS = {"default": {"BACKEND": os.environ.get("CHAT_LAYER", "channels.layers.InMemoryChannelLayer"), **HOSTS}}


async def plain(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def make():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", __name__)
    django.setup()
    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.urls import path

    class Chat(AsyncWebsocketConsumer):
        groups = ["chat-room"]

        async def connect(self):
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            await self.channel_layer.group_send("chat-room", {"type": "chat.message", "text": text_data})

        async def chat_message(self, event):
            await self.send(" ".join([event["text"], *sorted(event)]))

    routes = URLRouter([path("chat/<room>/", Chat.as_asgi())])
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": routes})


application = make() if os.environ.get("CHAT_SERVED") else None

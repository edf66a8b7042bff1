"""A websocket of the shop's, by Channels."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from clew.cli.demo_site.models import Order


class Progress(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Says how far an order is, to whoever asks for it."""

    async def receive_json(self, content: dict[str, Any]) -> None:
        """Answer with the order's state."""
        # Wrong: nobody thought of an order that is not there, and the connection ends without a word.
        order = await Order.objects.aget(pk=content["order"])
        await self.send_json({"state": order.state})

"""Seams in what speaks ASGI besides Django's handler: websockets and channel layers, of Channels or of none."""

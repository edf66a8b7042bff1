"""As much of a websocket's client as the demo needs: open, send one text, wait for the end."""

from __future__ import annotations

import base64
import os
import socket
from urllib.parse import urlsplit

from clew.cli.demo.drive import Step
from clew.cli.demo.processes import DemoError

_SECONDS = 30
_CLOSE = 0x88


def send_text(url: str, path: str, text: str) -> Step:
    """Open a websocket, send one text, and read until the server closes it.

    An answer to an opening cannot say its trace's id: the step has its span's name instead.
    """
    where = urlsplit(url)
    headers = {
        "Host": where.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    try:
        with socket.create_connection((where.hostname or "", where.port or 80), _SECONDS) as connection:
            connection.sendall("\r\n".join(lines).encode())
            with connection.makefile("rb") as answer:
                status = int(answer.readline().split()[1])
                while answer.readline().strip():
                    pass
                connection.sendall(_frame(text.encode()))
                # An answer's frame is short, and begins with its kind and length.
                while (head := answer.read(2)) and head[0] != _CLOSE:
                    answer.read(head[1])
    except (OSError, IndexError, ValueError) as error:
        raise DemoError(f"websocket {path} got no answer from the site: {error}") from None
    return Step("websocket", path, status, f"websocket {path.lstrip('/')}")


def _frame(text: bytes) -> bytes:
    mask = os.urandom(4)
    return bytes((0x81, 0x80 | len(text))) + mask + bytes(each ^ mask[at % 4] for at, each in enumerate(text))

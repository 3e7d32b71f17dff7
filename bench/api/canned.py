"""A server that answers every request with the same JSON: `canned.py FILE`. Prints its port.

It replaces the model or the endpoint, so that only the server in front of it takes time.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


class Canned(asyncio.Protocol):
    """One persistent connection."""

    answer: bytes

    def __init__(self) -> None:
        self.read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            head = self.read[:end].lower()
            found = head.find(b"\r\ncontent-length:")
            length = int(head[found + 17 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
            if len(self.read) < end + 4 + length:
                return
            self.read = self.read[end + 4 + length :]
            self.transport.write(self.answer)


async def main() -> None:
    body = Path(sys.argv[1]).read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Canned.answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())

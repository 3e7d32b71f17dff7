"""Idle connections, and clients that send one byte per second."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from load import resident_mib


def idle(url: str, pid: int, counts: tuple[int, ...]) -> Iterator[tuple[int, float]]:
    """The server's resident memory (MiB) for each count of idle connections, after one request on each."""
    connections: list[socket.socket] = []
    try:
        for count in counts:
            while len(connections) < count:
                connections.append(answered(url))
            yield count, resident_mib(pid)
    finally:
        for connection in connections:
            connection.close()


def answered(url: str) -> socket.socket:
    """A connection that stays open after one request."""
    host = urlsplit(url).netloc
    connection = connect(url)
    connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return connection


@contextmanager
def slow(url: str, count: int) -> Iterator[None]:
    """`count` clients that send one byte per second of a request's head, and reconnect when disconnected."""
    host = urlsplit(url).netloc
    text = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nX-Padding: {'x' * 1000}\r\n".encode()
    over = threading.Event()

    def drip() -> None:
        clients = [(connect(url), 0) for _ in range(count)]
        while not over.wait(1):
            for place, (client, sent) in enumerate(clients):
                try:
                    client.sendall(text[sent : sent + 1])
                    clients[place] = (client, sent + 1)
                except OSError:
                    client.close()
                    clients[place] = (connect(url), 0)
        for client, _ in clients:
            client.close()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def connect(url: str) -> socket.socket:
    host, port = urlsplit(url).netloc.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 30)


def allow(files: int) -> None:
    """Raises the limit of open files for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))

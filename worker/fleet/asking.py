"""Asks a process of ours for one of its pages."""

import contextlib
import socket
from typing import NamedTuple

from worker.process.http_server import find_address

ANSWER_SECONDS = 1.0
"""A page takes milliseconds; whoever asked us waits for all processes, one after the other."""
CHUNK_BYTES = 1 << 16


class Page(NamedTuple):
    """An answer."""

    status: int
    body: bytes


def ask(host: str, path: str, *, method: str = "GET", authorization: str = "") -> Page | None:
    """Returns None if nobody answers in time: the process is starting, gone, or hangs."""
    request = f"{method} {path} HTTP/1.1\r\nAuthorization: {authorization}\r\n\r\n"
    family, address = find_address(host, 0)
    answer = b""
    with socket.socket(family) as connection, contextlib.suppress(OSError):
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(address)
        connection.sendall(request.encode())
        while chunk := connection.recv(CHUNK_BYTES):
            answer += chunk
    head, found, body = answer.partition(b"\r\n\r\n")
    return Page(int(head.split(b" ", 2)[1]), body) if found else None

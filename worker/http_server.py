"""A server that speaks just enough HTTP/1.1 to answer a GET, and closes every connection.

Whatever a client sends or holds back, it costs at most `REQUEST_BYTES`, `REQUEST_SECONDS` and one of `CONNECTIONS`
threads. The standard library's server bounds none of the three: it waits for each line anew.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple

REQUEST_BYTES = 8 * 1024
REQUEST_SECONDS = 2.0
"""For reading the request, again for writing the response, and again for the client to hang up."""
DRAIN_BYTES = 256 * 1024
CONNECTIONS = 16
POLL_SECONDS = 0.1
"""How long closing may wait for the accepting thread to notice."""


class Response(NamedTuple):
    """An answer to one request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"

    def encode(self) -> bytes:
        """The response as it goes over the wire."""
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        ]
        if self.status is HTTPStatus.METHOD_NOT_ALLOWED:
            head.append("Allow: GET")
        return "\r\n".join([*head, "", ""]).encode() + self.body


Pages = Callable[[str], Response | None]
"""Path without its query -> the answer, or None where there is no such page."""


class HttpServer:
    """Answers on threads of its own from construction until `close`."""

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        """
        Args:
            host: address to listen on.
            port: 0 takes any free one, see the attribute `port`.
            pages: called from several threads.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server = _Server(host, port, pages)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="http-accept", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Frees the port and waits for the answers under way."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    # A connection beyond the queue waits a whole second before its client tries again.
    request_queue_size = 128

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hangs up on a client that finds every thread taken."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _Handler(BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        # A client that goes away in the middle is its own business: there is nobody left to tell.
        with contextlib.suppress(OSError):
            response = self._respond()
            self.request.settimeout(REQUEST_SECONDS)
            self.request.sendall(response.encode())
            self._drain()

    def _respond(self) -> Response:
        deadline = time.monotonic() + REQUEST_SECONDS
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = self._receive(deadline)
            if chunk is None:
                return _refuse(HTTPStatus.REQUEST_TIMEOUT)
            head += chunk
            if not chunk:
                return _refuse(HTTPStatus.BAD_REQUEST)
            if len(head) > REQUEST_BYTES:
                return _refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _refuse(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        response = self.server.pages(target.partition("?")[0])
        if response is None:
            return _refuse(HTTPStatus.NOT_FOUND)
        return response if method == "GET" else _refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    def _receive(self, deadline: float) -> bytes | None:
        """What has arrived; empty at the end of the stream, None after the deadline."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None
        self.request.settimeout(remaining)
        try:
            return self.request.recv(REQUEST_BYTES)
        except TimeoutError:
            return None

    def _drain(self) -> None:
        """Takes what else was sent: closing with unread bytes would reset the connection and lose the response."""
        self.request.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + REQUEST_SECONDS
        drained = 0
        while drained < DRAIN_BYTES and (chunk := self._receive(deadline)):
            drained += len(chunk)


def _refuse(status: HTTPStatus) -> Response:
    return Response(status, b'{"error":"%s"}' % status.phrase.encode())

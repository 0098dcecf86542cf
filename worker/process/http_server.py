"""A server that speaks just enough HTTP/1.1 to answer a GET or take a POST, and closes every connection.

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

from worker.errors import SettingsError

REQUEST_BYTES = 8 * 1024
REQUEST_SECONDS = 2.0
"""For reading the request, again for writing the response, and again for the client to hang up."""
DRAIN_BYTES = 256 * 1024
CONNECTIONS = 16
POLL_SECONDS = 0.1
"""How long closing may wait for the accepting thread to notice."""


METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of Prometheus' text format."""


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
        if self.status is HTTPStatus.UNAUTHORIZED:
            head.append("WWW-Authenticate: Bearer")
        return "\r\n".join([*head, "", ""]).encode() + self.body


Pages = Callable[[str], Response | None]
"""Path without its query -> the answer, or None where there is no such page."""

Orders = Callable[[str, str], Response | None]
"""Path without its query, and the header Authorization -> the answer, or None where there is no such order."""


class HttpServer:
    """Answers on threads of its own from construction until `close`."""

    def __init__(self, host: str, port: int, pages: Pages, orders: Orders | None = None) -> None:
        """
        Args:
            host: address to listen on; ``@name`` is a Unix socket in Linux's abstract namespace, which goes with us.
            port: 0 takes any free one, see the attribute `port`. A Unix socket has none.
            pages: called from several threads.
            orders: the same, for POST; None where nothing may be ordered.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        try:
            self._server = _Server(host, port, pages, orders)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host} port {port}: {error.strerror}. Change LIMELIGHT_HEALTH_HOST or "
                "LIMELIGHT_HEALTH_PORT; port 0 takes any that is free."
            ) from error
        self.port: int = self._server.port
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

    def __init__(self, host: str, port: int, pages: Pages, orders: Orders | None) -> None:
        self.orders = orders
        self.address_family, address = find_address(host, port)
        self.pages = pages
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)
        self.port = self.socket.getsockname()[1] if self.address_family != socket.AF_UNIX else 0

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
        head = self._read_head()
        return head if isinstance(head, Response) else self._answer(head)

    def _read_head(self) -> bytes | Response:
        deadline = time.monotonic() + REQUEST_SECONDS
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = self._receive(deadline)
            if chunk is None:
                return answer_error(HTTPStatus.REQUEST_TIMEOUT)
            head += chunk
            if not chunk:
                return answer_error(HTTPStatus.BAD_REQUEST)
            if len(head) > REQUEST_BYTES:
                return answer_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return head

    def _answer(self, head: bytes) -> Response:
        first, *fields = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return answer_error(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        path = target.partition("?")[0]
        if method == "POST" and self.server.orders is not None:
            ordered = self.server.orders(path, _find_field(fields, "authorization"))
            if ordered is not None:
                return ordered
        response = self.server.pages(path)
        if response is None:
            return answer_error(HTTPStatus.NOT_FOUND)
        return response if method == "GET" else answer_error(HTTPStatus.METHOD_NOT_ALLOWED)

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


def find_address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Family and address of a socket, for `HttpServer` and for whoever asks it."""
    if host.startswith("@"):
        return socket.AF_UNIX, f"\0{host[1:]}"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, port)


def _find_field(fields: list[str], name: str) -> str:
    """Value of a header field, empty if it is not there."""
    found = (field.partition(":") for field in fields)
    return next((value.strip() for each, _, value in found if each.strip().lower() == name), "")


def answer_error(status: HTTPStatus) -> Response:
    """A refusal that says no more than its status."""
    return Response(status, b'{"error":"%s"}' % status.phrase.encode())

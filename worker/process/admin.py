"""What an administrator may order over HTTP, with a token: see `worker.process.health` for the pages that need none."""

import hmac
from collections.abc import Callable, Mapping
from http import HTTPStatus

import structlog

from worker.process.http_server import Response, answer_error

SCHEME = "Bearer "

log = structlog.get_logger("worker")


class Administration:
    """Checks tokens, and carries out orders."""

    def __init__(self, token: str, orders: Mapping[str, Callable[[], None]]) -> None:
        """
        Args:
            token: who knows it may order.
            orders: path -> what is done.
        """
        self._token = token.encode()
        self._orders = orders

    def order(self, path: str, authorization: str) -> Response | None:
        """Carries an order out.

        Args:
            path: which one.
            authorization: the request's header of this name, as RFC 6750 has it.

        Returns:
            None where there is no such order.
        """
        if path not in self._orders:
            return None
        given = authorization.removeprefix(SCHEME).encode("latin-1")
        # In constant time: how long a comparison takes must not tell how much of a guess is right.
        if not authorization.startswith(SCHEME) or not hmac.compare_digest(given, self._token):
            log.warning("an order without the right token was refused", path=path)
            return answer_error(HTTPStatus.UNAUTHORIZED)
        log.info("an administrator ordered", path=path)
        self._orders[path]()
        return Response(HTTPStatus.ACCEPTED, b"{}")

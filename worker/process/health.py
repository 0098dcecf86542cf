"""Three pages for orchestrators and Prometheus, on one port.

===========  ============================================  =====================================
page         200                                           503
===========  ============================================  =====================================
``/livez``   the main loop made progress within the limit  it hangs: restart the process
``/readyz``  every condition of `Readiness` holds          the body names the ones that do not
``/metrics`` Prometheus' text format                       never
===========  ============================================  =====================================

With an administrator's token, POST ``/pause`` stops the reading, POST ``/resume`` goes on, and POST ``/drain`` ends the
worker as SIGTERM does: see `worker.process.admin`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import msgspec

from worker.ports import Clock
from worker.process.http_server import METRICS_TYPE, HttpServer, Orders, Response


class Heartbeat:
    """The main loop's sign of life."""

    def __init__(self, clock: Clock, *, limit_seconds: float) -> None:
        """
        Args:
            clock: only its monotonic side is read.
            limit_seconds: longest time without a beat; must exceed the longest step of the loop, a rebalance included.
        """
        self._clock = clock
        self._last_seconds = clock.monotonic_seconds()
        self.limit_seconds = limit_seconds

    def beat(self) -> None:
        """Called by the loop at each turn."""
        self._last_seconds = self._clock.monotonic_seconds()

    def age_seconds(self) -> float:
        """Time since the last beat, or since construction."""
        return self._clock.monotonic_seconds() - self._last_seconds


@dataclass
class Readiness:
    """What has to be true before a worker counts as ready."""

    model_warmed: bool = False
    """The bundle is loaded, and gave its golden answers when it was last asked for them."""
    deployment_followed: bool = True
    """What answers is what the registry asks for. If not, scoring goes on with the version in use."""
    transactions_initialised: bool = False
    """The broker knows the transactional id, has fenced its former owner, and what a delivery left open was ended."""
    partitions_assigned: bool = False
    """The group counts us among its members. An empty assignment counts: there may be more workers than partitions."""

    reading: bool = True
    """No administrator has paused the worker."""

    def conditions(self) -> dict[str, bool]:
        """Condition -> whether it holds."""
        return dict(vars(self))

    def is_ready(self) -> bool:
        """True if every condition holds."""
        return all(self.conditions().values())


class HealthServer:
    """Serves the three pages from construction until `close`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        heartbeat: Heartbeat,
        readiness: Readiness,
        render_metrics: Callable[[], bytes],
        orders: Orders | None = None,
    ) -> None:
        """
        Args:
            host: address to listen on.
            port: 0 takes any free one, see the attribute `port`.
            heartbeat: decides ``/livez``.
            readiness: decides ``/readyz``.
            render_metrics: body of ``/metrics``.
            orders: what an administrator may order; None if nothing.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        self._heartbeat = heartbeat
        self._readiness = readiness
        self._render_metrics = render_metrics
        self._server = HttpServer(host, port, self._page, orders)
        self.port = self._server.port

    def close(self) -> None:
        """Frees the port and waits for the answers under way."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _page(self, path: str) -> Response | None:
        match path:
            case "/livez":
                return self._livez()
            case "/readyz":
                ready = self._readiness.is_ready()
                return _answer({"ready": ready, "conditions": self._readiness.conditions()}, holds=ready)
            case "/metrics":
                return Response(HTTPStatus.OK, self._render_metrics(), METRICS_TYPE)
            case _:
                return None

    def _livez(self) -> Response:
        age_seconds, limit_seconds = self._heartbeat.age_seconds(), self._heartbeat.limit_seconds
        alive = age_seconds <= limit_seconds
        body = {"alive": alive, "seconds_since_progress": round(age_seconds, 3), "limit_seconds": limit_seconds}
        return _answer(body, holds=alive)


def _answer(body: object, *, holds: bool) -> Response:
    return Response(HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode(body))

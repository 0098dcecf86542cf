"""The pages of all processes as those of one worker; see `worker.process.health`.

A process that does not answer is starting or was just started again: the worker is not ready, but alive, for that is
being seen to. Only one that hangs makes ``/livez`` fail.
"""

import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from worker.fleet.asking import Page, ask
from worker.fleet.exposition import Exposition
from worker.fleet.member import Member
from worker.process.http_server import METRICS_TYPE, Response

START_SECONDS = 90.0
"""A process that has not answered for so long after its start hangs."""
_OWN = """\
# HELP limelight_processes Processes of this worker that are running.
# TYPE limelight_processes gauge
limelight_processes {running}
# HELP limelight_process_restarts_total Processes that died and were started again.
# TYPE limelight_process_restarts_total counter
limelight_process_restarts_total {restarts}
"""


class MergedPages:
    """Asks every process for its page when somebody asks for ours. Safe to call from several threads."""

    def __init__(self, members: Sequence[Member], *, ask: Callable[[str, str], Page | None] = ask) -> None:
        """
        Args:
            members: the processes.
            ask: gets a page, from a host and a path.
        """
        self._members = members
        self._ask = ask
        self._exposition = Exposition()
        self._lock = threading.Lock()

    def page(self, path: str) -> Response | None:
        """Implements `worker.process.http_server.Pages`."""
        match path:
            case "/livez":
                return self._livez()
            case "/readyz":
                ready, conditions = self.readiness()
                return _answer({"ready": ready, "conditions": conditions}, holds=ready)
            case "/metrics":
                return Response(HTTPStatus.OK, self._metrics(), METRICS_TYPE)
            case _:
                return None

    def readiness(self) -> tuple[bool, dict[str, bool]]:
        """Whether every process is ready, and which conditions hold for all of them."""
        found = [_decode(self._ask(member.host, "/readyz")) for member in self._members]
        conditions = {"processes_running": None not in found}
        for each in found:
            for name, holds in (each or {"conditions": {}})["conditions"].items():
                conditions[name] = conditions.get(name, True) and holds
        return all(each is not None and each["ready"] for each in found), conditions

    def _livez(self) -> Response:
        found = [_decode(self._ask(member.host, "/livez")) for member in self._members]
        alive = all(
            each["alive"] if each is not None else not member.is_running or member.age_seconds < START_SECONDS
            for member, each in zip(self._members, found, strict=True)
        )
        return _answer({"alive": alive, "processes": found}, holds=alive)

    def _metrics(self) -> bytes:
        running = sum(member.is_running for member in self._members)
        restarts = sum(member.lives - 1 for member in self._members)
        with self._lock:  # of two answers of one process, the later must not be merged first
            asked = {member.number: self._measure(member) for member in self._members}
            merged = self._exposition.merge({number: found for number, found in asked.items() if found is not None})
        return merged + _OWN.format(running=running, restarts=restarts).encode()

    def _measure(self, member: Member) -> tuple[int, bytes] | None:
        """Which life of a process, and what it counts; None where that cannot be told for sure."""
        life = member.lives
        page = self._ask(member.host, "/metrics")
        return (life, page.body) if page is not None and life == member.lives else None


def _decode(page: Page | None) -> dict[str, Any] | None:
    return None if page is None else msgspec.json.decode(page.body)


def _answer(body: object, *, holds: bool) -> Response:
    return Response(HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode(body))

"""``python -m worker run --processes N``: the parent. What it imports is its memory."""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import structlog

from worker.fleet.facts import read_facts
from worker.fleet.launch import build_members
from worker.fleet.pages import MergedPages
from worker.fleet.reading import Reading
from worker.fleet.supervisor import Supervisor
from worker.logs import configure
from worker.process.admin import Administration
from worker.process.http_server import HttpServer, Orders
from worker.process.instance import Instance
from worker.process.start import Start
from worker.process.stopping import LEAVE_SECONDS, Stopping

NOTICE_SECONDS = 2.0
"""For noticing that the processes have ended, beyond the time that they have for it."""

log = structlog.get_logger("worker")


def run_processes(processes: int, *, bundle: Path | None, ready_file: Path | None) -> None:
    """Runs a worker of several processes until a signal ends it.

    Args:
        processes: how many.
        bundle: the option, if it was given.
        ready_file: written once, when all are ready; see `worker.process.start`.

    Raises:
        SettingsError: a setting is not allowed, or the health port is taken.
        ProcessesError: a process ended by an error that no restart cures.
    """
    facts = read_facts(bundle)
    configure(facts.log_format, facts.log_level)
    reading = Reading(facts.admin_token)
    limit_seconds = facts.drain_seconds + LEAVE_SECONDS + NOTICE_SECONDS
    with ExitStack() as opened:
        # The last resort, should not even killing help.
        stopping = opened.enter_context(closing(Stopping(limit_seconds=2 * limit_seconds)))
        instance = opened.enter_context(closing(Instance(facts.group_id, facts.instance_id)))
        arguments = [] if bundle is None else ["--bundle", str(bundle)]
        members = build_members(processes, arguments, instance=instance.name, reading=reading)
        pages = MergedPages(members)
        orders = _open_administration(facts.admin_token, reading, stopping)
        server = opened.enter_context(closing(HttpServer(facts.health_host, facts.health_port, pages.page, orders)))
        log.info("started", health_port=server.port, process_id=os.getpid(), processes=processes)
        announce = _Announcement(pages, Start(ready_file), health_port=server.port)

        def turn() -> None:
            reading.tell(members)
            announce()

        Supervisor(members, turned=turn).run(stopping, limit_seconds=limit_seconds)
    log.info("stopped")


class _Announcement:
    """Says once that all processes are ready."""

    def __init__(self, pages: MergedPages, start: Start, *, health_port: int) -> None:
        self._pages = pages
        self._start = start
        self._health_port = health_port
        self._is_made = False

    def __call__(self) -> None:
        if not self._is_made and self._pages.readiness()[0]:
            self._is_made = True
            self._start.mark("joined_seconds")
            self._start.tell_ready(health_port=self._health_port)


def _open_administration(token: str | None, reading: Reading, stopping: Stopping) -> Orders | None:
    if token is None:
        return None
    orders: dict[str, Callable[[], None]] = {
        "/pause": partial(setattr, reading, "is_wanted", False),  # noqa: FBT003 - a value, not a flag
        "/resume": partial(setattr, reading, "is_wanted", True),  # noqa: FBT003
        "/drain": stopping.order,
    }
    return Administration(token, orders).order

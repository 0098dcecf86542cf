"""Pages of real servers, merged."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.clock import SystemClock
from worker.fleet import pages as merged_pages
from worker.fleet.asking import Page, ask
from worker.fleet.member import Member
from worker.fleet.pages import MergedPages
from worker.fleet.reading import Reading
from worker.process.admin import Administration
from worker.process.health import HealthServer, Heartbeat, Readiness
from worker.process.http_server import Response

pytestmark = pytest.mark.fast

TOKEN = "an-administrators-token"
WAITS = "import signal; signal.pause()"


class Process:
    """The pages of one process, and what it was ordered."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.readiness = Readiness(model_warmed=True, transactions_initialised=True, partitions_assigned=True)
        self.limit_seconds = 60.0
        self.orders: list[str] = []
        self.token = TOKEN
        self.page = b"# HELP limelight_x_total X.\n# TYPE limelight_x_total counter\nlimelight_x_total 2.0\n"

    def serve(self) -> HealthServer:
        orders = {path: lambda path=path: self.orders.append(path) for path in ("/pause", "/resume")}
        return HealthServer(
            self.member.host,
            0,
            heartbeat=Heartbeat(SystemClock(), limit_seconds=self.limit_seconds),
            readiness=self.readiness,
            render_metrics=lambda: self.page,
            orders=Administration(self.token, orders).order,
        )


@pytest.fixture
def processes(build_member: Callable[..., Member]) -> Iterator[list[Process]]:
    """Two that are there, and do not answer yet."""
    token = secrets.token_hex(8)
    members = [build_member(WAITS, number=number, host=f"@{token}-{number}") for number in range(2)]
    for member in members:
        member.start()
    yield [Process(member) for member in members]
    for member in members:
        member.send(9)
        while member.is_running:
            member.watch()


@pytest.fixture
def serving() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def look(processes: list[Process], path: str) -> tuple[HTTPStatus, Any]:
    response = MergedPages([process.member for process in processes]).page(path)
    assert isinstance(response, Response)
    return response.status, json.loads(response.body)


def test_ready_when_all_are(processes: list[Process], serving: ExitStack) -> None:
    assert look(processes, "/readyz") == (503, {"ready": False, "conditions": {"processes_running": False}})
    serving.enter_context(processes[0].serve())
    status, body = look(processes, "/readyz")
    assert (status, body["conditions"]["processes_running"]) == (503, False)

    serving.enter_context(processes[1].serve())
    status, body = look(processes, "/readyz")
    assert (status, body["ready"]) == (200, True)
    assert all(body["conditions"].values())

    processes[1].readiness.model_warmed = False
    status, body = look(processes, "/readyz")
    assert (status, body["ready"]) == (503, False)
    assert [name for name, holds in body["conditions"].items() if not holds] == ["model_warmed"]


def test_alive_unless_one_hangs(processes: list[Process], serving: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    processes[1].limit_seconds = -1
    serving.enter_context(processes[0].serve())
    assert look(processes, "/livez")[0] == 200, "the other is starting"

    monkeypatch.setattr(merged_pages, "START_SECONDS", 0)
    assert look(processes, "/livez")[0] == 503, "it takes too long"

    serving.enter_context(processes[1].serve())
    status, body = look(processes, "/livez")
    assert (status, [each["alive"] for each in body["processes"]]) == (503, [True, False])


def test_a_process_that_is_not_there_is_being_seen_to(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_pages, "START_SECONDS", 0)
    for process in processes:
        process.member.send(9)
        while process.member.is_running:
            process.member.watch()

    assert look(processes, "/livez")[0] == 200
    assert look(processes, "/readyz")[0] == 503


def test_metrics_count_all_processes_and_their_deaths(processes: list[Process], serving: ExitStack) -> None:
    for process in processes:
        serving.enter_context(process.serve())
    first = processes[0].member
    first.send(9)
    while first.is_running:
        first.watch()
    pages = MergedPages([process.member for process in processes])

    def lines() -> list[str]:
        response = pages.page("/metrics")
        assert response is not None
        return [line for line in response.body.decode().splitlines() if not line.startswith("#")]

    assert lines() == ["limelight_x_total 4.0", "limelight_processes 1", "limelight_process_restarts_total 0"]
    first.start()
    assert lines() == ["limelight_x_total 6.0", "limelight_processes 2", "limelight_process_restarts_total 1"]


def test_what_is_counted_by_a_process_that_is_replaced_meanwhile_is_left_for_the_next_time(
    processes: list[Process],
) -> None:
    first = processes[0].member

    def ask_and_replace(host: str, path: str) -> Page | None:
        if host != first.host:
            return None
        first.lives += 1
        return Page(200, processes[0].page)

    response = MergedPages([process.member for process in processes], ask=ask_and_replace).page("/metrics")

    assert response is not None
    assert "limelight_x_total" not in response.body.decode()


def test_there_are_no_other_pages(processes: list[Process]) -> None:
    assert MergedPages([process.member for process in processes]).page("/other") is None


def test_an_order_reaches_every_process_once_also_one_that_answers_later(
    processes: list[Process], serving: ExitStack
) -> None:
    members, reading = [process.member for process in processes], Reading(TOKEN)
    assert [reading.starting(member.number) for member in members] == [True, True]
    serving.enter_context(processes[0].serve())
    reading.tell(members)

    reading.is_wanted = False
    for _ in range(2):
        reading.tell(members)
    assert [process.orders for process in processes] == [["/pause"], []]
    serving.enter_context(processes[1].serve())
    for _ in range(2):
        reading.tell(members)
    assert [process.orders for process in processes] == [["/pause"], ["/pause"]]

    assert not reading.starting(1), "one that is started again begins paused"
    reading.tell(members)
    reading.is_wanted = True
    reading.tell(members)
    assert [process.orders for process in processes] == [["/pause", "/resume"], ["/pause", "/resume"]]


def test_an_order_that_is_not_carried_out_is_given_again_and_told_once(
    processes: list[Process], serving: ExitStack
) -> None:
    [process, _] = processes
    reading = Reading("another-administrators-token")
    assert reading.starting(0)
    serving.enter_context(process.serve())

    reading.is_wanted = False
    with capture_logs() as logs:
        for _ in range(3):
            reading.tell([process.member])
    errors = [(line["number"], line["order"], line["status"]) for line in logs if line["log_level"] == "error"]
    assert errors == [(0, "/pause", 401)]
    assert process.orders == []

    reading._authorization = f"Bearer {TOKEN}"
    reading.tell([process.member])
    assert process.orders == ["/pause"]


def test_a_token_is_sent_as_it_is_compared(processes: list[Process], serving: ExitStack) -> None:
    [process, _] = processes
    process.token = "schl\u00fcssel-\u8bc4"
    reading = Reading(process.token)
    reading.starting(0)
    serving.enter_context(process.serve())

    reading.is_wanted = False
    reading.tell([process.member])

    assert process.orders == ["/pause"]


def test_whoever_does_not_speak_http_has_not_answered() -> None:
    assert ask("@nobody-listens-here", "/livez") is None

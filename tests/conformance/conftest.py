"""Clusters, the worker command under test, and the report.

==========================  ==========================================================================
variable                    meaning
==========================  ==========================================================================
CONFORMANCE                 ``whole``: every fault in every setup, not only a dozen (make conformance)
KILLS                       how many SIGKILLs of workers in all, over the setups of that case
BROKER_KILLS                how many SIGKILLs of brokers in all
CONFORMANCE_JSON            file for what was measured
CONFORMANCE_WORKER, ...     another worker command, see ``README.md``
==========================  ==========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.matrix import IS_WHOLE, ONCE, Setup, setups
from harness.report import Report
from harness.subject import IS_FOREIGN

if TYPE_CHECKING:
    from harness.arena import Arena
    from harness.subject import Subject

    from deploy.local.kafka.cluster import Cluster

BARS, SLACK_SECONDS = 4, 30
"""A wait may be so many bars and seconds long on a machine that is busy with other things; longer, the case fails. The
whole form holds waits against the bars themselves too, when it has ended: see `pytest_sessionfinish`."""
ONLY_WHOLE = pytest.mark.skip(reason="waits for the brokers' own timeouts: run make conformance")
REPORT = pytest.StashKey[Report]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "setup" in metafunc.fixturenames:
        fault = metafunc.definition.get_closest_marker("fault").args[0]
        chosen = setups(fault, whole=IS_WHOLE)
        metafunc.parametrize("setup", chosen or [pytest.param(None, marks=ONLY_WHOLE)], ids=str)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name): which setups a case runs in, see harness.matrix")
    config.stash[REPORT] = Report()
    if IS_WHOLE and config.getoption("numprocesses", None):
        raise pytest.UsageError("CONFORMANCE=whole measures waits, which cases that run side by side lengthen: omit -n")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the whole form if a bar was missed: not before every case has run."""
    # The bars are Limelight's own promises.
    is_judged = IS_WHOLE and not IS_FOREIGN
    if is_judged and session.config.stash[REPORT].missed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if table := report.table():
        terminalreporter.section("conformance")
        terminalreporter.write_line(table)
    if path := os.environ.get("CONFORMANCE_JSON"):
        report.write(Path(path))


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[[int], Cluster]]:
    """Gives a running cluster of so many nodes; a node that a case left dead is started again."""
    # Here and below not at the top: the fast tier should not wait for a Kafka client.
    from harness import authorized
    from harness.broker_faults import start_missing

    from deploy.local.kafka.cluster import Cluster
    from deploy.local.kafka.errors import KafkaUnavailableError

    running: dict[int, Cluster] = {}
    with ExitStack() as opened:

        def find(nodes: int) -> Cluster:
            try:
                if nodes not in running:
                    running[nodes] = opened.enter_context(Cluster.start(nodes=nodes, properties=authorized.PROPERTIES))
            except KafkaUnavailableError as error:
                pytest.skip(str(error))
            start_missing(running[nodes])
            return running[nodes]

        yield find


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with planted faults."""
    from harness.model import write_model

    return write_model(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def open_arena(clusters: Callable[[int], Cluster], model: Path, tmp_path: Path) -> Iterator[Callable[..., Arena]]:
    """Opens the arena of a case. Its `settings` are added to those that every worker gets."""
    from harness.arena import Arena
    from harness.subject import Subject

    with ExitStack() as opened:

        def open_one(
            setup: Setup,
            *,
            subject: Subject | None = None,
            settings: Mapping[str, str] | None = None,
            **options: Any,
        ) -> Arena:
            arena = Arena(
                clusters(setup.nodes),
                subject or Subject.from_environment(os.environ),
                setup,
                tmp_path,
                settings={"BUNDLE": str(model), **(settings or {})},
                **options,
            )
            return opened.enter_context(arena)

        yield open_one


@pytest.fixture
def note_waits(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Reports the longest waits of a case and holds them against a generous limit.

    `is_promised=False` where the bar is only a guide.
    """

    def note(what: str, seconds: list[float], *, bar_seconds: float, is_promised: bool = True) -> None:
        report = request.config.stash[REPORT]
        report.add_waits(request.node.name, what, seconds, bar_seconds=bar_seconds, is_promised=is_promised)
        assert max(seconds) < BARS * bar_seconds + SLACK_SECONDS, f"{what}: {seconds}"

    return note


@pytest.fixture
def note_figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Reports a figure of a case and holds it against a generous limit, if there is a bar."""

    def note(what: str, value: float, *, bar: float | None = None) -> None:
        request.config.stash[REPORT].add_figure(request.node.name, what, value, bar=bar)
        assert bar is None or value < BARS * bar, f"{what}: {value}"

    return note


@pytest.fixture
def broken_promises(request: pytest.FixtureRequest) -> Callable[[Arena], dict[str, str]]:
    """Ends a case and judges it: what was promised and not kept."""

    def judge(arena: Arena) -> dict[str, str]:
        verdict = arena.finish()
        request.config.stash[REPORT].add_verdict(request.node.name, verdict)
        return verdict.findings(duplicates_allowed=arena.setup.delivery != ONCE)

    return judge

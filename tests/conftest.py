"""What all tiers share: one real broker, and the proof that no test leaves a process behind."""

import logging
import os
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Every process that a test starts inherits this variable, whatever becomes of its parent.
MARK = "TEST_SESSION_OF_LIMELIGHT"
PATIENCE_SECONDS = 60
"""Only what never happens takes so long."""
LOOK_SECONDS = 0.01
SURVIVORS = pytest.StashKey[list[str]]()
GRACE_SECONDS = 3
"""For what is ending already when the last test is done."""
# kafka-python leaves the socket of a refused connection to the garbage collector: never connected, so without a peer.
UNCONNECTED_SOCKET = r"unclosed <socket\.socket fd=\d+, family=2, type=1, proto=6, laddr=\('0\.0\.0\.0'"

# Speed is judged by benches: on a busy machine a time limit would fail a test that is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unconfigured_logging() -> Iterator[None]:
    """A program that a test runs in this process sets logging up for itself: no other test starts with that."""
    # Before, too: a fixture of a whole module may have run one.
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging() -> None:
    structlog.reset_defaults()
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers[:] = [each for each in root.handlers if type(each).__module__ != "worker.logs"]


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Waits until a condition holds; fails the test, with an account of what is known, if it never does."""

    def wait(
        condition: Callable[[], object],
        *,
        seconds: float = PATIENCE_SECONDS,
        account: Callable[[], str] = lambda: "waited in vain",
    ) -> None:
        assert _comes_true(condition, seconds=seconds), account()

    return wait


def _comes_true(condition: Callable[[], object], *, seconds: float) -> bool:
    """Looks again and again: what is waited for here, a file, a port or another process, tells nobody."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Bootstrap servers of one real broker, started once for all tests. Use topic and group names of your own."""
    # Not above: the fast tier should not wait for a Kafka client.
    from deploy.local.kafka.cluster import Cluster
    from deploy.local.kafka.errors import KafkaUnavailableError

    try:
        cluster = Cluster.start()
    except KafkaUnavailableError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster.bootstrap_servers


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For ``-m fast``, modules without a fast test are not even imported: some of them import TensorFlow."""
    if config.option.markexpr == "fast" and collection_path.name.startswith("test_"):
        # A fixture of the directory may have fast parameters.
        sources = (collection_path, collection_path.with_name("conftest.py"))
        return not any(path.exists() and "pytest.mark.fast" in path.read_text() for path in sources) or None
    return None


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell Ctrl-C is ignored, and our child processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[SURVIVORS] = []
    # With `-n`, the processes that run the tests mark their own children; they are children themselves.
    if config.getoption("numprocesses", None):
        os.environ.pop(MARK, None)  # that of a session in which this one runs
    else:
        os.environ[MARK] = str(uuid.uuid4())
    config.addinivalue_line("filterwarnings", f"ignore:{UNCONNECTED_SOCKET}:ResourceWarning")
    # The line above holds while tests run; this one when pytest collects the last garbage.
    warnings.filterwarnings("ignore", UNCONNECTED_SOCKET, ResourceWarning)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session if a process that a test started is still there, and ends it."""
    found = session.config.stash[SURVIVORS]
    found.extend(_end_survivors() if MARK in os.environ else [])
    for each in found:
        print(f"\nerror: a test left a process behind: {each}")
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["survivors"] = found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """With `-n`, what a process that ran tests found is told by the one that started it."""
    # One that crashed has told nothing; xdist says that it did.
    node.config.stash[SURVIVORS].extend(getattr(node, "workeroutput", {}).get("survivors", []))


def _end_survivors() -> list[str]:
    """Waits a moment for what is ending already and kills the rest; returns process ids with command lines."""
    survivors = {} if _comes_true(lambda: not _survivors(), seconds=GRACE_SECONDS) else _survivors()
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    return [f"{pid} {command}" for pid, command in survivors.items()]


def _survivors() -> dict[int, str]:
    """Process id -> command line of every living process that carries our mark, but ourselves."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (directory / "environ").read_bytes().split(b"\0"):
                continue
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        # Python's resource tracker ends by itself when its parent does.
        if int(directory.name) != os.getpid() and "resource_tracker" not in command:
            found[int(directory.name)] = command
    return found

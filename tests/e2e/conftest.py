"""The demo as a user types it, and a look at everything that it started."""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from deploy.local.kafka.jars import cache_directory

START_SECONDS = 120
END_SECONDS = 20
TRAINING_SECONDS = 900
"""For the whole training and export, which take 80 s of two idle cores."""
LISTEN = "0A"


class Demo:
    """A running demo."""

    def __init__(self, directory: Path, wait_for: Callable[..., None], *options: str | Path) -> None:
        """Starts it; all that it makes goes below `directory`."""
        self._wait_for = wait_for
        directory.mkdir()
        self.temporary = directory / "temporary"
        self.temporary.mkdir()
        self._output = directory / "output"
        self._errors = directory / "errors"
        # Every process that it starts inherits this, whatever becomes of its parent.
        self._mark = f"DEMO_OF_A_TEST={uuid.uuid4()}"
        name, value = self._mark.split("=")
        # One cache for all: the jars need not be fetched again.
        caches = {"LIMELIGHT_CACHE_DIR": str(cache_directory()), "TMPDIR": str(self.temporary)}
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", "demo", *map(str, options)],
                stdout=output,
                stderr=errors,
                env={**os.environ, **caches, name: value},
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    @property
    def errors(self) -> str:
        """What it has printed to stderr so far."""
        return self._errors.read_text()

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Waits; fails the test if the demo ends first, or if it takes too long."""

        def has_come() -> bool:
            if condition():
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}{self.errors}"
            return False

        self._wait_for(has_come, seconds=seconds, account=lambda: f"waited in vain: {self.output}{self.errors}")

    def wait(self, *, seconds: float) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def processes(self) -> dict[int, str]:
        """Living processes that it started, and itself: process id -> command line."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(directory.name)] = command
            except OSError:  # it ended meanwhile, or belongs to somebody else
                continue
        return found

    def listening_ports(self) -> set[int]:
        """TCP ports on which they listen."""
        sockets = set()
        for pid in self.processes():
            for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
                try:
                    sockets.add(str(descriptor.readlink()))
                except OSError:
                    continue
        return {port for port, inode in _listeners() if f"socket:[{inode}]" in sockets}

    def check_nothing_is_left(self, ports: set[int]) -> None:
        """Fails the test unless all processes, `ports` and temporary files are gone."""
        assert self.processes() == {}
        assert ports.isdisjoint(port for port, _ in _listeners())
        assert list(self.temporary.glob("limelight-*")) == []

    def wait_until_gone(self, ports: set[int]) -> None:
        """Waits until all processes and `ports` are gone: the kernel ends the children of a killed process in turn."""
        self._wait_for(
            lambda: not self.processes() and ports.isdisjoint(port for port, _ in _listeners()),
            seconds=END_SECONDS,
            account=lambda: f"still there: {self.processes()}",
        )

    def end(self) -> None:
        """Ends what a failed test left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


class StartDemo(Protocol):
    """Starts a `Demo` that is ended with the test."""

    def __call__(self, *options: str | Path) -> Demo:
        """Takes the options of the command line."""
        ...


@pytest.fixture
def start_demo(broker: str, tmp_path: Path, wait_for: Callable[..., None]) -> Iterator[StartDemo]:
    """Asking for `broker` skips the test where no Kafka can be had."""
    started: list[Demo] = []

    def start(*options: str | Path) -> Demo:
        started.append(Demo(tmp_path / f"demo-{len(started)}", wait_for, *options))
        return started[-1]

    yield start
    for demo in started:
        demo.end()


class WholeRun:
    """What ``make demo ARGS="--once"`` left. Nothing of it is cut short: its model is the one that was promised."""

    def __init__(self, directory: Path, wait_for: Callable[..., None]) -> None:
        self.summary = directory / "summary.json"
        self.picture = directory / "view.svg"
        self.bundle = directory / "bundle"
        self.demo = Demo(directory / "demo", wait_for, "--once", "--json", self.summary, "--svg", self.picture)

    def finish(self) -> int:
        """Takes a copy of the bundle as soon as it is there, for the other tests; returns the exit status."""
        self.demo.wait_until(lambda: self._bundles() != [], seconds=TRAINING_SECONDS)
        shutil.copytree(self._bundles()[0], self.bundle)
        return self.demo.wait(seconds=START_SECONDS)

    def _bundles(self) -> list[Path]:
        manifests = self.demo.temporary.glob("limelight-demo-*/bundles/*/[0-9a-f]*/manifest.json")
        return [manifest.parent for manifest in manifests]


@pytest.fixture(scope="session")
def whole_run(
    broker: str, tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., None]
) -> Iterator[WholeRun]:
    """Training, export and stream, once for all tests."""
    run = WholeRun(tmp_path_factory.mktemp("whole"), wait_for)
    try:
        status = run.finish()
        assert status == 0, f"{run.demo.output}{run.demo.errors}"
        yield run
    finally:
        run.demo.end()


@pytest.fixture
def bundle(whole_run: WholeRun) -> Path:
    """A model that was trained by federated rounds."""
    return whole_run.bundle


def _listeners() -> list[tuple[int, str]]:
    """Port and inode of each listening TCP socket of this machine."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                found.append((int(fields[1].rpartition(":")[2], 16), fields[9]))
    return found

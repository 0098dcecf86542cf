"""What a demo says about workers that do not come up in time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.demo.stream import LATE_LINES, Worker, describe_late
from deploy.local.processes import ChildProcess

pytestmark = pytest.mark.fast

WaitFor = Callable[[Callable[[], bool]], None]


def test_late_workers_are_named_with_the_end_of_their_logs(tmp_path: Path) -> None:
    workers = []
    for name, script in [("worker-1", "echo fine"), ("worker-2", "seq 40"), ("worker-3", "true")]:
        child = ChildProcess(["sh", "-c", script], name=name, output=tmp_path / f"{name}.log")
        child.wait()
        workers.append(Worker(child, tmp_path / f"{name}.ready"))
    workers[0].ready_file.touch()
    message, *logs = describe_late(workers, 90.0).splitlines()
    assert message.startswith("2 of 3 workers did not become ready within 90 s.")
    numbers = [str(number) for number in range(41 - LATE_LINES, 41)]
    assert logs == ["worker-2:", *numbers, "worker-3:", "(no output)"]

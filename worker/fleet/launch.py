"""How a process of several is started: as a worker of its own that knows its share and its parent."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence

from worker.fleet.member import Member
from worker.fleet.reading import Reading


def build_members(processes: int, arguments: Sequence[str], *, instance: str, reading: Reading) -> list[Member]:
    """
    Args:
        processes: how many.
        arguments: what each is given after ``run``.
        instance: the worker's name in its group.
        reading: asked whether they may read when they start.
    """
    # Other workers on this host, and in containers that share its network, listen in the same namespace.
    prefix = f"@limelight-{secrets.token_hex(8)}"

    def build(number: int) -> Member:
        host = f"{prefix}-{number}"
        command = [*arguments, "--process", f"{number}/{processes}", "--parent", str(os.getpid())]
        environment = {
            **os.environ,
            "LIMELIGHT_INSTANCE_ID": instance,
            "LIMELIGHT_HEALTH_HOST": host,
            "LIMELIGHT_HEALTH_PORT": "0",
        }
        return Member(number, _starter(command, environment, number, reading), host=host)

    return [build(number) for number in range(processes)]


def _starter(
    command: Sequence[str], environment: dict[str, str], number: int, reading: Reading
) -> Callable[[], "subprocess.Popen[bytes]"]:
    def start() -> "subprocess.Popen[bytes]":
        paused = [] if reading.starting(number) else ["--paused"]
        # In a group of its own, a process hears of Ctrl-C from us alone, and once.
        return subprocess.Popen(
            [sys.executable, "-m", "worker", "run", *command, *paused], env=environment, process_group=0
        )

    return start

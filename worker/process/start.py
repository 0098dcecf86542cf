"""How long a start took, and where others learn that it is over."""

import os
import time
from pathlib import Path

import msgspec
import structlog

from worker.files import write_file

log = structlog.get_logger("worker")


class Start:
    """The steps of a start, timed from the moment in which the kernel started the process, imports included."""

    def __init__(self, ready_file: Path | None) -> None:
        """
        Args:
            ready_file: written once, by `tell_ready`: a JSON object with health port, process id and start times.
        """
        self._ready_file = ready_file
        self._times: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Notes that a step is done."""
        self._times[name] = round(process_age_seconds(), 3)

    def tell_ready(self, *, health_port: int) -> None:
        """Says so in the log and in the ready file."""
        log.info("ready", health_port=health_port, **self._times)
        if self._ready_file is not None:
            facts = {"health_port": health_port, "process_id": os.getpid(), **self._times}
            write_file(self._ready_file, msgspec.json.encode(facts))


def process_age_seconds() -> float:
    """Time since the kernel started this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_seconds = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_seconds

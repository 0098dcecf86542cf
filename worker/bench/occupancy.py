"""How busy the machine is, whoever keeps it so: on a full one, a latency is that of the queue for its cores."""

import sys
from pathlib import Path
from typing import NamedTuple, Self

STAT = Path("/proc/stat")
BUSY_FIELDS, IDLE_FIELDS = (0, 1, 2, 5, 6, 7), (3, 4)
"""Places in the first line: user, nice, system, interrupts, soft interrupts, stolen; idle, waiting for a disk."""


class Occupancy(NamedTuple):
    """Time of all cores since the machine started, in ticks of its clock."""

    busy: int
    idle: int

    @classmethod
    def read(cls) -> Self | None:
        """Now; None where the kernel does not say."""
        return cls.parse(STAT.read_text()) if sys.platform == "linux" else None

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Args:
            text: of ``/proc/stat``, see proc(5).
        """
        ticks = [int(field) for field in text.splitlines()[0].split()[1:]]
        return cls(sum(ticks[place] for place in BUSY_FIELDS), sum(ticks[place] for place in IDLE_FIELDS))


def busy_share(before: Occupancy | None, after: Occupancy | None) -> float | None:
    """Share of the cores' time between two readings in which they were busy; None where that is not known."""
    if before is None or after is None:
        return None
    busy, idle = after.busy - before.busy, after.idle - before.idle
    return busy / (busy + idle) if busy + idle > 0 else None

"""Which of several processes this one is, where they share a name and the processor."""

from typing import NamedTuple


class Share(NamedTuple):
    """One process of a worker."""

    process: int = 0
    """Counted from 0."""
    processes: int = 1

    def threads(self, cpus: int) -> int:
        """This process's part of the processors; at least one."""
        return max(1, cpus // self.processes)


ALONE = Share()

"""A transaction on a broker in memory, stage by stage, as Kafka takes it.

::

    begun ── write ──> written ── add_offsets ──> pending ── commit ──> visible, all of it at once
      │                   │                          │
      └───────────────────┴────────── abort ─────────┴──> nothing of it was ever visible

While offsets are pending, nobody can tell what the group has committed for their partitions. A transaction whose
producer fails stays where it is until the next producer of that transactional id ends it.
"""

from collections.abc import Callable, Sequence

from worker.ports import Offsets, Output


class MemoryTransaction:
    """What one transaction has written so far. `MemoryBroker` keeps those that are open."""

    def __init__(self, apply: Callable[[Sequence[Output], Offsets], None]) -> None:
        """
        Args:
            apply: makes outputs and offsets visible.
        """
        self._apply = apply
        self._written: list[Output] = []
        self.pending: Offsets = {}
        """Offsets that the end will commit, or not."""
        self.is_decided = False
        """True from the coordinator's decision to commit: from then on nobody can abort it."""

    def write(self, outputs: Sequence[Output]) -> None:
        """Appends what only an end that commits makes visible."""
        self._written += outputs

    def add_offsets(self, offsets: Offsets) -> None:
        """Has the group wait for the end."""
        self.pending = offsets

    def end(self) -> None:
        """Commits if that was decided, and aborts otherwise."""
        if self.is_decided:
            self._apply(self._written, self.pending)

"""The well-formed events to stream, as lines of JSON with the truth in fields that the worker does not read."""

from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.local.demo.errors import DemoError
from deploy.local.processes import ChildProcess

FIRST_SEED = 2
"""Training messages come from seeds above a million (`python -m federated train`), so these are others."""
CHUNK_RECORDS = 10_000

Generate = Callable[[int, int, Path], ChildProcess]
"""Starts a program that writes so many messages of a seed to a file."""


class GeneratedLines:
    """Fresh messages; each chunk is written by a child while the one before is streamed."""

    def __init__(self, generate: Generate, directory: Path, *, total: int | None) -> None:
        """Starts the first chunk.

        Args:
            generate: starts the generator.
            directory: takes the chunks.
            total: how many lines will be needed; None for no bound.
        """
        self._generate = generate
        self._directory = directory
        self._left = total
        self._seed = FIRST_SEED
        self._next = self._start_chunk()

    def __iter__(self) -> Iterator[bytes]:
        while self._next is not None:
            child, path = self._next
            if child.wait() != 0:
                raise DemoError(f"{child.name} failed: {child.tail(1)}")
            self._next = self._start_chunk()
            with path.open("rb") as lines:
                yield from lines
            path.unlink()

    def _start_chunk(self) -> tuple[ChildProcess, Path] | None:
        size = CHUNK_RECORDS if self._left is None else min(self._left, CHUNK_RECORDS)
        if size == 0:
            return None
        if self._left is not None:
            self._left -= size
        path = self._directory / f"messages-{self._seed}.jsonl"
        child = self._generate(size, self._seed, path)
        self._seed += 1
        return child, path


def file_lines(path: Path, *, endless: bool) -> Iterator[bytes]:
    """The lines of a file, once or again and again."""
    while True:
        with path.open("rb") as lines:
            yield from lines
        if not endless:
            return

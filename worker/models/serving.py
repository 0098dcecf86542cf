"""Which version answers which record, from one swap to the next.

A `Serving` never changes: a slice that began with it ends with it, and a swap is one assignment between two slices.
The version of a record is chosen before batching, so that a micro-batch holds one version.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import structlog

from worker.answers.answering import Answer, Answerer
from worker.errors import ScoringError, UnscorableError
from worker.messages import ModelRef
from worker.models.deployment import SLOTS
from worker.ports import Record

log = structlog.get_logger("worker")


class Plan(NamedTuple):
    """What is served, without the models themselves: another process can build the same from it."""

    generation: int
    """Of the deployment; 0 without a registry."""
    current: Path
    canary: Path | None = None
    """Bundle of the version that answers the lowest slots."""
    slots: int = 0


class LoadedModel(NamedTuple):
    """A version in memory, warmed up and proved."""

    path: Path
    answerer: Answerer
    prove: Callable[[], None]
    """Has it answer its golden records; raises `ScoringError` or `BundleError` if it cannot."""
    require_pace: Callable[[], None]
    """Times it on each of them; raises `BundleError` if it is too slow. Says nothing where others keep it waiting."""


@dataclass(frozen=True)
class Serving:
    """The versions that answer together."""

    generation: int
    current: LoadedModel
    canary: LoadedModel | None = None
    slots: int = 0

    @property
    def plan(self) -> Plan:
        """Where the same came from."""
        return Plan(self.generation, self.current.path, self.canary.path if self.canary else None, self.slots)

    def choose(self, records: Sequence[Record]) -> list[bool]:
        """Whether the canary, if there is one, answers each record."""
        name = self.current.answerer.model.name
        return [slot_of(name, record) < self.slots for record in records]


class Models:
    """Answers with what is served now. Answers on one thread; may be swapped on another."""

    def __init__(self, serving: Serving, *, returned: Callable[[int], object] = lambda _: None) -> None:
        """
        Args:
            serving: what answers first.
            returned: told how many records the canary could not score, and the current version answered.
        """
        self._serving = _numbered(serving)
        self._returned = returned
        self._lock = threading.Lock()
        self.problem = ""
        """Why the canary no longer answers, until the next swap."""

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record with the version that its key falls to.

        Raises:
            ScoringError: the current model failed; no record is to blame. A canary that fails ends.
        """
        serving = self._serving
        if serving.canary is None:
            return serving.current.answerer.answer(records)
        by_canary = serving.choose(records)
        theirs = self._answer_by_canary(serving, serving.canary, list(compress(records, by_canary)))
        ours = serving.current.answerer.answer([r for r, chosen in zip(records, by_canary, strict=True) if not chosen])
        parts = {True: iter(theirs), False: iter(ours)}
        return [next(parts[chosen]) for chosen in by_canary]

    def _answer_by_canary(self, serving: Serving, canary: LoadedModel, records: Sequence[Record]) -> list[Answer]:
        try:
            answers = canary.answerer.answer(records)
        except ScoringError as error:
            self._withdraw_canary(serving, error)
            return serving.current.answerer.answer(records)
        # What it cannot score is no dead letter before the current version could not either.
        unscored = [place for place, answer in enumerate(answers) if isinstance(answer, UnscorableError)]
        if unscored:
            self._returned(len(unscored))
            found = serving.current.answerer.answer([records[place] for place in unscored])
            for place, answer in zip(unscored, found, strict=True):
                answers[place] = answer
        return answers

    def _withdraw_canary(self, serving: Serving, error: ScoringError) -> None:
        """Until the next swap: a canary is there to fail without harm."""
        with self._lock:
            if self._serving is not serving:
                return
            self._serving = replace(serving, canary=None, slots=0)
            self.problem = f"the canary failed, and the current version answers for it: {error}"
        log.error("the canary is at fault: the current version answers its records", reason=str(error))

    def prove(self) -> None:
        """Has the current version answer its golden records; raises `ScoringError` or `BundleError` if it cannot."""
        self._serving.current.prove()

    def swap(self, serving: Serving) -> None:
        """Lets `serving` answer from the next slice on."""
        with self._lock:
            self._serving = _numbered(serving)
            self.problem = ""

    @property
    def plan(self) -> Plan:
        """What is served now."""
        return self._serving.plan

    @property
    def current(self) -> ModelRef:
        """The version that answers what no canary answers."""
        return self._serving.current.answerer.model

    @property
    def canary(self) -> ModelRef | None:
        """The canary, if one answers."""
        canary = self._serving.canary
        return canary.answerer.model if canary else None


def slot_of(name: str, record: Record) -> int:
    """The slot that a record falls into: the same for one key, wherever and whenever it is scored.

    Args:
        name: of the model: which keys a canary gets differs from model to model.
        record: without a key its position counts.
    """
    identity = record.key if record.key is not None else str(record.position).encode()
    digest = hashlib.blake2b(name.encode() + b"\0" + identity, digest_size=8).digest()
    return int.from_bytes(digest, "big") % SLOTS


def _numbered(serving: Serving) -> Serving:
    """`serving` whose predictions name its generation."""

    def number(model: LoadedModel) -> LoadedModel:
        return model._replace(answerer=model.answerer.under(serving.generation))

    return replace(serving, current=number(serving.current), canary=number(serving.canary) if serving.canary else None)

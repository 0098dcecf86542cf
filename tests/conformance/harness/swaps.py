"""Models that are swapped while records are under way: what becomes of the records, the latency and the memory."""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import msgspec
from harness.arena import Arena
from harness.ledger import Headers, Source
from harness.shape import Shape
from harness.soak import resident_bytes
from harness.strikes import pause
from harness.subject import WorkerProcess

from worker.models import deployment as deployments
from worker.models.deployment import Deployment
from worker.models.registry import Registry

CALM_SECONDS = 0.5
"""Between two swaps, about as long as one takes, so that as many records meet a swap as do not."""
WARM_UP_SECONDS = 5.0
SWAP_SECONDS = 60
MIB = 1 << 20


class GenerationWatch:
    """The shape of Limelight's records; notes which model gave each answer, and when the first of each came."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.first_seconds: dict[int, float] = {}
        """Generation -> arrival of its first answer, on the monotonic clock."""
        self.models: dict[Hashable, tuple[int, str]] = {}
        """Source -> generation and version that its answer names."""

    def encode_event(self, *, text: str, identity: str) -> bytes:
        """See `Shape`."""
        return self._shape.encode_event(text=text, identity=identity)

    def find_answered(self, value: bytes | None) -> Hashable | None:
        """See `Shape`."""
        identity = self._shape.find_answered(value)
        model: dict[str, Any] = msgspec.json.decode(value or b"")["model"]
        self.first_seconds.setdefault(model["generation"], time.monotonic())
        self.models[identity] = (model["generation"], model["version"])
        return identity

    def find_refused(self, headers: Headers) -> Hashable | None:
        """See `Shape`."""
        return self._shape.find_refused(headers)


class Outcome(NamedTuple):
    """What was found."""

    calm_p99_seconds: float
    swap_p99_seconds: float
    """From confirmation to arrival, of the records that were confirmed between a change and its first answer."""
    longest_swap_seconds: float
    """From the write of a change to the first answer under it."""
    rollback_seconds: float
    """The same for a rollback, its slowest."""
    growth_mib: float
    """Most memory after a swap against that before the first."""

    @property
    def p99_ratio(self) -> float:
        """During swaps / between them."""
        return self.swap_p99_seconds / self.calm_p99_seconds


class Swapping:
    """Promotes one version after the other while a worker answers."""

    def __init__(self, arena: Arena, watch: GenerationWatch, registry: Registry, worker: WorkerProcess) -> None:
        self._arena, self._watch, self._registry, self._worker = arena, watch, registry, worker
        self._swaps: list[tuple[float, float]] = []
        self.history: dict[int, str] = {1: registry.deployment().current}
        """Generation -> version."""

    def run(self, versions: Sequence[str], *, swaps: int, rollbacks: int) -> Outcome:
        """Swaps `swaps` times, then rolls back."""
        pause(WARM_UP_SECONDS)
        self._arena.await_progress()
        before, after = resident_bytes(self._worker.pid), []
        for number in range(swaps):
            version = versions[(number + 1) % len(versions)]
            self._swap(lambda b, v=version: deployments.promote(b, self._registry.name, v))
            after.append(resident_bytes(self._worker.pid))
            pause(CALM_SECONDS)
        rolled = [self._swap(lambda b: deployments.roll_back(b, self._registry.name)) for _ in range(rollbacks)]
        swap, calm = self._latencies()
        return Outcome(
            percentile_99(calm),
            percentile_99(swap),
            max(end - begin for begin, end in self._swaps),
            max(rolled),
            (max(after) - before) / MIB,
        )

    def check_names(self) -> None:
        """Every answer names a version that was current, under the generation in which it was."""
        wrong = {
            source: named for source, named in self._watch.models.items() if self.history.get(named[0]) != named[1]
        }
        assert not wrong, (
            f"{len(wrong)} answers name another version than their generation's: {list(wrong.items())[:3]}"
        )
        assert {generation for generation, _ in self._watch.models.values()} == self.history.keys()

    def _swap(self, change: Callable[[Deployment | None], Deployment]) -> float:
        begin = time.monotonic()
        deployment = self._registry.change(change)
        generation = deployment.generation
        self.history[generation] = deployment.current
        self._arena.expect(
            lambda: generation in self._watch.first_seconds, f"generation {generation} answers", SWAP_SECONDS
        )
        self._swaps.append((begin, self._watch.first_seconds[generation]))
        return self._watch.first_seconds[generation] - begin

    def _latencies(self) -> tuple[list[float], list[float]]:
        """Of records that were confirmed during a swap, and of the others since the first one."""
        swap: list[float] = []
        calm: list[float] = []
        for record, answer in self._arena.ledger.answered_records():
            if record.confirmed_seconds < self._swaps[0][0]:
                continue
            meets = any(begin <= record.confirmed_seconds <= end for begin, end in self._swaps)
            (swap if meets else calm).append(answer.arrived_seconds - record.confirmed_seconds)
        return swap, calm


def percentile_99(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(values)[int(len(values) * 0.99)]


def partitions_in_order(models: dict[Hashable, tuple[int, str]]) -> bool:
    """True if along each partition generations only grow: a single worker never goes back to an older model."""
    latest: dict[int, int] = {}
    for source in sorted(source for source in models if isinstance(source, Source)):
        generation = models[source][0]
        if generation < latest.get(source.partition, 0):
            return False
        latest[source.partition] = generation
    return True

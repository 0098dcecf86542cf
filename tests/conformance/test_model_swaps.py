"""Models that are swapped under load: nothing is lost, nobody waits, and the memory stays."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.arena import Arena
from harness.attention_lstm import NAME, write_version
from harness.matrix import ONCE, PYTHON, RD, Setup, strikes
from harness.shape import Shape
from harness.subject import Subject
from harness.swaps import GenerationWatch, Swapping, partitions_in_order

from worker.models import deployment as deployments
from worker.models.registry import Registry
from worker.models.store import open_store

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(bool(os.environ.get("CONFORMANCE_WORKER")), reason="the other worker knows no registry"),
]

VERSIONS = 12
"""More than a worker keeps: each promotion loads a model."""
ROLLBACKS = 3
GROWTH_BAR_MIB = 20
P99_BAR = 2.0
ROLLBACK_BAR_SECONDS = 1


@pytest.mark.parametrize("client", [PYTHON, RD])
def test_swaps_under_load(
    *,
    client: str,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    note_figure: Callable[..., None],
    conclude: Callable[[Arena], object],
    tmp_path: Path,
) -> None:
    (tmp_path / "registry").mkdir()
    registry = Registry(open_store(str(tmp_path / "registry")), NAME)
    versions = [registry.publish(write_version(tmp_path / "bundles", seed)) for seed in range(VERSIONS)]
    registry.change(lambda before: deployments.promote(before, NAME, versions[0]))
    watch = GenerationWatch(Shape())
    settings = {
        "BUNDLE": "",
        "REGISTRY": str(tmp_path / "registry"),
        "MODEL_NAME": NAME,
        "CACHE_DIR": str(tmp_path / "cache"),
    }
    subject = Subject.from_environment(os.environ)._replace(shape=watch)
    arena = open_arena(Setup(1, ONCE, client), subject=subject, settings=settings)
    worker = arena.start_worker("a")
    arena.await_ready(worker)
    swapping = Swapping(arena, watch, registry, worker)

    outcome = swapping.run(versions, swaps=strikes(short=10, whole=100), rollbacks=ROLLBACKS)

    conclude(arena)
    swapping.check_names()
    assert partitions_in_order(watch.models)
    note_waits(
        "rollback, from the change to its first answer", [outcome.rollback_seconds], bar_seconds=ROLLBACK_BAR_SECONDS
    )
    note_figure("p99 during swaps / between them", outcome.p99_ratio, bar=P99_BAR)
    note_figure("p99 between swaps, ms", outcome.calm_p99_seconds * 1000)
    note_figure("longest swap, from the change to its first answer, s", outcome.longest_swap_seconds)
    note_figure("growth of memory, MiB", outcome.growth_mib, bar=GROWTH_BAR_MIB)
    assert outcome.growth_mib <= GROWTH_BAR_MIB

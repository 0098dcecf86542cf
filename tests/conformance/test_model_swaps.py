"""Models that are swapped, tried and shadowed under load: nothing is lost, nobody waits, and the memory stays."""

import json
import os
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition
from harness.arena import Arena
from harness.attention_lstm import NAME, write_version
from harness.matrix import IS_WHOLE, ONCE, PYTHON, RD, Setup, strikes
from harness.shape import Shape
from harness.subject import Subject, WorkerProcess
from harness.swaps import GenerationWatch, Swapping, partitions_in_order

from deploy.local.kafka.topics import create_topics
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.deployment import SLOTS
from worker.models.registry import Registry

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(bool(os.environ.get("CONFORMANCE_WORKER")), reason="the other worker knows no registry"),
]

VERSIONS = 12
"""More than a worker keeps: each promotion loads a model."""
ROLLBACKS = 3
RATE = 2000.0 if IS_WHOLE else 400.0
"""Records a second."""
GROWTH_BAR_MIB = 20
P99_BAR = 2.0
ROLLBACK_BAR_SECONDS = 1
TELLING_SECONDS = 30
SHADOWED_RECORDS = 200
SHADOW_SECONDS = 60
"""At the lowest priority, on a machine that is busy with other things."""


class Stage(NamedTuple):
    """A worker at work that follows a registry."""

    arena: Arena
    watch: GenerationWatch
    registry: Registry
    versions: list[str]
    worker: WorkerProcess
    shadow_topic: str


@pytest.fixture(params=[PYTHON, RD])
def stage(request: pytest.FixtureRequest, open_arena: Callable[..., Arena], tmp_path: Path) -> Stage:
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
        "SHADOW_TOPIC": f"shadow-{uuid.uuid4().hex[:8]}",
    }
    subject = Subject.from_environment(os.environ)._replace(shape=watch)
    arena = open_arena(Setup(1, ONCE, request.param), subject=subject, settings=settings, rate=RATE)
    create_topics(arena.cluster.bootstrap_servers, {settings["SHADOW_TOPIC"]: 1})
    worker = arena.start_worker("a", settings=settings)
    arena.await_ready(worker)
    return Stage(arena, watch, registry, versions, worker, settings["SHADOW_TOPIC"])


def test_swaps_under_load(
    stage: Stage,
    note_waits: Callable[..., None],
    note_figure: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    swapping = Swapping(stage.arena, stage.watch, stage.registry, stage.worker)

    outcome = swapping.run(stage.versions, swaps=strikes(short=10, whole=100), rollbacks=ROLLBACKS)

    assert broken_promises(stage.arena) == {}
    swapping.check_names()
    assert partitions_in_order(stage.watch.models)
    note_waits(
        "rollback, from the change to its first answer", [outcome.rollback_seconds], bar_seconds=ROLLBACK_BAR_SECONDS
    )
    note_figure("p99 during swaps / between them", outcome.p99_ratio, bar=P99_BAR)
    note_figure("p99 between swaps, ms", outcome.calm_p99_seconds * 1000)
    note_figure("longest swap, from the change to its first answer, s", outcome.longest_swap_seconds)
    note_figure("growth of memory, MiB", outcome.growth_mib, bar=GROWTH_BAR_MIB)
    assert outcome.growth_mib <= GROWTH_BAR_MIB


def test_a_canary_and_a_shadow_under_load(stage: Stage, broken_promises: Callable[[Arena], dict[str, str]]) -> None:
    arena, (current, canary, shadow) = stage.arena, stage.versions[:3]
    topic = stage.shadow_topic
    stage.registry.change(lambda before: deployments.start_shadow(before, NAME, shadow))
    stage.registry.change(lambda before: deployments.start_canary(before, NAME, canary, slots=SLOTS // 2))
    arena.expect(
        lambda: sum(arena.facts.ends(topic).values()) >= SHADOWED_RECORDS, "the shadow answers", SHADOW_SECONDS
    )

    assert broken_promises(arena) == {}

    assert {version for generation, version in stage.watch.models.values() if generation == 1} <= {current}
    assert {version for generation, version in stage.watch.models.values() if generation == 3} == {current, canary}
    with closing(Consumer({"bootstrap.servers": arena.cluster.bootstrap_servers, "group.id": "unused"})) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        predictions = [json.loads(message.value()) for message in consumer.consume(SHADOWED_RECORDS, SHADOW_SECONDS)]
    assert len(predictions) == SHADOWED_RECORDS
    assert {prediction["model"]["version"] for prediction in predictions} == {shadow}


@pytest.mark.parametrize("stage", [RD], indirect=True)
def test_a_registry_that_goes_away_under_load(
    stage: Stage, broken_promises: Callable[[Arena], dict[str, str]], tmp_path: Path
) -> None:
    arena, worker = stage.arena, stage.worker
    assert worker.ask("/readyz")[0] == 200

    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    arena.expect(lambda: worker.ask("/readyz")[0] == 503, "readiness tells", TELLING_SECONDS)
    arena.await_progress()
    assert json.loads(worker.ask("/readyz")[1])["conditions"]["deployment_followed"] is False
    assert b"limelight_deployment_followed 0.0" in worker.ask("/metrics")[1]

    (tmp_path / "elsewhere").rename(tmp_path / "registry")
    arena.expect(lambda: worker.ask("/readyz")[0] == 200, "readiness tells", TELLING_SECONDS)
    assert broken_promises(arena) == {}
    told = [line for line in worker.log(lines=10_000).splitlines() if "not what the registry asks for" in line]
    assert len(told) == 1
    assert "cannot be used: No such file or directory" in told[0]

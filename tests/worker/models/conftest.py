"""Registries to test on, and versions of the tiny model that differ in their numbers."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.building import build_model
from worker.bundle import Bundle, write_bundle
from worker.metrics import Metrics
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.cache import BundleCache
from worker.models.deployment import Deployment
from worker.models.following import Follower
from worker.models.registry import Registry
from worker.models.remembered import memory_of
from worker.models.serving import LoadedModel, Plan
from worker.ports import Record
from worker.settings import PREFIX, Settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory, make_parts: Callable[[], dict[str, Any]]) -> list[Path]:
    """Bundles of four versions of the model ``tiny``."""
    out = tmp_path_factory.mktemp("versions")
    parts = make_parts()
    training = parts.pop("training")
    return [
        write_bundle(out, **parts, training=type(training)("tiny", "none", rounds, 2, 1, 0.0, {}, {}))
        for rounds in range(1, 5)
    ]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Empty, in a directory."""
    root = tmp_path / "registry"
    root.mkdir()
    return Registry(open_store(str(root)), "tiny")


class HeldClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic_seconds(self) -> float:
        return self.seconds


class Following:
    """A follower of a registry, without its thread: a test polls."""

    def __init__(self, registry: Registry, cache: Path) -> None:
        self.registry, self.directory = registry, cache
        self.limit_seconds = 10.0
        self.clock, self.metrics = HeldClock(), Metrics()
        self.followed: list[bool] = []
        self.shadowed: list[Plan | None] = []
        self.built: list[str] = []

    def open(self, registry: Registry | None = None) -> Follower:
        def build(bundle: Bundle) -> LoadedModel:
            self.built.append(bundle.manifest.version)
            settings = Settings(registry="r", model_name="tiny", golden_limit_seconds=self.limit_seconds)
            return build_model(settings, lambda _: nullcontext(), bundle)

        registry = registry or self.registry
        return Follower(
            registry,
            BundleCache(registry, self.directory),
            build,
            memory=memory_of(self.directory, "r", "tiny"),
            poll_seconds=0.5,
            clock=self.clock,
            metrics=self.metrics.models,
            followed=self.followed.append,
            shadowed=self.shadowed.append,
        )

    def publish(self, bundle: Path) -> str:
        return self.registry.publish(bundle)

    def promote(self, version: str) -> Deployment:
        return self.registry.change(lambda before: deployments.promote(before, "tiny", version))

    def start_canary(self, version: str, slots: int) -> Deployment:
        return self.registry.change(lambda before: deployments.start_canary(before, "tiny", version, slots=slots))

    def start_shadow(self, version: str) -> Deployment:
        return self.registry.change(lambda before: deployments.start_shadow(before, "tiny", version))

    def roll_back(self) -> Deployment:
        return self.registry.change(lambda before: deployments.roll_back(before, "tiny"))

    def sample(self, name: str) -> float:
        families = text_string_to_metric_families(self.metrics.render().decode())
        [value] = [s.value for family in families for s in family.samples if s.name == name]
        return float(value)


@pytest.fixture
def following(registry: Registry, tmp_path: Path) -> Following:
    return Following(registry, tmp_path / "cache")


@pytest.fixture(scope="session")
def make_following() -> Callable[[Registry, Path], Following]:
    return Following


def events(count: int, *, first: int = 0) -> list[Record]:
    """Records with a key each."""
    return [
        Record("events", 0, offset, 0, b"k%d" % offset, b'{"text": "the box late"}', [])
        for offset in range(first, first + count)
    ]


@pytest.fixture(scope="session")
def make_events() -> Callable[..., list[Record]]:
    return events


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of an object store that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """URL of an empty bucket."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{abs(hash(request.node.nodeid))}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/models"

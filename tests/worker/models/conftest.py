"""Registries to test on, and versions of the tiny model that differ in their numbers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.bundle import write_bundle
from worker.models.registry import Registry
from worker.models.store import open_store
from worker.settings import PREFIX


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

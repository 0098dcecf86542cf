"""One body of tests for registries: in a directory, and in an object store that speaks S3."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker.bundle import MANIFEST, load_bundle
from worker.errors import BundleError, DeploymentConflictError, RegistryError, RegistryUnreachableError
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.deployment import Deployment
from worker.models.registry import Registry, list_names
from worker.models.store import Store

pytestmark = pytest.mark.fast

WRITERS = 6


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3"))
    (tmp_path / "registry").mkdir()
    return open_store((tmp_path / "registry").as_uri())


@pytest.fixture
def opened(store: Store) -> Registry:
    return Registry(store, "tiny")


def promote(version: str) -> deployments.Deployment:
    return lambda before: deployments.promote(before, "tiny", version)


def test_a_published_bundle_can_be_copied_back_whole(opened: Registry, versions: list[Path], tmp_path: Path) -> None:
    (signed := tmp_path / "signed").mkdir()
    for file in versions[0].iterdir():
        (signed / file.name).write_bytes(file.read_bytes())
    (signed / "note").write_bytes(b"beside the manifest")

    version = opened.publish(signed)
    opened.publish(versions[1])

    assert version == versions[0].name
    assert opened.versions() == sorted(path.name for path in versions[:2])
    (copy := tmp_path / "copy").mkdir()
    files = opened.files(version)
    assert files[-1] == MANIFEST
    for name in files:
        (copy / name).write_bytes(opened.read_file(version, name))
    assert load_bundle(copy).manifest == load_bundle(versions[0]).manifest == opened.manifest(version)
    assert (copy / "note").read_bytes() == b"beside the manifest"


def test_publishing_again_mends_what_is_there(opened: Registry, store: Store, versions: list[Path]) -> None:
    version = opened.publish(versions[0])
    store.put_directory(f"tiny/{version}", {"golden.jsonl": b"damaged"})

    opened.publish(versions[0])

    assert opened.read_file(version, "golden.jsonl") == (versions[0] / "golden.jsonl").read_bytes()


def test_a_bundle_without_its_manifest_is_none(opened: Registry, store: Store, versions: list[Path]) -> None:
    store.put_directory(f"tiny/{versions[0].name}", {"model.onnx": b"half"})

    assert opened.versions() == []
    with pytest.raises(RegistryError, match=f"there is no {MANIFEST} at .*Publish the bundle"):
        opened.files(versions[0].name)


def test_a_bundle_of_another_model_is_refused(registry: Registry, versions: list[Path], tmp_path: Path) -> None:
    store = registry._store
    with pytest.raises(RegistryError, match="holds the model tiny, and LIMELIGHT_MODEL_NAME is huge"):
        Registry(store, "huge").publish(versions[0])
    with pytest.raises(BundleError, match="no bundle at"):
        Registry(store, "tiny").publish(tmp_path)
    assert list_names(store) == []


def test_changes_are_numbered_and_read_back(opened: Registry, store: Store, versions: list[Path]) -> None:
    assert opened.find_deployment() is None
    with pytest.raises(RegistryError, match=r"there is no deployment at .*tiny/deployment\.json.*promote VERSION"):
        opened.deployment()

    for path in versions[:2]:
        opened.change(promote(opened.publish(path)))

    # Another one, so that nothing was only remembered.
    found = Registry(store, "tiny").deployment()
    assert (found.generation, found.current, found.trail) == (2, versions[1].name, [versions[0].name])
    assert list_names(store) == ["tiny"]


@pytest.mark.parametrize("changes", [{"current": "../x"}, {"shadow": "../x"}, {"trail": ["0" * 64, "../x"]}])
def test_what_is_no_version_is_not_followed(opened: Registry, store: Store, changes: dict[str, Any]) -> None:
    deployment = msgspec.structs.replace(deployments.promote(None, "tiny", "0" * 64), **changes)
    store.replace("tiny/deployment.json", deployments.encode(deployment), tag=None)

    with pytest.raises(RegistryError, match=r"names '\.\./x', which is no version"):
        opened.deployment()


def test_a_change_that_was_decided_on_an_older_generation_is_refused(opened: Registry, versions: list[Path]) -> None:
    opened.change(promote(versions[0].name))

    with pytest.raises(DeploymentConflictError, match="tiny is at generation 1 and not 0: somebody changed it"):
        opened.change(promote(versions[1].name), expected_generation=0)
    opened.change(promote(versions[1].name), expected_generation=1)


def test_operators_never_overwrite_each_other_unseen(opened: Registry, versions: list[Path]) -> None:
    """Everybody reads before anybody writes: one change is made, and the others are told."""
    opened.change(promote(versions[0].name))
    everybody_has_read = threading.Barrier(WRITERS)
    told: list[str] = []

    def change() -> None:
        def decide(before: Deployment | None) -> Deployment:
            everybody_has_read.wait()
            return deployments.start_canary(before, "tiny", versions[1].name, slots=threading.get_ident() % 9999 + 1)

        try:
            opened.change(decide)
        except DeploymentConflictError as error:
            told.append(str(error))

    threads = [threading.Thread(target=change) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert opened.deployment().generation == 2
    assert len(told) == WRITERS - 1
    assert all("somebody else changed the deployment of tiny at the same time; nothing was written" in t for t in told)


def test_the_first_promotion_is_no_exception(opened: Registry, versions: list[Path]) -> None:
    def decide(before: Deployment | None) -> Deployment:
        opened.change(promote(versions[1].name))
        return deployments.promote(before, "tiny", versions[0].name)

    with pytest.raises(DeploymentConflictError):
        opened.change(decide)
    assert opened.deployment().current == versions[1].name


def test_a_write_that_is_made_twice_by_the_client_has_succeeded(
    opened: Registry, store: Store, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = store.replace

    def replace_twice(path: str, data: bytes, *, tag: str | None) -> None:
        replace(path, data, tag=tag)
        replace(path, data, tag=tag)

    monkeypatch.setattr(store, "replace", replace_twice)

    assert opened.change(promote(versions[0].name)) == opened.deployment()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"schema_version": 1, "name": "other", "generation": 1, "current": "x"}', "is of the model other"),
        (b'{"schema_version": 1, "name": "tiny", "generation": 1, "current": "../../x"}', "names '../../x', which is"),
    ],
)
def test_a_deployment_that_leads_elsewhere_is_refused(registry: Registry, data: bytes, message: str) -> None:
    registry._store.put_directory("tiny", {deployments.FILE: data})

    with pytest.raises(RegistryError, match=message):
        registry.deployment()


def test_a_prefix_names_one_version(registry: Registry, versions: list[Path]) -> None:
    version = registry.publish(versions[0])
    other = registry.publish(versions[1])

    assert registry.resolve(version[:8]) == version
    assert registry.resolve(other) == other
    with pytest.raises(RegistryError, match="no version begins with 'zzzz'"):
        registry.resolve("zzzz")
    with pytest.raises(RegistryError, match=r"2 versions begin with ''.*Give 4 or more"):
        registry.resolve("")


def test_a_directory_that_is_not_mounted_is_not_an_empty_registry(tmp_path: Path) -> None:
    absent = Registry(open_store(str(tmp_path / "absent")), "tiny")

    for look in (absent.deployment, absent.versions):
        with pytest.raises(RegistryUnreachableError, match=r"absent cannot be used: No such file.*LIMELIGHT_REGISTRY"):
            look()


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_is_told(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "registry").chmod(0)

    with pytest.raises(RegistryUnreachableError, match="Permission denied"):
        registry.deployment()


def test_an_object_store_that_does_not_answer_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)

    with pytest.raises(RegistryUnreachableError, match=r"cannot be used: .*connect.*127\.0\.0\.1:9"):
        Registry(open_store(s3), "tiny").deployment()


def test_a_store_without_conditional_writes_is_only_read(versions: list[Path]) -> None:
    registry = Registry(open_store("memory://models"), "tiny")
    version = registry.publish(versions[0])

    assert registry.versions() == [version]
    with pytest.raises(RegistryError, match="memory://models offers no write on a condition"):
        registry.change(promote(version))


def test_an_address_that_nothing_understands_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"the registry nonsense://x cannot be opened: .*nonsense"):
        open_store("nonsense://x")

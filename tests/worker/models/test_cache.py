import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker.bundle import MANIFEST, load_bundle
from worker.errors import BundleDigestError, BundleError, RegistryError
from worker.models.cache import BundleCache
from worker.models.registry import Registry

pytestmark = pytest.mark.fast

WORKERS = 4


@pytest.fixture
def cache(registry: Registry, tmp_path: Path) -> BundleCache:
    return BundleCache(registry, tmp_path / "cache")


def leftovers(directory: Path) -> list[Path]:
    return list(directory.rglob(".*"))


def test_a_download_is_used_again(registry: Registry, cache: BundleCache, versions: list[Path], tmp_path: Path) -> None:
    version = registry.publish(versions[0])
    first = cache.fetch(version)
    shutil.rmtree(tmp_path / "registry")

    assert cache.fetch(version) == first
    assert first.path == tmp_path / "cache" / "tiny" / version
    assert first.contents == load_bundle(versions[0]).contents
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST])
def test_a_copy_that_was_damaged_is_replaced(
    registry: Registry, cache: BundleCache, versions: list[Path], name: str
) -> None:
    version = registry.publish(versions[0])
    path = cache.fetch(version).path
    (path / name).write_bytes(b"damaged")

    assert cache.fetch(version).contents == load_bundle(versions[0]).contents


def test_what_is_damaged_in_the_registry_leaves_nothing_behind(
    registry: Registry, cache: BundleCache, versions: list[Path], tmp_path: Path
) -> None:
    version = registry.publish(versions[0])
    original = tmp_path / "registry" / "tiny" / version
    (original / "model.onnx").write_bytes(b"damaged")

    with pytest.raises(BundleDigestError, match=f"{original}/model.onnx differs from its digest"):
        cache.fetch(version)
    assert list((tmp_path / "cache" / "tiny").iterdir()) == []


def test_one_version_cannot_stand_for_another(
    registry: Registry, cache: BundleCache, versions: list[Path], tmp_path: Path
) -> None:
    first, second = (registry.publish(path) for path in versions[:2])
    root = tmp_path / "registry" / "tiny"
    shutil.rmtree(root / first)
    (root / second).rename(root / first)

    with pytest.raises(BundleDigestError, match=f"holds tiny {second} and not tiny {first}"):
        cache.fetch(first)


def test_no_file_is_written_outside_the_cache(
    registry: Registry, cache: BundleCache, versions: list[Path], tmp_path: Path
) -> None:
    version = registry.publish(versions[0])
    original = tmp_path / "registry" / "tiny" / version
    manifest = msgspec.json.decode((original / MANIFEST).read_bytes())
    manifest["files"]["../../../escaped"] = "0" * 64
    (original / MANIFEST).write_bytes(msgspec.json.encode(manifest))

    with pytest.raises(BundleDigestError, match=r"names a file outside the bundle: '.*escaped'"):
        cache.fetch(version)
    assert list(tmp_path.rglob("escaped")) == []


def test_a_cache_that_cannot_be_written_is_told(registry: Registry, versions: list[Path], tmp_path: Path) -> None:
    version = registry.publish(versions[0])
    (tmp_path / "file").touch()

    with pytest.raises(RegistryError, match=r"cannot be written: .* set LIMELIGHT_CACHE_DIR"):
        BundleCache(registry, tmp_path / "file").fetch(version)


def test_workers_that_start_together_share_one_copy(
    registry: Registry, cache: BundleCache, versions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.publish(versions[0])
    everybody_downloads = threading.Barrier(WORKERS)
    files, found = registry.files, []

    def wait_for_others(version: str) -> list[str]:
        everybody_downloads.wait()
        return files(version)

    monkeypatch.setattr(registry, "files", wait_for_others)
    threads = [threading.Thread(target=lambda: found.append(cache.fetch(version))) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == WORKERS
    assert leftovers(tmp_path / "cache") == []


def test_a_check_beyond_the_digests_is_made_on_every_copy(
    registry: Registry, versions: list[Path], tmp_path: Path
) -> None:
    """As of a signature that was added in the registry after the first download."""
    version = registry.publish(versions[0])
    BundleCache(registry, tmp_path / "cache").fetch(version)

    def load(path: Path) -> Any:
        if not (path / "signature").exists():
            raise BundleError(f"{path} is not signed.")
        return load_bundle(path)

    strict = BundleCache(registry, tmp_path / "cache", load=load)
    with pytest.raises(BundleError, match=f"registry/tiny/{version} is not signed"):
        strict.fetch(version)
    (tmp_path / "registry" / "tiny" / version / "signature").write_bytes(b"signed")
    assert strict.fetch(version).manifest.version == version

"""What goes from the cache of downloads, and what stays."""

import os
import time
from pathlib import Path

import pytest

from worker.models.pruning import PARTIAL_SECONDS, UNUSED_SECONDS, mark_used, prune

pytestmark = pytest.mark.fast

VERSION = "0123456789abcdef" * 4


def put(root: Path, name: str, *, age_seconds: float) -> Path:
    directory = root / "tiny" / name
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(b"model")
    then = time.time() - age_seconds
    os.utime(directory, (then, then))
    return directory


@pytest.mark.parametrize(("name", "limit_seconds"), [(VERSION, UNUSED_SECONDS), (f".{VERSION}.x1y2", PARTIAL_SECONDS)])
def test_what_is_old_goes_and_what_is_not_stays(tmp_path: Path, name: str, limit_seconds: float) -> None:
    old = put(tmp_path, name, age_seconds=limit_seconds + 60)
    recent = put(tmp_path / "other", name, age_seconds=limit_seconds - 60)

    for root in (tmp_path, tmp_path / "other"):
        prune(root)

    assert list(old.parent.iterdir()) == []
    assert list(recent.parent.iterdir()) == [recent]


def test_what_is_used_stays(tmp_path: Path) -> None:
    bundle = put(tmp_path, VERSION, age_seconds=2 * UNUSED_SECONDS)

    mark_used(bundle)
    prune(tmp_path)

    assert (bundle / "model.onnx").exists()


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    names = ["notes", ".hidden", VERSION[:-1], VERSION.upper(), f".{VERSION}"]
    others = {put(tmp_path, name, age_seconds=10 * UNUSED_SECONDS) for name in names}

    prune(tmp_path)

    assert set((tmp_path / "tiny").iterdir()) == others


def test_where_there_is_no_cache_there_is_nothing_to_do(tmp_path: Path) -> None:
    mark_used(tmp_path / "tiny" / VERSION)
    prune(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []

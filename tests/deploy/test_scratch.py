"""Temporary directories are removed, at the latest by the next one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy.local.scratch import scratch_directory

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def temporary_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_at_the_end_with_its_content(temporary_root: Path) -> None:
    with scratch_directory("probe-") as directory:
        (directory / "deep").mkdir()
        (directory / "deep" / "file").touch()
    assert not list(temporary_root.iterdir())


def test_it_is_removed_after_an_error(temporary_root: Path) -> None:
    with pytest.raises(RuntimeError), scratch_directory("probe-"):
        raise RuntimeError
    assert not list(temporary_root.iterdir())


def test_one_that_is_in_use_is_left_alone() -> None:
    with scratch_directory("probe-") as first, scratch_directory("probe-") as second:
        assert first.exists()
        assert second.exists()


def test_what_a_killed_owner_left_is_removed_by_the_next(temporary_root: Path) -> None:
    program = (
        "import os, signal; from deploy.local.scratch import scratch_directory\n"
        "with scratch_directory('probe-'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(temporary_root)}, check=False)
    abandoned = list(temporary_root.iterdir())
    assert len(abandoned) == 1
    with scratch_directory("probe-") as directory:
        assert list(temporary_root.iterdir()) == [directory]


def test_directories_of_others_are_not_touched(temporary_root: Path) -> None:
    (temporary_root / "probe-without-owner").mkdir()
    (temporary_root / "other").mkdir()
    with scratch_directory("probe-"):
        pass
    assert sorted(path.name for path in temporary_root.iterdir()) == ["other", "probe-without-owner"]

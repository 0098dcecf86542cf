import os
import stat
from pathlib import Path

import pytest

from worker.files import open_whole, write_directory, write_file, write_files

pytestmark = pytest.mark.fast


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "file_mode", "directory_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_the_umask_holds_for_files_and_directories(
    tmp_path: Path, umask: int, file_mode: int, directory_mode: int
) -> None:
    before = os.umask(umask)
    try:
        write_file(tmp_path / "file", b"")
        write_file(tmp_path / "secret", b"", mode=0o600)
        write_directory(tmp_path / "directory", lambda directory: write_files(directory, {"x": b""}))
    finally:
        os.umask(before)

    expected = {"file": file_mode, "secret": 0o600, "directory": directory_mode, "directory/x": file_mode}
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in expected} == expected


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def write_half() -> None:
        with open_whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_stays_a_device() -> None:
    write_file(Path(os.devnull), b"gone")

    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_directory(path, lambda directory: write_files(directory, {"x": b"1", "deep/y": b"2"}))

    assert (path / "deep" / "y").read_bytes() == b"2"
    with pytest.raises(FileExistsError):
        write_directory(path, lambda _: None)


def test_an_interrupted_directory_leaves_nothing(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / "x").write_bytes(b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path / "b", fill)

    assert list(tmp_path.iterdir()) == []

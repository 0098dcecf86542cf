"""A ready file speaks of brokers that run, and of nobody else's."""

from pathlib import Path

import pytest

from deploy.local.kafka.errors import BrokerError
from deploy.local.kafka.ready_file import ReadyFile

pytestmark = pytest.mark.fast


def test_a_stale_file_goes_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.write_text("127.0.0.1:1\n")
    ReadyFile(path)
    assert not path.exists()


def test_it_is_there_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    ready = ReadyFile(path)
    ready.write("127.0.0.1:1,127.0.0.1:2")
    assert path.read_text() == "127.0.0.1:1,127.0.0.1:2\n"
    ready.remove()
    assert not path.exists()
    ready.remove()


def test_what_another_command_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    never_ready, replaced = ReadyFile(path), ReadyFile(path)
    replaced.write("127.0.0.1:1")
    path.write_text("127.0.0.1:2\n")
    never_ready.remove()
    replaced.remove()
    assert path.read_text() == "127.0.0.1:2\n"


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    ready = ReadyFile(tmp_path / "gone" / "ready")
    with pytest.raises(BrokerError, match="ready cannot be written: No such file or directory"):
        ready.write("127.0.0.1:1")

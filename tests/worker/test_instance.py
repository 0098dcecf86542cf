import multiprocessing
import os
import signal
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.process.instance import Instance

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_configured_name_is_taken_as_it_is() -> None:
    with closing(Instance("group", "reviews-7")) as instance:
        assert (instance.name, instance.transactional_id) == ("reviews-7", "group.reviews-7.0")


def test_processes_of_a_worker_have_names_and_transactions_of_their_own() -> None:
    instances = [Instance("group", "reviews-7", process=process) for process in range(3)]

    assert [instance.name for instance in instances] == ["reviews-7", "reviews-7.1", "reviews-7.2"]
    assert [instance.transactional_id for instance in instances] == [f"group.reviews-7.{n}" for n in range(3)]


def test_two_workers_of_one_group_never_share_a_slot() -> None:
    with closing(Instance("group", None)) as first, closing(Instance("group", None)) as second:
        assert first.name.endswith("-0")
        assert second.name.endswith("-1")


def test_groups_count_their_own_slots() -> None:
    with closing(Instance("one", None)) as first, closing(Instance("two", None)) as second:
        assert first.name == second.name


def test_a_slot_is_free_again_when_its_worker_has_gone() -> None:
    Instance("group", None).close()
    with closing(Instance("group", None)) as instance:
        assert instance.name.endswith("-0")


def _take_and_die(group: str) -> None:
    instance = Instance(group, None)
    os.kill(os.getpid(), signal.SIGKILL)
    instance.close()


def test_a_killed_worker_leaves_no_lock() -> None:
    group = uuid.uuid4().hex
    process = multiprocessing.get_context("fork").Process(target=_take_and_die, args=(group,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    with closing(Instance(group, None)) as instance:
        assert instance.name.endswith("-0")


def test_when_every_slot_is_taken_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.process.instance.MAX_SLOTS", 1)
    with closing(Instance("group", None)), pytest.raises(SettingsError, match="LIMELIGHT_INSTANCE_ID"):
        Instance("group", None)

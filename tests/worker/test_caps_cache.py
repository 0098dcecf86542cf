from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from worker.answers.batching import Caps
from worker.answers.caps_cache import CapsCache, Machine, processor_name
from worker.answers.tuning import DEFAULT
from worker.building import build_tuner
from worker.bundle import Bundle
from worker.settings import Settings

pytestmark = pytest.mark.fast

MACHINE = Machine("Processor X", 2, "CPUExecutionProvider", "1.2.3")
CAPS = Caps(16, 1024)


def test_what_was_saved_is_there_for_the_same_bundle_and_machine_only(tmp_path: Path) -> None:
    CapsCache(tmp_path / "new", "version", MACHINE).save(CAPS)

    assert CapsCache(tmp_path / "new", "version", MACHINE).load() == CAPS
    others = [MACHINE._replace(**change) for change in ({"processor": "Y"}, {"lanes": 1}, {"runtime": "1.2.4"})]
    assert [CapsCache(tmp_path / "new", "version", each).load() for each in others] == [None] * len(others)
    assert CapsCache(tmp_path / "new", "other", MACHINE).load() is None


def change(entry: dict[str, Any], **changes: Any) -> bytes:
    return msgspec.json.encode(entry | changes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda entry: change(entry)[:-3],
        lambda _: b"\xff\x00",
        lambda _: b"[]",
        lambda entry: change(entry, bundle="other"),
        lambda entry: change(entry, schema_version=1),
        lambda entry: change(entry, machine=[*MACHINE[:-1], "9"]),
        lambda entry: change(entry, caps=[0, 5]),
        lambda entry: change(entry, caps=["a", 5]),
        lambda entry: change(entry, more=1),
    ],
)
def test_a_damaged_or_foreign_entry_is_ignored_in_one_line_and_replaced(
    tmp_path: Path, damage: Callable[[dict[str, Any]], bytes]
) -> None:
    cache = CapsCache(tmp_path, "version", MACHINE)
    cache.save(CAPS)
    [path] = tmp_path.iterdir()
    path.write_bytes(damage(msgspec.json.decode(path.read_bytes())))

    with capture_logs() as lines:
        assert cache.load() is None
    assert [(line["log_level"], line["path"]) for line in lines] == [("warning", str(path))]
    cache.save(CAPS)
    assert cache.load() == CAPS


def test_a_directory_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = CapsCache(tmp_path / "file" / "batches", "version", MACHINE)

    with capture_logs() as lines:
        cache.save(CAPS)
        assert cache.load() is None
    assert [line["log_level"] for line in lines] == ["warning"] * 2


def test_this_processor_has_a_name() -> None:
    assert processor_name().strip()


@pytest.mark.parametrize(
    ("settings", "caps"),
    [
        ({"batch_records": 5}, Caps(5, 320)),
        ({"batch_records": 5, "batch_cells": 7}, Caps(5, 7)),
        ({"batch_cells": 7}, Caps(DEFAULT.rows, 7)),
    ],
)
def test_settings_win_over_what_was_found(
    tiny_bundle: Bundle, tmp_path: Path, settings: dict[str, Any], caps: Caps
) -> None:
    remembered = build_tuner(Settings(cache_dir=tmp_path), tiny_bundle, lanes=1)
    remembered._found(Caps(2, 2))

    assert build_tuner(Settings(cache_dir=tmp_path), tiny_bundle, lanes=1)._caps == Caps(2, 2)
    assert build_tuner(Settings(cache_dir=tmp_path), tiny_bundle, lanes=2)._caps == DEFAULT
    assert build_tuner(Settings(cache_dir=tmp_path, **settings), tiny_bundle, lanes=1)._caps == caps


def test_without_a_home_it_is_found_each_time(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)

    assert build_tuner(Settings(), tiny_bundle, lanes=1)._caps == DEFAULT

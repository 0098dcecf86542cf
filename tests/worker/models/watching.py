"""What tests look at when models change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from worker.messages import Prediction
from worker.models.following import Follower
from worker.ports import Record

ABSENT = "0" * 64
Events = Callable[..., list[Record]]


def names(follower: Follower, records: list[Record]) -> list[tuple[int, str]]:
    """Generation and version that each prediction names."""
    answers = [msgspec.json.decode(answer, type=Prediction) for answer in follower.models.answer(records)]
    assert [answer.source for answer in answers] == [record.position for record in records]
    return [(answer.model.generation, answer.model.version) for answer in answers]


def problems(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["log_level"] == "error"]


def damage(registry: Path, version: str) -> None:
    (registry / "tiny" / version / "golden.jsonl").write_bytes(b"damaged")

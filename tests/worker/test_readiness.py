"""A worker that was ready may cease to be, and become it again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker.app import UNSETTLED_SECONDS, StreamWorker
from worker.settings import Settings

pytestmark = pytest.mark.fast


def look(worker: StreamWorker, *, unsettled_seconds: float = 0) -> dict[str, bool]:
    pipeline: Any = SimpleNamespace(unsettled_seconds=unsettled_seconds)
    worker._look_at_group(pipeline)
    conditions = worker._readiness.conditions()
    return {name: conditions[name] for name in ("partitions_assigned", "transactions_initialised")}


def test_who_has_no_place_in_its_group_or_cannot_end_a_transaction_is_not_ready(tmp_path: Path) -> None:
    worker = StreamWorker(Settings(bundle=tmp_path))
    ready = {"partitions_assigned": True, "transactions_initialised": True}

    worker._ownership.grant([])
    assert look(worker) == ready, "an assignment may be empty"

    worker._ownership.part()
    assert look(worker) == {**ready, "partitions_assigned": False}
    worker._ownership.grant([])
    assert look(worker) == ready

    assert look(worker, unsettled_seconds=UNSETTLED_SECONDS / 2) == ready, "one abort is no reason to look"
    assert look(worker, unsettled_seconds=UNSETTLED_SECONDS) == {**ready, "transactions_initialised": False}

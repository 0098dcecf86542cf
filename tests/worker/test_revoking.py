"""What a member may take before it gives partitions away: the whole group waits for it."""

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from worker.stream.ownership import Ownership
from worker.transport.deferred import DeferredOffsets
from worker.transport.kafka_python.rebalance import RebalanceListener

pytestmark = pytest.mark.fast

BUSY_LIMIT_SECONDS = 0.2
"""It is waited for."""
IDLE_LIMIT_SECONDS = 60.0
"""Nobody waits: on a machine that starves the test itself may take long."""
HOME = ("events", 0)


@pytest.mark.parametrize("is_busy", [False, True])
def test_waiting_for_a_transaction_and_committing_share_one_deadline(
    monkeypatch: pytest.MonkeyPatch, *, is_busy: bool
) -> None:
    limit_seconds = BUSY_LIMIT_SECONDS if is_busy else IDLE_LIMIT_SECONDS
    for module in ("worker.stream.ownership", "worker.transport.kafka_python.rebalance"):
        monkeypatch.setattr(f"{module}.WITHDRAW_SECONDS", limit_seconds)
    granted_ms: list[float] = []

    async def commit(_: Any, timeout_ms: float) -> None:
        granted_ms.append(timeout_ms)

    coordinator = SimpleNamespace(_generation=SimpleNamespace(member_id="us"), _commit_offsets_sync_async=commit)
    membership: Any = SimpleNamespace(member_id="us")
    ownership, deferred = Ownership(), DeferredOffsets(lambda _: None)
    ownership.grant([HOME])
    deferred.add({HOME: 1})
    listener = RebalanceListener(ownership, deferred, membership, coordinator)

    with ownership.claim(ownership.epochs([HOME])) if is_busy else nullcontext():
        asyncio.run(listener.on_partitions_revoked([TopicPartition(*HOME)]))

    [left_ms] = granted_ms
    assert left_ms == 0 if is_busy else 0 < left_ms <= limit_seconds * 1000

"""The suite on records of another JSON shape than Limelight's own, in both directions."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.matrix import ONCE, RD, Setup
from harness.process_faults import kill_and_restart
from harness.shape import Shape
from harness.subject import Subject

pytestmark = pytest.mark.conformance

ORDERS = Shape(
    event='{"review": "$text", "shop": {"no": 7}, "passthrough": {"order": "$id"}}', answer="id:passthrough.order"
)


def test_an_existing_topic_needs_no_new_producer(
    open_arena: Callable[..., Arena], broken_promises: Callable[[Arena], dict[str, str]]
) -> None:
    subject = Subject.from_environment({})._replace(shape=ORDERS)
    arena = open_arena(Setup(1, ONCE, RD), subject=subject, settings={"FIELDS": "text=review"})
    arena.await_ready(arena.start_worker("a"))

    kill_and_restart(arena, "a", times=1)

    assert broken_promises(arena) == {}

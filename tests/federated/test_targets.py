"""Rounds, bytes and seconds until a figure was reached."""

import pytest
from msgspec import UNSET

from federated.evaluation.targets import Reached, first_reached
from worker.messages import RoundRecord

pytestmark = pytest.mark.fast


def record(number, accuracy=None):
    return RoundRecord(
        run="r",
        round=number,
        rounds=9,
        timestamp_ms=0,
        seconds=0.5,
        clients=[1, 2, 3],
        examples=30,
        train={"bytes": 600.0},
        heldout=UNSET if accuracy is None else {"accuracy": accuracy},
    )


RECORDS = [record(1), record(2, 0.6), record(3, 0.8), record(4, 0.7), record(5, 0.9)]


@pytest.mark.parametrize(("target", "number"), [(0.6, 2), (0.61, 3), (0.8, 3), (0.85, 5)])
def test_the_first_evaluation_that_is_good_enough(target, number):
    reached = first_reached(RECORDS, "accuracy", target)
    assert reached == Reached(number, number * 600, number * 0.5)


@pytest.mark.parametrize(("metric", "target"), [("accuracy", 0.91), ("other", 0.1)])
def test_what_was_never_reached(metric, target):
    assert first_reached(RECORDS, metric, target) is None

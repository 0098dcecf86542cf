"""What TensorBoard draws: each round once, however often the run was interrupted."""

import pytest
from msgspec import UNSET

from federated.records import open_records
from worker.messages import RoundRecord

pytestmark = pytest.mark.train


def record(number: int, *, loss: float, run: str = "one") -> RoundRecord:
    return RoundRecord(
        run=run,
        round=number,
        rounds=9,
        timestamp_ms=0,
        seconds=1.0,
        clients=[0],
        examples=1,
        train={"loss": loss},
        heldout=UNSET if number % 2 else {"accuracy": loss},
    )


def write(directory, *records: RoundRecord) -> None:
    with open_records(directory) as report:
        for one in records:
            report(one)


def test_rounds_that_run_again_replace_those_of_the_run_that_was_killed(tmp_path, read_tensorboard):
    write(tmp_path, *(record(number, loss=1.0) for number in range(1, 6)))
    # Its checkpoint was that of round 3.
    write(tmp_path, *(record(number, loss=2.0) for number in range(4, 8)))
    shown = read_tensorboard(tmp_path)
    assert shown["train/loss"] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 2)]
    assert shown["heldout/accuracy"] == [(2, 1), (4, 2), (6, 2)]


def test_another_run_in_the_same_directory_is_not_drawn_over_the_first(tmp_path, read_tensorboard):
    write(tmp_path, *(record(number, loss=1.0) for number in range(1, 6)))
    write(tmp_path, *(record(number, loss=2.0, run="two") for number in range(1, 4)))
    assert read_tensorboard(tmp_path)["train/loss"] == [(1, 2), (2, 2), (3, 2)]


def test_a_run_that_resumes_twice_in_one_second_is_read_in_order(tmp_path, read_tensorboard):
    for number in range(1, 8):
        write(tmp_path, record(number, loss=float(number)), record(number + 1, loss=-1.0))
    assert read_tensorboard(tmp_path)["train/loss"] == [*((number, number) for number in range(1, 8)), (8, -1)]

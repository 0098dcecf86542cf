from collections.abc import Iterator

import pytest

from worker.errors import DeliveryError
from worker.ports import Partition
from worker.stream.ownership import Ownership

pytestmark = pytest.mark.fast

PARTITIONS = [("events", number) for number in range(3)]


def test_a_claim_keeps_what_was_polled_in_the_current_epoch() -> None:
    ownership = Ownership()
    ownership.grant(PARTITIONS)
    epochs = ownership.epochs(PARTITIONS[:2])

    with ownership.claim(epochs):
        assert ownership.is_current(epochs)
    ownership.withdraw(PARTITIONS[2:])
    with ownership.claim(epochs):
        assert ownership.is_current(epochs)


@pytest.mark.parametrize("change", ["withdraw", "forget", "regrant", "suspend", "resume"])
def test_a_claim_on_an_epoch_that_is_over_is_refused(change: str) -> None:
    ownership = Ownership()
    ownership.grant(PARTITIONS)
    epochs = ownership.epochs(PARTITIONS)
    ends = {
        "withdraw": lambda: ownership.withdraw(PARTITIONS[:1]),
        "forget": lambda: ownership.forget(PARTITIONS[:1]),
        "regrant": lambda: ownership.grant(PARTITIONS[:1]),
        "suspend": ownership.suspend,
        "resume": lambda: (ownership.suspend(), ownership.resume()),
    }
    ends[change]()

    def claim() -> None:
        with ownership.claim(epochs):
            pass

    with pytest.raises(DeliveryError):
        claim()


def test_who_withdraws_waits_for_a_claim_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.ownership.WITHDRAW_SECONDS", 0.05)
    ownership = Ownership()
    ownership.grant(PARTITIONS)

    with ownership.claim(ownership.epochs(PARTITIONS)):
        ownership.withdraw(PARTITIONS)

    assert ownership.epochs(PARTITIONS) == {}


def test_who_reads_the_epochs_never_meets_a_table_that_changes() -> None:
    ownership = Ownership()
    ownership.grant(PARTITIONS)

    def lose_one_after_the_first() -> Iterator[Partition]:
        yield PARTITIONS[0]
        # As on another thread, between the look at a partition and the look at its epoch.
        ownership.forget(PARTITIONS)
        yield from PARTITIONS[1:]

    found = ownership.epochs(lose_one_after_the_first())

    assert list(found) == PARTITIONS
    assert ownership.epochs(PARTITIONS) == {}


def test_an_empty_assignment_counts_as_joined() -> None:
    ownership = Ownership()
    assert not ownership.joined
    ownership.grant([])
    assert ownership.joined

"""The short form holds what it claims to hold."""

import itertools

import pytest
from harness.matrix import BROKERS_KILLED, DOZEN, EVERY_SETUP, KILLED, SLOW, setups, share

pytestmark = pytest.mark.fast


def test_the_dozen_holds_every_pair_of_nodes_delivery_and_client() -> None:
    def pairs(chosen: list) -> set:
        return {(i, j, each[i], each[j]) for each in chosen for i, j in itertools.combinations(range(3), 2)}

    assert len(DOZEN) == 12
    assert pairs(list(DOZEN.values())) == pairs(EVERY_SETUP)


def test_the_whole_matrix_is_every_fault_in_every_setup() -> None:
    assert all(setups(fault, whole=True) == EVERY_SETUP for fault in [*DOZEN, *SLOW])
    assert not any(setups(fault, whole=False) for fault in SLOW)


def test_what_is_asked_for_is_shared_out_and_not_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILLS", "201")

    assert [share("KILLS", setup, KILLED) for setup in KILLED] == [51] * 4
    assert sum(share("KILLS", setup, KILLED) for setup in EVERY_SETUP) >= 201
    assert share("BROKER_KILLS", BROKERS_KILLED[0], BROKERS_KILLED) == 0

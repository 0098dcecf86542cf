"""Clients' states switch with the checkpoint that names their versions, and never halfway."""

import numpy as np
import pytest

from federated.client_states import ClientStates, load_states, require_room
from federated.errors import CheckpointError, OutputError

pytestmark = pytest.mark.fast

UNTOUCHED = [np.zeros(2, np.float32)]


def leaves(number):
    return [np.full(2, number, np.float32)]


def values(states, clients):
    return [states.get(client, UNTOUCHED)[0][0] for client in clients]


@pytest.fixture
def states(tmp_path):
    return ClientStates(tmp_path / "clients", config_digest="x")


def reopen(tmp_path, versions):
    return ClientStates(tmp_path / "clients", config_digest="x", versions=versions)


def test_who_was_never_chosen_has_the_default(states):
    assert values(states, [0, 7]) == [0, 0]


def test_what_was_flushed_comes_back_in_another_process(states, tmp_path):
    states.update([(3, leaves(1)), (5, leaves(2))])
    states.flush(1)
    assert values(reopen(tmp_path, states.versions), [3, 5, 6]) == [1, 2, 0]


def test_a_crash_after_the_files_and_before_the_checkpoint_leaves_the_states_of_before(states, tmp_path):
    states.update([(3, leaves(1))])
    states.flush(1)
    checkpoint = dict(states.versions)
    states.update([(3, leaves(9)), (4, leaves(9))])
    states.flush(2)
    again = reopen(tmp_path, checkpoint)
    assert values(again, [3, 4]) == [1, 0]
    again.discard()
    assert [path.name for path in (tmp_path / "clients").iterdir()] == ["3.1"]


def test_what_no_checkpoint_names_any_more_is_removed(states, tmp_path):
    for number in (1, 2, 3):
        states.update([(3, leaves(number)), (number + 10, leaves(number))])
        states.flush(number)
        states.discard()
    assert sorted(path.name for path in (tmp_path / "clients").iterdir()) == ["11.1", "12.2", "13.3", "3.3"]
    assert values(states, [3, 11, 12, 13]) == [3, 1, 2, 3]


def test_what_a_finished_run_keeps_is_read_client_by_client(states, tmp_path):
    states.update([(13, leaves(5)), (2, leaves(6))])
    states.flush(1)
    states.update([(2, leaves(7))])
    states.flush(2)
    states.discard()
    kept = load_states(tmp_path / "clients", config_digest="x")
    assert [(client, state[0][0]) for client, state in kept] == [(2, 7), (13, 5)]
    assert list(load_states(tmp_path / "nowhere", config_digest="x")) == []


def test_nothing_is_written_where_nothing_changed(states, tmp_path):
    states.flush(1)
    states.discard()
    assert not (tmp_path / "clients").exists()


def test_a_state_that_is_missing_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"clients/3\.1: No such file"):
        reopen(tmp_path, {3: 1}).get(3, UNTOUCHED)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    states = ClientStates(tmp_path / "file" / "clients", config_digest="x")
    states.update([(1, leaves(1))])
    with pytest.raises(CheckpointError, match=r"cannot write .*clients: Not a directory"):
        states.flush(1)


def test_an_absurd_size_is_refused_before_the_first_round(tmp_path):
    require_room(tmp_path / "run" / "clients", UNTOUCHED, clients=1_000)
    require_room(tmp_path, [], clients=10**12)
    with pytest.raises(OutputError, match=r"states of 1,000,000,000,000 clients would take 8,000\.0 GB"):
        require_room(tmp_path, UNTOUCHED, clients=10**12)

"""Nobody is in two populations, and no training client is left without an example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.partition import PartitionSettings
from federated.data.populations import Shares, split_populations
from federated.errors import DataError

pytestmark = pytest.mark.fast

NOTHING = -np.ones(400, int)
"""Groups of rows that are parts of nothing."""

# Every client has examples of both labels, so that there is always somebody to train and something to hold out.
OWNERS = st.lists(st.integers(0, 8), max_size=80).map(lambda more: np.array([*np.repeat(np.arange(9), 4), *more]))


@given(
    owners=OWNERS,
    way=st.sampled_from(["client", "iid", "dirichlet"]),
    heldout=st.floats(0.1, 0.9),
    others=st.sampled_from([{}, {"validation": 0.2}, {"test": 0.2}, {"validation": 0.2, "test": 0.2}]),
    seed=st.integers(0, 2**32),
)
def test_every_row_is_in_exactly_one_population(owners, way, heldout, others, seed):
    labels = np.arange(len(owners)) % 2
    shares = Shares(heldout=heldout, **others)
    alone = NOTHING[: len(owners)]
    drawn = split_populations(labels, owners, alone, PartitionSettings(by=way, clients=4), shares, seed=seed)
    everything = [drawn.training.rows, drawn.heldout, drawn.validation.rows, drawn.test]
    assert sorted(np.concatenate(everything)) == list(range(len(owners)))
    assert (drawn.training.sizes > 0).all()
    assert len(drawn.heldout) == len(drawn.heldout_owner)
    assert (len(drawn.test) > 0) == ("test" in others)
    assert (len(drawn.validation.rows) > 0) == ("validation" in others)
    if way == "client":
        for row, owner in zip(drawn.heldout, drawn.heldout_owner, strict=True):
            assert owners[row] == owners[drawn.training.part(owner)[0]]
        assert not set(owners[drawn.validation.rows]) & set(owners[drawn.training.rows])


def test_a_client_always_keeps_an_example_to_learn_from():
    owners = np.arange(100)
    labels = owners % 2
    labels, owners = np.tile(labels, 2), np.tile(owners, 2)
    drawn = split_populations(labels, owners, NOTHING[:200], PartitionSettings(), Shares(heldout=0.9), seed=1)
    assert drawn.training.sizes.min() == 1


@given(
    count=st.integers(150, 250),
    heldout=st.floats(0.1, 0.6),
    others=st.sampled_from([{}, {"validation": 0.3}, {"test": 0.2}, {"validation": 0.3, "test": 0.2}]),
    seed=st.integers(0, 2**32),
)
def test_no_group_is_in_two_populations(count, heldout, others, seed):
    owners = np.arange(count) % 6
    groups = owners * 10 + np.random.default_rng(seed).integers(7, size=count)
    labels = np.arange(count) // 6 % 2
    shares = Shares(heldout=heldout, **others)
    drawn = split_populations(labels, owners, groups, PartitionSettings(), shares, seed=seed)
    populations = [drawn.training.rows, drawn.heldout, drawn.validation.rows, drawn.test]
    assert sorted(np.concatenate(populations)) == list(range(count))
    seen = [group for population in populations for group in set(groups[population].tolist())]
    assert len(seen) == len(set(seen))
    assert (drawn.training.sizes > 0).all()


def test_a_group_that_clients_share_is_refused():
    owners, labels = np.arange(40) % 4, np.arange(40) % 2
    with pytest.raises(DataError, match="2 groups have examples of more than one client"):
        split_populations(labels, owners, np.arange(40) // 20, PartitionSettings(), Shares(0.2), seed=1)


def test_the_test_set_does_not_depend_on_how_clients_are_made():
    owners, labels = np.arange(200) % 10, np.arange(200) % 3
    tests = [
        split_populations(labels, owners, NOTHING[:200], PartitionSettings(by=way), Shares(0.2, 0.1, 0.2), seed=5).test
        for way in ("client", "iid", "dirichlet")
    ]
    assert tests[0].tolist() == tests[1].tolist() == tests[2].tolist()


def test_validation_leaves_somebody_to_train():
    with pytest.raises(DataError, match="1 clients for validation leaves none to train on"):
        split_populations(
            np.arange(50) % 2, np.zeros(50, int), NOTHING[:50], PartitionSettings(), Shares(0.2, validation=0.1), seed=1
        )

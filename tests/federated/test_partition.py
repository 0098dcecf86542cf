"""Partitioners lose nothing, double nothing, keep no empty client, and skew as much as they are told to."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.partition import PartitionSettings, partition
from federated.errors import DataError

pytestmark = pytest.mark.fast

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60).map(
    lambda rows: np.array(rows, int).reshape(-1, 2).T
)
SETTINGS = st.builds(
    PartitionSettings,
    by=st.sampled_from(["client", "iid", "dirichlet", "shard", "quantity"]),
    clients=st.integers(1, 20),
    alpha=st.floats(1e-3, 1e6),
    shards_per_client=st.integers(1, 3),
)


def parts(assignment):
    return [assignment.part(client).tolist() for client in range(len(assignment.sizes))]


@given(rows=ROWS, settings=SETTINGS, seed=st.integers(0, 2**32))
def test_every_example_has_one_owner_and_every_owner_an_example(rows, settings, seed):
    labels, owners = rows
    dealt = parts(partition(labels, owners, settings, seed=seed))
    assert sorted(chain(*dealt)) == list(range(len(labels)))
    assert all(dealt)
    assert settings.by == "client" or len(dealt) <= settings.clients
    assert parts(partition(labels, owners, settings, seed=seed)) == dealt


def deal(labels, seed=1, **settings):
    nobody = np.full(len(labels), -1)
    return partition(np.asarray(labels), nobody, PartitionSettings(**settings), seed=seed)


@given(examples=st.integers(0, 60), clients=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_iid_shares_differ_by_at_most_one(examples, clients, seed):
    sizes = deal(np.zeros(examples, int), seed, by="iid", clients=clients).sizes
    assert not sizes.size or sizes.max() - sizes.min() <= 1


def test_by_client_groups_in_the_order_of_the_clients():
    dealt = partition(np.zeros(4, int), np.array([0, 1, 0, 2]), PartitionSettings(), seed=1)
    assert parts(dealt) == [[0, 2], [1], [3]]
    assert dealt.owners().tolist() == [0, 0, 1, 2]


@pytest.fixture(scope="module")
def many():
    return np.random.default_rng(1).choice(4, size=4_000, p=[0.4, 0.3, 0.2, 0.1])


def skew(labels, assignment):
    """Mean total variation distance between a client's labels and everybody's, weighted by size."""
    shares = np.bincount(labels) / len(labels)
    own = [np.bincount(labels[part], minlength=4) / len(part) for part in parts(assignment)]
    return np.average(np.abs(np.array(own) - shares).sum(axis=1) / 2, weights=assignment.sizes)


def test_a_small_alpha_skews_and_a_large_one_does_not(many):
    skews = [skew(many, deal(many, by="dirichlet", clients=20, alpha=alpha)) for alpha in (0.05, 1.0, 1e4)]
    assert skews[0] > skews[1] > skews[2]
    assert skews[0] > 0.5
    assert skews[2] < 0.02
    assert skew(many, deal(many, by="iid", clients=20)) < 0.1


def test_quantity_skews_the_sizes_and_not_the_labels(many):
    dealt = deal(many, by="quantity", clients=20, alpha=0.5)
    assert dealt.sizes.max() > 5 * np.median(dealt.sizes)
    assert skew(many, dealt) < 0.1


def test_pathological_gives_each_client_so_many_labels_and_each_label_away(many):
    dealt = deal(many, by="pathological", clients=10, labels_per_client=2)
    assert {len(set(many[part])) for part in parts(dealt)} == {2}
    assert sum(map(len, parts(dealt))) == len(many)


def test_pathological_refuses_what_cannot_be():
    for labels_each, clients in ((5, 10), (1, 3)):
        with pytest.raises(DataError, match="cannot share 4 labels out"):
            deal(np.arange(4), by="pathological", clients=clients, labels_per_client=labels_each)


def test_a_shard_holds_at_most_two_labels(many):
    dealt = deal(many, by="shard", clients=40, shards_per_client=1)
    assert dealt.sizes.tolist() == [100] * 40
    assert sorted(len(set(many[part])) for part in parts(dealt))[-4:] == [1, 2, 2, 2], "3 cuts between 4 labels"


def test_another_seed_deals_differently(many):
    for way in ("iid", "dirichlet", "shard", "quantity", "pathological"):
        assert parts(deal(many, 1, by=way)) != parts(deal(many, 2, by=way)), way


def test_dirichlet_draws_again_until_nobody_has_too_few(many):
    assert deal(many, by="dirichlet", clients=20, alpha=0.5).sizes.min() < 60
    assert deal(many, by="dirichlet", clients=20, alpha=0.5, min_examples=60).sizes.min() >= 60


def test_clients_of_the_data_that_have_too_few_are_left_out():
    dealt = partition(np.zeros(4, int), np.array([0, 1, 0, 2]), PartitionSettings(min_examples=2), seed=1)
    assert parts(dealt) == [[0, 2]]
    with pytest.raises(DataError, match="no client has 3 examples"):
        partition(np.zeros(4, int), np.array([0, 1, 0, 2]), PartitionSettings(min_examples=3), seed=1)


@pytest.mark.parametrize("way", ["iid", "shard", "dirichlet"])
def test_too_few_for_everybody_is_refused(way):
    with pytest.raises(DataError, match=r"10 examples out to 20 clients by .* Lower data.partition.min_examples"):
        deal(np.zeros(10, int), by=way, clients=20, min_examples=2)


def test_examples_without_a_client_are_counted_and_refused():
    with pytest.raises(DataError, match=r"2 of 3 examples name no client\. Name the client column, or"):
        partition(np.zeros(3, int), np.array([0, -1, -1]), PartitionSettings(by="client"), seed=1)

"""Partitioners lose nothing, double nothing, keep no empty client, and skew as much as they are told to."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.examples import Example
from federated.data.partition import PartitionSettings, by_client, dirichlet, iid, partition
from federated.errors import DataError

pytestmark = pytest.mark.fast

EXAMPLES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=60).map(
    lambda rows: [Example(f"text {index}", label, client) for index, (label, client) in enumerate(rows)]
)
SETTINGS = st.builds(
    PartitionSettings,
    by=st.sampled_from(["client", "iid", "dirichlet"]),
    clients=st.integers(1, 20),
    alpha=st.floats(1e-3, 1e6),
)


def texts(clients):
    return [[example.text for example in client] for client in clients]


def skew(clients):
    """Mean total variation distance between a client's labels and everybody's, weighted by size."""
    total = Counter(example.label for client in clients for example in client)
    size = sum(total.values())
    distance = 0.0
    for client in clients:
        own = Counter(example.label for example in client)
        gaps = [abs(own[label] / len(client) - total[label] / size) for label in total]
        distance += len(client) / size * sum(gaps) / 2
    return distance


@given(examples=EXAMPLES, settings=SETTINGS, seed=st.integers(0, 2**32))
def test_every_example_has_one_owner_and_every_owner_an_example(examples, settings, seed):
    clients = partition(examples, settings, seed=seed)
    assert sorted(text for client in texts(clients) for text in client) == sorted(example.text for example in examples)
    assert all(clients)
    assert settings.by == "client" or len(clients) <= settings.clients
    assert texts(partition(examples, settings, seed=seed)) == texts(clients)


@given(examples=EXAMPLES, clients=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_iid_shares_differ_by_at_most_one(examples, clients, seed):
    sizes = [len(client) for client in iid(examples, clients, seed)]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_by_client_groups_in_order_of_appearance():
    rows = [Example("1", "a", "y"), Example("2", "a", "x"), Example("3", "b", "y")]
    assert texts(by_client(rows)) == [["1", "3"], ["2"]]


@pytest.fixture(scope="module")
def many():
    labels = np.random.default_rng(1).choice(list("abcd"), size=4_000, p=[0.4, 0.3, 0.2, 0.1])
    return [Example(str(index), label) for index, label in enumerate(labels.tolist())]


def test_a_small_alpha_skews_and_a_large_one_does_not(many):
    skews = [skew(dirichlet(many, 20, alpha, 1)) for alpha in (0.05, 1.0, 1e4)]
    assert skews[0] > skews[1] > skews[2]
    assert skews[0] > 0.5
    assert skews[2] < 0.02
    assert skew(iid(many, 20, 1)) < 0.1


def test_another_seed_deals_differently(many):
    assert texts(iid(many, 20, 1)) != texts(iid(many, 20, 2))
    assert texts(dirichlet(many, 20, 1.0, 1)) != texts(dirichlet(many, 20, 1.0, 2))


def test_examples_without_a_client_are_counted_and_refused():
    rows = [Example("1", "a", "x"), Example("2", "a"), Example("3", "a")]
    with pytest.raises(DataError, match=r"2 of 3 examples name no client\. Name the client column, or"):
        partition(rows, PartitionSettings(by="client"), seed=1)
